"""Pictures that Easel drew earlier, shown until a visitor's own arrive."""

from __future__ import annotations

import logging
from pathlib import Path

import gradio as gr

from easel.ui.parts.facts import facts_of
from easel.ui.parts.panel import Card
from easel.ui.parts.pictures import size_of
from pipelines.core.errors import EaselError
from pipelines.core.metadata import read_png
from pipelines.registry import Registry

logger = logging.getLogger(__name__)
SAMPLES = Path(__file__).resolve().parents[3] / "assets" / "samples"
MAX_SAMPLES = 4


def load_samples(owner: gr.HTML, registry: Registry, folder: Path = SAMPLES) -> list[Card]:
    """The first samples of a folder, by file name, each described by its own metadata.

    Args:
        owner: component that serves the files.
        registry: for the generators' titles.
        folder: PNG files that Easel wrote; one without our metadata is left out.
    """
    cards = []
    for path in sorted(folder.glob("*.png")):
        try:
            facts = read_png(path.read_bytes())["easel"]
            cards.append(_card(owner, registry, path, facts))
        except (EaselError, KeyError, TypeError, ValueError):
            logger.warning("%s is not a picture that Easel drew: left out.", path.name)
        if len(cards) == MAX_SAMPLES:
            break
    return cards


def _card(owner: gr.HTML, registry: Registry, path: Path, facts: dict) -> Card:
    name = str(facts["pipeline"])
    pipeline = registry.get(name) if name in registry.names() else None
    title = name if pipeline is None else pipeline.title
    score = facts.get("scores", {}).get("clip")
    cached = owner.move_resource_to_block_cache(path)
    if cached is None:
        raise ValueError("the file has no place in the cache")
    owner.keep_in_cache.add(cached)
    return Card(Path(cached), str(facts["prompt"]), title, int(facts["seed"]), score, None,
                tuple(facts_of(facts, pipeline)), size_px=size_of(path))

"""How well the CLIPs tell photographs apart that no training saw.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
(2021), appendix E.1 (retrieval in both directions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.zero_shot import render_uint8
from pipelines.core.images import resize
from pipelines.models.cache.cache import ModelCache
from pipelines.models.clip import ClipModel
from pipelines.models.clip_features import embed_images, embed_texts
from pipelines.models.familiarity import Familiarity
from pipelines.suited import FAMILIARITY, unlike_the_world
from training.data import World
from training.photographs import HELD_OUT, Captioned, photographs, stamps

CLIPS = ("embedded/clip-photos", "embedded/clip-ranker", "embedded/clip-guide")
SPLIT, SCENES = "bench-familiarity", 240
TARGETS = {"photographs": 0.60, "stamps": 0.35}


def shares_right(pictures: np.ndarray, texts: np.ndarray) -> dict[str, float]:
    """Shares of pictures whose nearest text is their own, and of texts; for the first and ten.

    Args:
        pictures: (N, D), unit length.
        texts: (N, D), in the same order.
    """
    similarities, own = pictures @ texts.T, np.arange(len(texts))
    found = {}
    for name, scores in (("picture_to_text", similarities), ("text_to_picture", similarities.T)):
        order = np.argsort(-scores, axis=1, kind="stable")
        for first in (1, 10):
            found[f"{name}_r{first}"] = float((order[:, :first] == own[:, None]).any(1).mean())
    return found


def features(clip: ClipModel, pictures: Sequence[Captioned]) -> tuple[np.ndarray, np.ndarray]:
    """Features of pictures and of their captions."""
    side = clip.image_size
    squares = [resize(picture.pixels(), side, side) for picture in pictures]
    return embed_images(clip, squares), embed_texts(clip, [p.caption for p in pictures])


def unlike_figures(model: Familiarity, sets: Mapping[str, Sequence[Captioned]]) -> dict[str, float]:
    """Shares of pictures that are taken for something else than the world's.

    Args:
        model: what decides.
        sets: pictures that are, drawn stamps apart from photographs; scenes that are not come to
            them.
    """
    drawn = {f"{name}, {kind}": [p.pixels() for p in pictures if p.drawn == (kind == "drawn")]
             for name, pictures in sets.items() for kind in ("photographed", "drawn")}
    world = World()
    sampler = world.sampler(SPLIT, held_out=True)
    scenes = render_uint8(world, [sampler.sample(n) for n in range(SCENES)], model.image_size)
    return {name: float(unlike_the_world(images, model).mean())
            for name, images in {**drawn, "scenes of the world": scenes}.items() if images}


def photograph_figures(cache: ModelCache, folder: Path) -> dict[str, Any]:
    """What ``photographs.json`` holds.

    Args:
        cache: the models.
        folder: where the packages that carry the pictures are kept.
    """
    sets = {"photographs": photographs(folder), "stamps": stamps(folder)[:HELD_OUT]}
    figures: dict[str, Any] = {"pictures": {name: len(found) for name, found in sets.items()},
                               "targets": TARGETS}
    with cache.lease(FAMILIARITY) as model:
        figures["unlike_the_world"] = unlike_figures(model, {**sets, "stamps": stamps(folder)})
    for model_id in CLIPS:
        with cache.lease(model_id) as clip:
            figures[model_id] = {
                "weights": cache.fingerprints([model_id])[model_id],
                **{name: shares_right(*features(clip, found)) for name, found in sets.items()}}
    return figures


def photographs_table(figures: Mapping[str, Any]) -> str:
    """The figures as Markdown: a row a CLIP, pictures → texts and texts → pictures."""
    sets = figures["pictures"]
    heads = " | ".join(f"{count} {name}" for name, count in sets.items())
    lines = [f"| right one, picture → text / text → picture | {heads} |", "| --- | --- | --- |"]
    for model_id in CLIPS:
        if model_id in figures:
            cells = [f"{row['picture_to_text_r1']:.2f} / {row['text_to_picture_r1']:.2f}"
                     for row in (figures[model_id][name] for name in sets)]
            lines.append(f"| `{model_id}` | {' | '.join(cells)} |")
    return "\n".join(lines)

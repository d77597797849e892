"""What lies around a caption in the plane of embeddings: other captions, and pictures that ship."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipelines.core.images import load_small
from pipelines.core.metadata import read_png
from pipelines.inside.replay import replayed_pairs
from pipelines.models.checkpoints.catalogue import ASSETS
from pipelines.world.captions import caption
from pipelines.world.concepts import load_concepts
from pipelines.world.scenes import SceneSampler

CAPTIONS = 48
DRAWN_DIR = ASSETS / "lab" / "collection"


@dataclass(frozen=True, eq=False)
class Landmark:
    """A picture that is always there.

    Attributes:
        text: its caption, in English.
        image: (H, W, 3) uint8 RGB.
    """

    text: str
    image: np.ndarray


@lru_cache(maxsize=1)
def captions() -> tuple[str, ...]:
    """English captions of the world, always the same."""
    concepts = load_concepts()
    by_id = {concept.id: concept for concept in concepts}
    sampler = SceneSampler(concepts, "inside")
    return tuple(caption(sampler.sample(number), by_id, random.Random(number), "en")
                 for number in range(CAPTIONS))


@lru_cache(maxsize=1)
def rendered() -> tuple[Landmark, ...]:
    """Scenes of the world as they are rendered: the pairs of Contrastive's training."""
    pairs = replayed_pairs()
    return tuple(Landmark(text, load_small(path.read_bytes()))
                 for text, path in zip(pairs.texts, pairs.paths, strict=True))


@lru_cache(maxsize=1)
def drawn() -> tuple[Landmark, ...]:
    """What generators drew of their prompts: the pictures that Lab searches at first."""
    found = []
    for path in sorted(DRAWN_DIR.glob("*.png")):
        data = path.read_bytes()
        found.append(Landmark(str(read_png(data)["easel"]["prompt"]), load_small(data)))
    return tuple(found)

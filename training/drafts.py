"""What a guide's gradient and its captions are trained on: unfinished and finished pictures.

A gradient can only point to one place; so here every caption has one picture, the usual one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipelines.vocabulary import Vocabulary
from training.data import World
from training.denoise import unfinished
from training.world.scenes import Scene
from training.world.usual import usual

Drawn = tuple[Tensor, Tensor]
TakenBack = tuple[Tensor, Tensor, Tensor]


class Drafts:
    """Batches of finished pictures, and of pictures taken back.

    Args:
        config: with ``recall``: finished pictures in a step; ``denoise``: pictures taken back in a
            step; ``denoise_kinds``: shares of kinds of scene; ``coloured`` as ``SceneSampler``.
        world: what is drawn.
        size_px: side of the pictures that the guide sees.
    """

    def __init__(self, config: dict[str, Any], world: World, size_px: int) -> None:
        self.seed, self.size_px = config["seed"], size_px
        self.count, self.recall = config.get("denoise", 0), config.get("recall", 0)
        self.world, self.vocabulary = world, Vocabulary.load()
        self.unfinished, self.recalled = (
            world.sampler(config["split"] + part, kinds=config["denoise_kinds"],
                          coloured=config.get("coloured", 0.4))
            for part in ("-unfinished", "-recall"))

    def _pictures(self, scenes: list[Scene], salt: int) -> Drawn:
        ids = self.vocabulary([self.world.caption(scene, salt, in_order=True) for scene in scenes],
                              context_length=32)
        if not scenes:
            return torch.zeros(0, 3, self.size_px, self.size_px), ids
        return self.world.render([usual(scene) for scene in scenes], self.size_px), ids

    def batch(self, step: int) -> tuple[TakenBack, Drawn]:
        """Batch ``step``: of ``taken_back``, and finished pictures with their captions' ids."""
        first = step * self.recall
        scenes = [self.recalled.sample(first + k) for k in range(self.recall)]
        return self.taken_back(step), self._pictures(scenes, step)

    def finished(self, count: int) -> Drawn:
        """The first finished pictures (count, 3, s, s) in [0, 1] and their captions' ids."""
        return self._pictures([self.recalled.sample(k) for k in range(count)], 0)

    def taken_back(self, step: int) -> TakenBack:
        """Batch ``step``: unfinished and finished pictures (B, 3, s, s) in [0, 1], ids (B, 32)."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        scenes = [self.unfinished.sample(step * self.count + k) for k in range(self.count)]
        pictures, ids = self._pictures(scenes, step)
        if not scenes:
            return pictures, pictures, ids
        finished, pictures = unfinished(pictures, generator)
        return pictures, finished, ids

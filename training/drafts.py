"""What a guide's gradient and its captions are trained on: unfinished and finished pictures.

A gradient can only point to one place, and a caption leaves places, styles and sizes open: what is
learned here is the mean over them, which `training/NOTES.md` says more about.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.world.scenes import Scene
from training.data import World
from training.denoise import unfinished

Drawn = tuple[Tensor, Tensor]
TakenBack = tuple[Tensor, Tensor, Tensor]
Captioned = tuple[list[Scene], Tensor]
Plan = tuple[int, Captioned, Captioned]


class Drafts:
    """Batches of finished pictures, and of pictures taken back.

    Args:
        config: with ``recall``: finished pictures in a step; ``denoise``: pictures taken back in a
            step; ``denoise_kinds``: shares of kinds of scene; ``coloured`` and ``in_place`` as
            ``SceneSampler``.
        world: what is drawn.
        size_px: side of the pictures that the guide sees.
    """

    def __init__(self, config: dict[str, Any], world: World, size_px: int) -> None:
        self.seed, self.size_px = config["seed"], size_px
        self.count, self.recall = config.get("denoise", 0), config.get("recall", 0)
        self.world, self.vocabulary = world, load_vocabulary()
        self.unfinished, self.recalled = (
            world.sampler(config["split"] + part, kinds=config["denoise_kinds"],
                          coloured=config.get("coloured", 0.4),
                          in_place=config.get("in_place", 0.22))
            for part in ("-unfinished", "-recall"))

    def plan(self, step: int) -> Plan:
        """Of batch ``step`` a seed, and for both kinds of pictures the scenes and captions' ids."""
        begun = [self.unfinished.sample(step * self.count + k) for k in range(self.count)]
        whole = [self.recalled.sample(step * self.recall + k) for k in range(self.recall)]
        return (self.seed * 1_000_003 + step, self._captioned(begun, step),
                self._captioned(whole, step))

    def draw(self, plan: Plan) -> tuple[TakenBack, Drawn]:
        """The batch of a plan.

        Returns:
            Unfinished and finished pictures (B, 3, s, s) in [0, 1] with ids (B, 32); and finished
            pictures with their captions' ids.
        """
        seed, (begun, ids), (whole, whole_ids) = plan
        pictures = self._pictures(begun)
        taken_back = pictures, pictures, ids
        if begun:
            finished, pictures = unfinished(pictures, self.world.generator(seed))
            taken_back = pictures, finished, ids
        return taken_back, (self._pictures(whole), whole_ids)

    def batch(self, step: int) -> tuple[TakenBack, Drawn]:
        """Batch ``step``."""
        return self.draw(self.plan(step))

    def finished(self, count: int) -> Drawn:
        """The first finished pictures (count, 3, s, s) in [0, 1] and their captions' ids."""
        scenes, ids = self._captioned([self.recalled.sample(k) for k in range(count)], 0)
        return self._pictures(scenes), ids

    def _captioned(self, scenes: list[Scene], salt: int) -> Captioned:
        ids = self.vocabulary([self.world.caption(scene, salt, in_order=True) for scene in scenes],
                              context_length=32)
        return scenes, ids

    def _pictures(self, scenes: list[Scene]) -> Tensor:
        if not scenes:
            return torch.zeros(0, 3, self.size_px, self.size_px)
        return self.world.render(scenes, self.size_px)

"""What a guide's gradient is trained on: unfinished pictures, the finished ones, and captions.

A caption leaves open where a thing stands and in which style it is drawn. The average over all of
that is a blur, and a gradient can only point to one place; so here every caption has one picture.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipelines.models.vqgan import VQGAN
from pipelines.vocabulary import Vocabulary
from training.chains import Chains, Drawn, LatentChains, PixelChains
from training.data import World
from training.denoise import unfinished
from training.world.scenes import MEDIUM_STYLE, STYLE_WEIGHTS, Scene, place

Batch = tuple[Tensor, Tensor, Tensor]
USUAL_STYLE = max(STYLE_WEIGHTS, key=lambda style: STYLE_WEIGHTS[style])


def usual(scene: Scene) -> Scene:
    """The scene with what its caption leaves open as it usually is: style, place, background."""
    size = scene.objects[0].size
    boxes = place(scene.kind, scene.relation, len(scene.objects), random.Random(0), size)
    style = MEDIUM_STYLE.get(scene.medium or "", USUAL_STYLE)
    objects = tuple(replace(o, style=style, box=box)
                    for o, box in zip(scene.objects, boxes, strict=True))
    background = scene.background if scene.say_background else "white"
    return replace(scene, objects=objects, background=background)


class Drafts:
    """Batches for ``denoise.pull_loss``: pictures taken back, and pictures on the guide's own path.

    Args:
        config: with ``denoise``: pictures taken back in a step; ``denoise_kinds``: shares of kinds
            of scene; ``pixel_chains`` and ``latent_chains``: tables of ``chains.Chains``.
        world: what is drawn.
        size_px: side of the pictures that the guide sees.
        vqgan: for chains of latents.
        autocast: context of mixed precision.
    """

    def __init__(self, config: dict[str, Any], world: World, size_px: int, vqgan: VQGAN,
                 autocast: Callable) -> None:
        self.count, self.seed, self.size_px = config["denoise"], config["seed"], size_px
        self.world, self.vocabulary = world, Vocabulary.load()
        self.sampler = world.sampler(config["split"] + "-unfinished",
                                     kinds=config["denoise_kinds"])
        self.chain_sampler = world.sampler(config["split"] + "-chains",
                                           kinds=config["denoise_kinds"])
        self._drawn = random.Random(config["seed"]).randrange(1 << 40)
        pixel, latent = config["pixel_chains"], config["latent_chains"]
        self.chains: list[Chains] = []
        if pixel["moved"]:
            self.chains.append(PixelChains(
                self._draw, pixel["pool"], pixel["moved"], pixel["life"], tuple(pixel["steps"]),
                self.seed, size_px))
        if latent["moved"]:
            self.chains.append(LatentChains(
                self._draw, latent["pool"], latent["moved"], latent["life"],
                tuple(latent["steps"]), self.seed, size_px, vqgan, autocast))

    def begin_at(self, step: int) -> None:
        """Let a resumed run draw other scenes than those of its beginning."""
        self._drawn += 1_000_000 * step

    def _pictures(self, scenes: list[Scene], salt: int) -> Drawn:
        texts = [self.world.caption(scene, salt) for scene in scenes]
        ids = self.vocabulary(texts, context_length=32)
        return self.world.render([usual(scene) for scene in scenes], self.size_px), ids

    def _draw(self, count: int) -> Drawn:
        self._drawn += count
        first = self._drawn - count
        return self._pictures([self.chain_sampler.sample(first + k) for k in range(count)], first)

    def taken_back(self, step: int) -> Batch:
        """Batch ``step``: unfinished and finished pictures (B, 3, s, s) in [0, 1], ids (B, 32)."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        scenes = [self.sampler.sample(step * self.count + k) for k in range(self.count)]
        pictures, ids = self._pictures(scenes, step)
        finished, pictures = unfinished(pictures, generator)
        return pictures, finished, ids

    def on_the_way(self) -> list[Batch]:
        """One batch of each kind of chain; ``move`` must follow."""
        return [chains.batch() for chains in self.chains]

    def move(self, gradients: Tensor) -> None:
        """Let the chains of the last batches take their step, by gradients in the same order."""
        parts = gradients.split([chains.moved for chains in self.chains])
        for chains, gradient in zip(self.chains, parts, strict=True):
            chains.move(gradient)

    def means(self, cosines: Tensor) -> dict[str, Tensor]:
        """Mean cosines by kind of picture, to be logged."""
        sizes = [self.count, *(chains.moved for chains in self.chains)]
        names = ["taken back", *(type(chains).__name__ for chains in self.chains)]
        return {name: part.mean() for name, part in zip(names, cosines.split(sizes), strict=True)}

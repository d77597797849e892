"""Batches of rendered scenes for the trainers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from training.world.atlas import default_atlas
from training.world.concepts import load_concepts
from training.world.renderer import Renderer
from training.world.scenes import Scene, SceneSampler
from training.world.usual import UsualSampler

PORTUGUESE_SHARE = 0.12
T = TypeVar("T")


class World:
    """Concepts, renderer and captions together.

    Args:
        device: where pictures are drawn.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.concepts = load_concepts()
        self.by_id = {c.id: c for c in self.concepts}
        self.renderer = Renderer(default_atlas(), self.by_id, device)

    def sampler(self, split: str, usual: float = 0.0, **options) -> SceneSampler | UsualSampler:
        """A scene sampler over all concepts; ``usual``: see ``UsualSampler``."""
        scenes = SceneSampler(self.concepts, split, **options)
        return UsualSampler(scenes, usual) if usual else scenes

    def render(self, scenes: Sequence[Scene], size_px: int, part: int = 32) -> Tensor:
        """Draw scenes: (N, 3, size_px, size_px) float32 in [0, 1]."""
        return torch.cat(
            [
                self.renderer.render(scenes[i : i + part], size_px)
                for i in range(0, len(scenes), part)
            ]
        )

    def caption(self, scene: Scene, salt: int = 0, language: str | None = None,
                in_order: bool = False) -> str:
        """One caption of a scene; another ``salt`` gives another paraphrase.

        ``in_order``: see ``training.world.captions.caption``.
        """
        from training.world.captions import caption

        rng = random.Random(f"{scene.seed}/{salt}")
        if language is None:
            language = "pt" if rng.random() < PORTUGUESE_SHARE else "en"
        return caption(scene, self.by_id, rng, language, in_order)


def prefetched(make: Callable[[int], T], start: int) -> Iterator[T]:
    """Yield ``make(start)``, ``make(start + 1)``, … the next one made in a thread meanwhile.

    That thread computes on one core: as many as the training uses would only get in its way.
    """
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        future = pool.submit(make, start)
        while True:
            start += 1
            following = pool.submit(make, start)
            yield future.result()
            future = following

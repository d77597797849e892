"""Batches of rendered scenes for the trainers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipelines.world.atlas import default_atlas
from pipelines.world.captions import Caption, captioned
from pipelines.world.concepts import load_concepts
from pipelines.world.renderer import Renderer
from pipelines.world.scenes import Scene, SceneSampler

PORTUGUESE_SHARE = 0.12
PlanT = TypeVar("PlanT")
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

    @property
    def device(self) -> torch.device:
        """Where pictures are drawn."""
        return self.renderer.device

    def generator(self, seed: int) -> torch.Generator:
        """A source of randomness on the device; CPU and CUDA give other numbers for one seed."""
        return torch.Generator(self.device).manual_seed(seed)

    def sampler(self, split: str, **options) -> SceneSampler:
        """A scene sampler over all concepts; options as ``SceneSampler``."""
        return SceneSampler(self.concepts, split, **options)

    def render(self, scenes: Sequence[Scene], size_px: int, part: int | None = None) -> Tensor:
        """Draw scenes: (N, 3, size_px, size_px) float32 in [0, 1], ``part`` of them at once."""
        # Few at once stay in a CPU's cache; many keep a GPU busy.
        part = part or (32 if self.device.type == "cpu" else 512)
        return torch.cat(
            [
                self.renderer.render(scenes[i : i + part], size_px)
                for i in range(0, len(scenes), part)
            ]
        )

    def caption(self, scene: Scene, salt: int = 0, language: str | None = None,
                in_order: bool = False) -> str:
        """The text of ``captioned``."""
        return self.captioned(scene, salt, language, in_order).text

    def captioned(self, scene: Scene, salt: int = 0, language: str | None = None,
                  in_order: bool = False) -> Caption:
        """One caption of a scene; another ``salt`` gives another paraphrase.

        ``in_order``: see ``pipelines.world.captions.captioned``.
        """
        rng = random.Random(f"{scene.seed}/{salt}")
        if language is None:
            language = "pt" if rng.random() < PORTUGUESE_SHARE else "en"
        return captioned(scene, self.by_id, rng, language, in_order)


class _Plans(Dataset, Generic[PlanT]):
    """The plans of a training as a dataset, so that processes can make them."""

    def __init__(self, plan: Callable[[int], PlanT]) -> None:
        self.plan = plan

    def __getitem__(self, step: int) -> PlanT:
        return self.plan(step)


def _as_it_is(plan: PlanT) -> PlanT:
    return plan


def planned(plan: Callable[[int], PlanT], start: int, workers: int = 0) -> Iterator[PlanT]:
    """Yield ``plan(start)``, ``plan(start + 1)``, …

    Args:
        plan: scenes, captions and the like of a step; plain Python, nothing of the device.
        start: first step.
        workers: processes that make plans ahead; 0 makes each when it is asked for.
    """
    if not workers:
        return map(plan, itertools.count(start))
    return iter(DataLoader(_Plans(plan), batch_size=None, sampler=itertools.count(start),
                           num_workers=workers, collate_fn=_as_it_is, prefetch_factor=4,
                           multiprocessing_context="fork"))


def prefetched(plan: Callable[[int], PlanT], draw: Callable[[PlanT], T], start: int,
               workers: int = 0) -> Generator[T]:
    """Yield ``draw(plan(start))``, and so on, the next one drawn in a thread meanwhile.

    That thread computes on one core: as many as the training uses would only get in its way.
    ``plan`` and ``workers``: see ``planned``.
    """
    plans = planned(plan, start, workers)
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        future = pool.submit(lambda: draw(next(plans)))
        while True:
            following = pool.submit(lambda: draw(next(plans)))
            yield future.result()
            future = following

"""The candidates of a run drawn together, or in two groups where the device has no room for all.

A candidate has random numbers of its own, so that it does not depend on those beside it: a group
draws what the whole run would have drawn. A run that was too much begins anew with its first
group; the steps that it had taken still count, and what is left is counted from there on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from pipelines.core.errors import Cancelled
from pipelines.core.events import Event, Preview, Progress
from pipelines.core.sentences import Sentence
from pipelines.models.batches import Batches, is_out_of_memory
from pipelines.pipeline import RunContext

GREY = 128  # of what is not drawn yet


@dataclass(frozen=True, eq=False)
class Drawn:
    """Finished pictures before their ranking.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        seeds: one a picture.
        step: steps taken.
        total: steps that were to be taken; more than ``step`` where the run was stopped.
        facts: JSON-ready facts for the result.
        picture_facts: JSON-ready facts of each picture; empty where there are none.
    """

    images: np.ndarray
    seeds: tuple[int, ...]
    step: int
    total: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    picture_facts: tuple[Mapping[str, Any], ...] = ()

    def metadata(self) -> dict[str, Any]:
        """The facts, and whether the run was stopped."""
        return {**self.facts, **({"stopped": True} if self.step < self.total else {})}


class Groups:
    """How far a run is whose candidates may be drawn in groups, for whoever draws them.

    Args:
        seeds: one a candidate, at least one.
        context: of the run; idle models of its cache make way.
        may_halve: draw half of the candidates and then the others where the device is full; False
            for a generator that sees to that itself.

    Attributes:
        full: whether the device had no room for the last group, see ``shrink``.
    """

    def __init__(self, seeds: tuple[int, ...], context: RunContext, may_halve: bool = True) -> None:
        self._seeds, self._context, self._may_halve = seeds, context, may_halve
        self._batches = Batches(len(seeds), context.cache.evict_idle)
        self._finished, self._group = list[Drawn](), seeds
        self._stopped = self.full = False
        self._behind = 0  # steps before this group, those of a failed attempt too
        self._step, self._total, self._each = 0, 0, 0

    def next_seeds(self) -> tuple[int, ...]:
        """The seeds of the next group; none once all are drawn, or the run was stopped."""
        if self._stopped or (self._finished and self._context.cancelled()):
            return ()
        done = self._count
        self._group = self._seeds[done:done + self._batches.size]
        return self._group

    def of_the_whole(self, event: Event) -> Event:
        """An event of this group as one of the whole: steps never go back, and a preview shows all
        candidates, finished ones as they are, grey where they are not begun."""
        if isinstance(event, Progress) and event.total:
            self._count_total(event.total)
            self._step = self._behind + event.step
            return replace(event, step=self._step, total=self._total)
        if isinstance(event, Preview):
            return Preview(self._behind + event.step, self._with_the_others(event.images),
                           self._seeds)
        return event

    def finish(self, part: Drawn) -> None:
        """Take in what a group drew."""
        self._count_total(part.total)
        self._finished.append(part)
        self._step = self._behind = self._behind + part.step
        self._stopped = part.step < part.total

    def survive(self, error: BaseException) -> bool:
        """Whether the run continues in spite of what ended a group: with smaller ones where the
        device was full, with what there is where it was stopped."""
        if isinstance(error, Cancelled):
            self._stopped = bool(self._finished)
            return self._stopped
        self.full = self._may_halve and is_out_of_memory(error)
        return self.full

    def shrink(self) -> Progress:
        """Continue with smaller groups; to be called when nothing of the attempt is held any more.

        Raises:
            OutOfMemory: half of the candidates are too much as well.
        """
        self._batches.shrink(len(self._group))
        self.full, self._behind = False, self._step
        self._count_total(self._each)
        return Progress(self._step, self._total, self._context.elapsed_s(), Sentence(
            "The device was full: drawing at most {} at a time.", self._batches.size))

    def drawn(self) -> Drawn:
        """All pictures; those that were begun where the run was stopped."""
        facts = {name: value for part in self._finished for name, value in part.facts.items()}
        return Drawn(np.concatenate([part.images for part in self._finished]),
                     self._seeds[:self._count], self._step, self._total, facts,
                     tuple(each for part in self._finished for each in part.picture_facts))

    @property
    def _count(self) -> int:
        """Pictures that are finished."""
        return sum(len(part.seeds) for part in self._finished)

    def _count_total(self, each: int) -> None:
        """Count the steps of the whole, where this group and each after it take ``each``."""
        left = len(self._seeds) - self._count
        self._each, self._total = each, self._behind + each * -(-left // self._batches.size)

    def _with_the_others(self, images: np.ndarray) -> np.ndarray:
        if len(images) == len(self._seeds):
            return images
        shown = np.full((len(self._seeds), *images.shape[1:]), GREY, np.uint8)
        before = [image for part in self._finished for image in part.images]
        for place, image in enumerate([*before, *images]):
            shown[place] = _fitted(image, images.shape[1:3])
        return shown


def _fitted(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A picture (H, W, 3) uint8 in the size of previews, which may be smaller."""
    if image.shape[:2] == tuple(shape):
        return image
    height, width = shape
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))

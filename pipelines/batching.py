"""The candidates of a run drawn together, or in two groups where the device has no room for all.

A candidate has random numbers of its own, so that it does not depend on those beside it: a group
draws what the whole run would have drawn. A run that was too much begins anew with its first
group; the steps that it had taken still count, and what is left is counted from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from pipelines.core.errors import Cancelled
from pipelines.core.events import Event, Preview, Progress
from pipelines.core.sentences import Sentence
from pipelines.models.batches import Batches
from pipelines.models.cache.loader_thread import MEMORY_ERRORS, is_out_of_memory
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


# Draws candidates of some seeds, whoever is beside them; yields progress and previews of these.
Draw = Callable[[tuple[int, ...]], Generator[Event, None, Drawn]]


def draw_in_groups(draw: Draw, seeds: tuple[int, ...], context: RunContext,
                   ) -> Generator[Event, None, Drawn]:
    """Draw candidates side by side; where the device is full, half of them and then the others.

    Args:
        draw: draws a group; called anew for each.
        seeds: one a candidate, at least one.
        context: of the run; idle models of its cache make way.

    Yields:
        The events of ``draw`` as those of the whole: steps never go back, and a preview shows all
        candidates, finished ones as they are, grey where they are not begun.

    Returns:
        All pictures; those that were begun where the run was stopped.

    Raises:
        OutOfMemory: half of them are too much as well.
        Cancelled: stopped before there was a picture.
    """
    batches, groups = Batches(len(seeds), context.cache.evict_idle), _Groups(seeds)
    while groups.count < len(seeds):
        group = groups.begin(batches.size)
        if groups.finished and context.cancelled():
            break
        try:
            part = yield from groups.follow(draw(group))
        except MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
            part = None  # handled below, where nothing of the attempt is held any more
        except Cancelled:
            if not groups.finished:
                raise
            break
        if part is None:
            batches.shrink(len(group))
            yield groups.shrunk(batches.size, context.elapsed_s())
        elif not groups.finish(part):
            break
    return groups.drawn()


class _Groups:
    """How far a run is that may be drawn in groups.

    Attributes:
        finished: what the groups so far drew.
    """

    def __init__(self, seeds: tuple[int, ...]) -> None:
        self._seeds, self.finished = seeds, list[Drawn]()
        self._group, self._size = seeds, len(seeds)
        self._behind = 0  # steps before this group, those of a failed attempt too
        self._step, self._total, self._each = 0, 0, 0

    @property
    def count(self) -> int:
        """Pictures that are finished."""
        return sum(len(part.seeds) for part in self.finished)

    def begin(self, size: int) -> tuple[int, ...]:
        """The seeds of the next group, ``size`` at most."""
        self._size = size
        self._group = self._seeds[self.count:self.count + size]
        return self._group

    def follow(self, events: Generator[Event, None, Drawn]) -> Generator[Event, None, Drawn]:
        """The events of a group as those of the whole; returns what it drew."""
        with closing(events):
            while True:
                try:
                    event = next(events)
                except StopIteration as end:
                    return end.value
                yield self._of_the_whole(event)

    def shrunk(self, size: int, elapsed_s: float) -> Progress:
        """Continue with smaller groups after an attempt that was too much."""
        self._size, self._behind = size, self._step
        self._count_total(self._each)
        return Progress(self._step, self._total, elapsed_s,
                        Sentence("The device was full: drawing at most {} at a time.", size))

    def finish(self, part: Drawn) -> bool:
        """Take in a group; False where it was stopped."""
        self._count_total(part.total)
        self.finished.append(part)
        self._step = self._behind = self._behind + part.step
        return part.step >= part.total

    def drawn(self) -> Drawn:
        """All groups together."""
        facts = {name: value for part in self.finished for name, value in part.facts.items()}
        return Drawn(np.concatenate([part.images for part in self.finished]),
                     self._seeds[:self.count], self._step, self._total, facts,
                     tuple(each for part in self.finished for each in part.picture_facts))

    def _count_total(self, each: int) -> None:
        """Count the steps of the whole, where this group and each after it take ``each``."""
        left = len(self._seeds) - self.count
        self._each, self._total = each, self._behind + each * -(-left // self._size)

    def _of_the_whole(self, event: Event) -> Event:
        if isinstance(event, Progress) and event.total:
            self._count_total(event.total)
            self._step = self._behind + event.step
            return replace(event, step=self._step, total=self._total)
        if isinstance(event, Preview):
            return Preview(self._behind + event.step, self._with_the_others(event.images),
                           self._seeds)
        return event

    def _with_the_others(self, images: np.ndarray) -> np.ndarray:
        if len(images) == len(self._seeds):
            return images
        shown = np.full((len(self._seeds), *images.shape[1:]), GREY, np.uint8)
        before = [image for part in self.finished for image in part.images]
        for place, image in enumerate([*before, *images]):
            shown[place] = _fitted(image, images.shape[1:3])
        return shown


def _fitted(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A picture (H, W, 3) uint8 in the size of previews, which may be smaller."""
    if image.shape[:2] == tuple(shape):
        return image
    height, width = shape
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))

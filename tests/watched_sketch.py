"""The sketch for tests of what runs generators: counted, under any name, failing where asked."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from pydantic import Field

from pipelines.batching import Drawn
from pipelines.core.errors import Cancelled
from pipelines.core.events import Event
from pipelines.core.request import CheckedRequest
from pipelines.pipeline import RunContext
from tests.sketch import SketchOptions, SketchPipeline


class WatchedOptions(SketchOptions):
    fail: bool = Field(False, title="Fail", description="Whether it fails in the middle.",
                       json_schema_extra={"advanced": True})


class WatchedSketch(SketchPipeline):
    """A sketch that counts its runs.

    Args:
        name: name in the registry, so that a test can offer two of them.
        title: what people call it.
        stoppable: keep the best so far when stopped.

    Attributes:
        running: how many runs there are now.
        most_running: how many there were at once at most.
        finished: how many have ended.
    """

    Options = WatchedOptions

    def __init__(self, name: str = "sketch", title: str = "Sketch", stoppable: bool = True,
                 ) -> None:
        super().__init__()
        self.name, self.title, self.stoppable = name, title, stoppable
        self.running, self.most_running, self.finished = 0, 0, 0

    def run(self, request: CheckedRequest[Any], context: RunContext) -> Iterator[Event]:
        """Count the runs, for tests of who runs beside whom."""
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            yield from super().run(request, context)
        finally:
            self.finished += 1  # first: who sees that none runs may count them
            self.running -= 1

    def draw(self, request: CheckedRequest[Any], context: RunContext, models: Sequence[Any],
             seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        """As a sketch, up to the fault or the end that a test wants."""
        events = super().draw(request, context, models, seeds)
        if getattr(request.options, "fail", False):
            yield from (next(events), next(events))  # of its first step
            raise RuntimeError("the sketch was told to fail")
        drawn = yield from events
        if not self.stoppable and context.cancelled():
            raise Cancelled
        return drawn

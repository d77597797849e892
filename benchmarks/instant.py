"""The generator by which doors are measured, and the command line with it.

``python -m benchmarks.instant PROMPT …`` is ``easel`` with that generator alone.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from easel.cli.main import main
from easel.history.build import open_history
from easel.history.recorder import Recorder
from easel.serving.backend import LocalBackend
from easel.settings import load_settings
from pipelines.batching import Drawn
from pipelines.candidates import CandidatePipeline
from pipelines.core.events import Candidate, Event, Progress
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.engine import build_cache
from pipelines.pipeline import Lesson, RunContext
from pipelines.registry import Registry

NAME, PROMPT = "instant", "a red apple"
SIDE_PX = 256


class InstantPipeline(CandidatePipeline):
    """Draws a soft field of two colours at once."""

    name, title = NAME, "Instant"
    summary = "A field of two colours, at once."
    lesson = Lesson("How it is drawn", "Two colours run into each other.", "None")
    Options = Options
    models = ()
    default_num_images = 1

    def draw(self, request: CheckedRequest[Options], context: RunContext, models: Sequence[Any],
             seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        """See ``CandidatePipeline.draw``."""
        ramp = np.linspace(0, 255, SIDE_PX, dtype=np.uint8)
        image = np.broadcast_to(ramp[:, None, None], (SIDE_PX, SIDE_PX, 3))
        yield Progress(1, 1, context.elapsed_s())
        return Drawn(np.stack([image] * len(seeds)), seeds, 1, 1)

    def rank(self, request: CheckedRequest[Options], context: RunContext, models: Sequence[Any],
             drawn: Drawn) -> tuple[Candidate, ...]:
        """As they came."""
        return tuple(Candidate(image, seed, i) for i, (image, seed) in
                     enumerate(zip(drawn.images, drawn.seeds, strict=True)))


def instant_registry() -> Registry:
    """That generator alone."""
    registry = Registry()
    registry.register(InstantPipeline())
    return registry


def command() -> int:
    """Run the command line; returns its exit code."""
    settings = load_settings()
    with closing(open_history(settings)) as history:
        return main(sys.argv[1:], LocalBackend(instant_registry(), build_cache(settings),
                                               record=Recorder(history)))


if __name__ == "__main__":
    sys.exit(command())

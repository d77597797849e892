"""A generator small enough for tests and real all the same: torch draws, steps take time.

CONTRIBUTING.md walks through it as the example of a new generator.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from pipelines.batching import Drawn
from pipelines.candidates import CandidatePipeline
from pipelines.core.errors import Cancelled
from pipelines.core.events import Candidate, Event, Preview, Progress
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.pipeline import Lesson, RunContext

SIDE_PX = 64


class SketchOptions(Options):
    steps: int = Field(6, ge=1, le=2000, title="Steps", description="How often it is refined.")
    pause_s: float = Field(0.02, ge=0.0, le=2.0, title="Pause", description="Seconds a step.",
                           json_schema_extra={"advanced": True})
    blur: Literal["none", "soft"] = Field("soft", title="Blur", description="How smooth it is.")
    fail: bool = Field(False, title="Fail", description="Whether it fails in the middle.",
                       json_schema_extra={"advanced": True})


class SketchPipeline(CandidatePipeline):
    """Colour fields from seeded noise, refined step by step.

    Args:
        name: name in the registry, so that a test can offer two of them.
        stoppable: keep the best so far when stopped.
    """

    summary = "Draws soft fields of colour, a few steps each."
    lesson = Lesson("How a sketch is drawn", "Eight by eight colours are drawn at random, and "
                    "their contrast grows step by step.", "None: it is of the tests alone")
    Options = SketchOptions
    models = ()  # catalogue ids; those that it leases, the ranker last
    accepts_init_image = True
    sides_px = MappingProxyType({SIDE_PX: {}})

    def __init__(self, name: str = "sketch", title: str = "Sketch", stoppable: bool = True,
                 ) -> None:
        super().__init__()
        self.name, self.title, self.stoppable = name, title, stoppable
        self.running, self.most_running, self.finished = 0, 0, 0

    def run(self, request: CheckedRequest[SketchOptions], context: RunContext,
            ) -> Iterator[Event]:
        """Count the runs, for tests of who runs beside whom."""
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            yield from super().run(request, context)
        finally:
            self.running -= 1
            self.finished += 1

    def draw(self, request: CheckedRequest[SketchOptions], context: RunContext,
             models: Sequence[Any], seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        """Refine the noise of some seeds, each from a generator of its own."""
        options = request.options
        noise = torch.stack([torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(s))
                             for s in seeds])
        images, step = draw(noise, 0.0, options.blur), 0
        for step in range(1, options.steps + 1):
            time.sleep(options.pause_s)
            if options.fail and step == 2:
                raise RuntimeError("the sketch was told to fail")
            images = draw(noise, step / options.steps, options.blur)
            yield Progress(step, options.steps, context.elapsed_s(), losses={"loss": 1 / step})
            yield Preview(step, images, seeds)
            if context.cancelled():
                if not self.stoppable:
                    raise Cancelled
                break
        return Drawn(images, seeds, step, options.steps)

    def rank(self, request: CheckedRequest[SketchOptions], context: RunContext,
             models: Sequence[Any], drawn: Drawn) -> tuple[Candidate, ...]:
        """The brightest first, where others ask a CLIP."""
        scores = drawn.images.reshape(len(drawn.images), -1).mean(axis=1) / 255
        shares = np.exp(8 * scores) / np.exp(8 * scores).sum()
        candidates = [Candidate(image, seed, i, {"clip": float(s), "probability": float(p)})
                      for i, (image, seed, s, p) in
                      enumerate(zip(drawn.images, drawn.seeds, scores, shares, strict=True))]
        return tuple(sorted(candidates, key=lambda c: (-c.scores["clip"], c.index)))


def draw(noise: torch.Tensor, share: float, blur: str) -> np.ndarray:
    """Noise (N, 3, 8, 8) in [0, 1] as pictures (N, SIDE_PX, SIDE_PX, 3) uint8."""
    mode = "bicubic" if blur == "soft" else "nearest"
    large = F.interpolate(0.5 + (noise - 0.5) * share, size=SIDE_PX, mode=mode).clamp(0, 1)
    return (large * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()

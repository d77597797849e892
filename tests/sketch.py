"""A generator small enough for tests and real all the same: torch draws, steps take time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from pipelines.core.errors import Cancelled
from pipelines.core.events import Candidate, Event, Preview, Progress, Result
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.pipeline import Lesson, Pipeline, RunContext

SIDE_PX = 64


class SketchOptions(Options):
    steps: int = Field(6, ge=1, le=2000, title="Steps", description="How often it is refined.")
    pause_s: float = Field(0.02, ge=0.0, le=2.0, title="Pause", description="Seconds a step.",
                           json_schema_extra={"advanced": True})
    blur: Literal["none", "soft"] = Field("soft", title="Blur", description="How smooth it is.")
    fail: bool = Field(False, title="Fail", description="Whether it fails in the middle.",
                       json_schema_extra={"advanced": True})


class SketchPipeline(Pipeline):
    """Colour fields from seeded noise, refined step by step.

    Args:
        name: name in the registry, so that a test can offer two of them.
        stoppable: keep the best so far when stopped.
    """

    summary = "Draws soft fields of colour, a few steps each."
    lesson = Lesson("How a sketch is drawn", "Eight by eight colours are drawn at random, and "
                    "their contrast grows step by step.", "None: it is of the tests alone")
    Options = SketchOptions
    models = ()
    accepts_init_image = True

    def __init__(self, name: str = "sketch", title: str = "Sketch", stoppable: bool = True,
                 ) -> None:
        self.name, self.title, self.stoppable = name, title, stoppable
        self.running, self.most_running, self.finished = 0, 0, 0

    def run(self, request: CheckedRequest[SketchOptions], context: RunContext) -> Iterator[Event]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            yield from self._steps(request, context)
        finally:
            self.running -= 1
            self.finished += 1

    def _steps(self, request: CheckedRequest[SketchOptions], context: RunContext,
               ) -> Iterator[Event]:
        options, seeds = request.options, request.seeds
        noise = torch.stack([torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(s))
                             for s in seeds])
        images = draw(noise, 0.0, options.blur)
        stopped = False
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
                stopped = True
                break
        scores = images.reshape(len(images), -1).mean(axis=1) / 255
        shares = np.exp(8 * scores) / np.exp(8 * scores).sum()
        candidates = [Candidate(image, seed, i, {"clip": float(s), "probability": float(p)})
                      for i, (image, seed, s, p) in
                      enumerate(zip(images, seeds, scores, shares, strict=True))]
        candidates.sort(key=lambda c: (-c.scores["clip"], c.index))
        yield Result(tuple(candidates), context.elapsed_s(), {"stopped": stopped})


def draw(noise: torch.Tensor, share: float, blur: str) -> np.ndarray:
    """Noise (N, 3, 8, 8) in [0, 1] as pictures (N, SIDE_PX, SIDE_PX, 3) uint8."""
    mode = "bicubic" if blur == "soft" else "nearest"
    large = F.interpolate(0.5 + (noise - 0.5) * share, size=SIDE_PX, mode=mode).clamp(0, 1)
    return (large * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()

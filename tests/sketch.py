"""A generator that is small and real: torch draws, steps take time, Stop keeps what there is.

CONTRIBUTING.md walks through it as the example of a new generator, and ``tests/test_sketch.py``
follows that walk. It draws with no model, so that it has no entry in the catalogue.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from pipelines.batching import Drawn
from pipelines.candidates import CandidatePipeline
from pipelines.core.events import Candidate, Event, Preview, Progress
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.pipeline import Lesson, RunContext

SIDE_PX = 64


class SketchOptions(Options):
    """What a request for a sketch may set."""

    steps: int = Field(default=6, ge=1, le=2000, title="Steps",
                       description="How often it is refined.")
    pause_s: float = Field(default=0.02, ge=0.0, le=2.0, title="Pause",
                           description="Seconds a step.", json_schema_extra={"advanced": True})
    blur: Literal["none", "soft"] = Field(default="soft", title="Blur",
                                         description="How smooth it is.")


class SketchPipeline(CandidatePipeline):
    """Colour fields from seeded noise, refined step by step."""

    name, title = "sketch", "Sketch"
    summary = "Draws soft fields of colour, a few steps each."
    lesson = Lesson("How a sketch is drawn", "Eight by eight colours are drawn at random, from the "
                    "seed alone, and spread over the picture; step by step their contrast grows. "
                    "It reads no prompt: it shows how a generator is put together.",
                    "None: it is an example")
    Options = SketchOptions
    models = ()  # catalogue ids; those that it leases, the ranker last
    accepts_init_image = True
    sides_px = MappingProxyType({SIDE_PX: {}})

    def draw(self, request: CheckedRequest[SketchOptions], context: RunContext,
             models: Sequence[Any], seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        """Refine the noise of some seeds, each from a generator of its own."""
        options = request.options
        noise = torch.stack([torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(s))
                             for s in seeds])
        images, step = draw(noise, 0.0, options.blur), 0
        for step in range(1, options.steps + 1):
            time.sleep(options.pause_s)
            images = draw(noise, step / options.steps, options.blur)
            yield Progress(step, options.steps, context.elapsed_s(), losses={"loss": 1 / step})
            yield Preview(step, images, seeds)
            if context.cancelled():
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

"""A small pipeline that draws noise with torch, to test what runs pipelines."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from pipelines.core.errors import InvalidRequest
from pipelines.core.events import Candidate, Event, Preview, Progress, Result
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.models.cache.cache import ModelCache
from pipelines.pipeline import Lesson, Pipeline, RunContext
from pipelines.registry import Registry

SIDE_PX = 16
HELD_S = 30.0  # the longest that a run is held, should its test have failed


class NoiseOptions(Options):
    """Options of the noise."""

    steps: int = Field(default=3, ge=1, le=10_000, title="Steps", description="Steps to take.")
    step_s: float = Field(default=0.0, ge=0, le=5, title="Step seconds",
                          description="Length of a step.")
    contrast: float = Field(default=1.0, ge=0, le=2, title="Contrast",
                            description="Width of the noise.",
                            json_schema_extra={"advanced": True})
    fault: Literal["none", "error", "memory", "silence"] = Field(
        default="none", title="Fault", description="What goes wrong after the first step.")
    keep: bool = Field(default=False, title="Keep",
                       description="Whether Stop keeps what is there.")


class LinearLoader:
    """Loads linear layers; the digits of a model's id are its width, as in "linear/8"."""

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """A square linear layer without gradients."""
        layer = nn.Linear(self.width(model_id), self.width(model_id), bias=False)
        return layer.to(device, dtype).requires_grad_(False)

    def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
        """Bytes of the layer's matrix."""
        return self.width(model_id) ** 2 * dtype.itemsize

    def title(self, model_id: str) -> str:
        """The id itself."""
        return model_id

    def fingerprint(self, model_id: str) -> str | None:
        """A stand-in of the right length."""
        return f"{self.width(model_id):064x}"

    @staticmethod
    def width(model_id: str) -> int:
        """Rows of the layer's matrix."""
        return int(model_id.rpartition("/")[2])


class NoisePipeline(Pipeline):
    """Draws noise; records when its steps ran, so that a test can see overlaps."""

    name, title, summary = "noise", "Noise", "Noise from a seed."
    lesson = Lesson("How noise is drawn", "Each pixel by itself.", "A test")
    Options = NoiseOptions
    models = ("linear/8",)
    accepts_init_image = True

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        self.closed = 0
        self._gate = threading.Event()
        self._gate.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every run before the step that follows its next preview.

        A reader gets what is posted together at once, and how much that is depends on who is
        quicker; what was posted before a run is held does not.
        """
        self._gate.clear()
        try:
            yield
        finally:
            self._gate.set()

    def check(self, request: CheckedRequest[NoiseOptions]) -> None:
        """Refuse one word, as an example of what bounds cannot say."""
        if request.prompt == "forbidden":
            raise InvalidRequest("This word cannot be drawn.", field="prompt")

    def run(self, request: CheckedRequest[NoiseOptions], context: RunContext) -> Iterator[Event]:
        """Take the steps; the last yields the pictures."""
        options = request.options
        seeds = request.seeds
        try:
            yield from context.loading(*self.models)
            pictures = np.zeros((0, SIDE_PX, SIDE_PX, 3), np.uint8)
            with context.lease("linear/8") as layer:
                for step in range(1, options.steps + 1):
                    start = time.monotonic()
                    time.sleep(options.step_s)
                    pictures = np.stack([self._draw(layer, seed, options) for seed in seeds])
                    self.spans.append((start, time.monotonic()))
                    self._fail(options)
                    if options.fault == "silence":
                        return
                    if context.cancelled():
                        if not options.keep:
                            context.check()
                        break
                    yield Progress(step, options.steps, context.elapsed_s(), "",
                                   {"loss": 1 / step})
                    yield Preview(step, pictures, seeds)
                    self._gate.wait(HELD_S)
            candidates = tuple(Candidate(image, seed, index, {"clip": 0.5 - index / 10})
                               for index, (image, seed) in enumerate(zip(pictures, seeds,
                                                                         strict=True)))
            stopped = {"stopped": True} if context.cancelled() else {}
            yield Result(candidates, context.elapsed_s(), stopped)
        finally:
            self.closed += 1

    @staticmethod
    def _fail(options: NoiseOptions) -> None:
        if options.fault == "error":
            raise KeyError("a secret of the inside")
        if options.fault == "memory":
            raise torch.OutOfMemoryError("tried to allocate too much")

    @staticmethod
    def _draw(layer: nn.Module, seed: int, options: NoiseOptions) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(SIDE_PX, SIDE_PX, 3, generator=generator) * options.contrast
        return ((noise + 3) / 6 * 255).clamp(0, 255).to(torch.uint8).numpy()


def noise_registry() -> Registry:
    """A registry of the noise alone."""
    registry = Registry()
    registry.register(NoisePipeline())
    return registry


def linear_cache(budget_bytes: int | None = None) -> ModelCache:
    """A cache of linear layers on the CPU."""
    return ModelCache(LinearLoader(), "cpu", budget_bytes=budget_bytes)

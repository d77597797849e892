"""Generators whose models come to the device one after the other, each no longer than its work."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from pipelines.batching import Drawn
from pipelines.candidates import CandidatePipeline
from pipelines.core.events import Candidate, Event, Preview, Progress
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.models.pixels import to_uint8
from pipelines.pipeline import RunContext

T = TypeVar("T", bound=Options)


@dataclass
class PartsRun(Generic[T]):
    """What the steps of a group of candidates share.

    Attributes:
        pipeline: says in which dtype a part is leased.
        request: what to draw.
        context: of the run.
        seeds: one a picture.
        generators: one a picture, on the CPU.
        total: steps that are to be taken.
        done: steps taken so far.
    """

    pipeline: CandidatePipeline
    request: CheckedRequest[T]
    context: RunContext
    seeds: tuple[int, ...]
    generators: list[torch.Generator]
    total: int
    done: int = 0

    @property
    def options(self) -> T:
        """Those of the request."""
        return self.request.options

    def lease(self, stack: ExitStack, model_id: str) -> Iterator[Progress]:
        """Say that a part is loaded, where it is; returns the part."""
        dtype = self.pipeline.dtype_of(model_id, self.request, self.context)
        yield from self.context.loading(model_id, dtype=dtype)
        part = stack.enter_context(self.context.lease(model_id, dtype))
        self.context.check()
        return part

    def step(self, preview: Tensor | None = None) -> Iterator[Event]:
        """Say that one more is done; returns whether the run was stopped.

        Args:
            preview: pictures (N, 3, H, W), about [-1, 1], as they are after it; None for none.
        """
        self.done += 1
        if preview is not None:
            yield Preview(self.done, to_uint8(preview), self.seeds)
        yield Progress(self.done, self.total, self.context.elapsed_s())
        return self.context.cancelled()


def noise_of(generators: list[torch.Generator], shape: tuple[int, ...], device: torch.device,
             dtype: torch.dtype) -> Tensor:
    """Standard normal (N, *shape), each row from its own generator, in diffusers' own way."""
    from diffusers.utils.torch_utils import randn_tensor

    return randn_tensor((len(generators), *shape), generator=generators, device=device, dtype=dtype)


class PartByPartPipeline(CandidatePipeline):
    """Public models of several parts. A subclass leases its parts in ``read`` and ``paint``."""

    is_public = True
    sides_px = MappingProxyType({side: {"size_px": side}
                                 for side in (512, *range(256, 512, 64), *range(576, 1025, 64))})

    def steps_of(self, request: CheckedRequest[Any]) -> int:
        """How many steps a request takes in all."""
        raise NotImplementedError

    def read(self, run: PartsRun[Any]) -> Iterator[Event]:
        """Returns what is painted from, as ``paint`` takes it."""
        raise NotImplementedError

    def paint(self, run: PartsRun[Any], condition: Any) -> Iterator[Event]:
        """Returns pictures (N, 3, H, W), about [-1, 1]; where it is stopped, as far as they are."""
        raise NotImplementedError

    def draw(self, request: CheckedRequest[Any], context: RunContext, models: Sequence[Any],
             seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        """See ``CandidatePipeline.draw``."""
        run = PartsRun(self, request, context, seeds,
                       [torch.Generator().manual_seed(seed) for seed in seeds],
                       self.steps_of(request))
        condition = yield from self.read(run)
        # Before the drawing, and until the end: Stop keeps its pictures without waiting for it.
        yield from run.lease(context.leases, request.options.ranker)
        pixels = yield from self.paint(run, condition)
        return Drawn(to_uint8(pixels), seeds, run.done, run.total)

    def held(self, request: CheckedRequest[Any]) -> tuple[str, ...]:
        """None: the parts come one after the other."""
        return ()

    def rank(self, request: CheckedRequest[Any], context: RunContext, models: Sequence[Any],
             drawn: Drawn) -> tuple[Candidate, ...]:
        """See ``CandidatePipeline.rank``."""
        ranker = request.options.ranker
        with context.lease(ranker, self.dtype_of(ranker, request, context)) as model:
            return super().rank(request, context, [model], drawn)

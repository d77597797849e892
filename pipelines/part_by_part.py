"""Generators whose models come to the device one after the other, each no longer than its work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from pipelines.batching import Drawn
from pipelines.candidates import CandidatePipeline
from pipelines.core.events import Candidate, Progress
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
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

    def progress(self) -> Progress:
        """One more step."""
        self.done += 1
        return Progress(self.done, self.total, self.context.elapsed_s())


def noise_of(generators: list[torch.Generator], shape: tuple[int, ...], device: torch.device,
             dtype: torch.dtype) -> Tensor:
    """Standard normal (N, *shape), each row from its own generator, in diffusers' own way."""
    from diffusers.utils.torch_utils import randn_tensor

    return randn_tensor((len(generators), *shape), generator=generators, device=device, dtype=dtype)


class PartByPartPipeline(CandidatePipeline):
    """A subclass leases its parts in ``draw``, the ranker last, for the run's whole rest."""

    def held(self, request: CheckedRequest[Any]) -> tuple[str, ...]:
        """None: the parts come one after the other."""
        return ()

    def rank(self, request: CheckedRequest[Any], context: RunContext, models: Sequence[Any],
             drawn: Drawn) -> tuple[Candidate, ...]:
        """See ``CandidatePipeline.rank``."""
        ranker = request.options.ranker
        with context.lease(ranker, self.dtype_of(ranker, request, context)) as model:
            return super().rank(request, context, [model], drawn)

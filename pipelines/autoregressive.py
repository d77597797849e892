"""What public generators share that write a picture code by code: the loop, its previews, the run.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2; guidance without a
second network: Gafni et al., "Make-A-Scene" (2022), section 3.4.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from pydantic import Field
from pydantic.config import JsonDict
from torch import Tensor

from pipelines.batching import Drawn, draw_in_groups
from pipelines.core.errors import Cancelled
from pipelines.core.events import Event, Preview, Progress, Result
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.model_options import model_field, with_choices
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.pixels import to_uint8
from pipelines.models.precision import Precision, dtype_for
from pipelines.pipeline import Pipeline, RunContext
from pipelines.rerank import RANKER, rank_candidates
from pipelines.sampling import RowNoise, choose, guide
from pipelines.weighted_prompts import ranking_texts

ADVANCED: JsonDict = {"advanced": True}


class CodeWriter(Protocol):
    """A network that scores the next code of several pictures at once.

    Attributes:
        num_codes: codes of a picture.
    """

    num_codes: int

    def begin(self, text: str, num_images: int, guided: bool) -> Any:
        """Read the text; returns the state that ``score`` goes on from."""
        ...

    def score(self, state: Any, codes: Tensor | None) -> Tensor:
        """Logits of the next code.

        Args:
            state: from ``begin``; changed by each call.
            codes: (N,) int64, the code before of each picture; None at the first.

        Returns:
            (N, codes), or (2 N, codes) where guided: rows without the caption first.
        """
        ...

    def draw(self, codes: Sequence[Tensor]) -> Tensor:
        """Pictures (N, 3, H, W), about [-1, 1], as far as they are written; the rest is grey."""
        ...


class WritingOptions(Options):
    """What every such generator has; each gives the fields its own defaults and bounds."""

    guidance_scale: float = Field(
        default=5.0, ge=1, le=64, title="Guidance",
        description="How closely to follow the prompt; 1 is faster and freer.")
    temperature: float = Field(
        default=1.0, ge=0.1, le=2, title="Temperature",
        description="Lower is safer and more alike, higher is bolder and more varied.")
    top_k: int = Field(
        default=0, ge=0, le=4096, title="Top k", json_schema_extra=ADVANCED,
        description="Draw each code from this many of the likeliest; 0 for all.")
    top_p: float = Field(
        default=1.0, ge=0.01, le=1, title="Top p", json_schema_extra=ADVANCED,
        description="Draw each code from the likeliest that have this probability together.")
    preview_every: int = Field(
        default=32, ge=1, le=576, title="Preview interval", json_schema_extra=ADVANCED,
        description="Codes between previews.")
    ranker: str = model_field(
        RANKER, "clip", "Ranker", "The CLIP that puts finished pictures in order.", advanced=True)
    precision: Precision = Field(
        default="auto", title="Precision", json_schema_extra=ADVANCED,
        description="Number format of the computation; auto is the faster one of this machine.")

    def models(self) -> tuple[str, ...]:
        """Ids of the writer's models, and of the ranker at the end."""
        return (self.ranker,)

    def dtypes(self, device: torch.device, run_dtype: torch.dtype) -> dict[str, torch.dtype]:
        """The dtype of each of the models, by id, in the order of ``models``."""
        return {name: dtype_for(name, device, run_dtype, self.precision) for name in self.models()}


@dataclass
class Written:
    """Codes so far, (N,) int64 each; filled by ``write_codes``."""

    codes: list[Tensor] = field(default_factory=list)


@torch.no_grad()
def next_codes(writer: CodeWriter, state: Any, written: Written, noise: RowNoise,
               options: WritingOptions) -> None:
    """Draw the next code of every picture, each from random numbers of its own seed."""
    logits = writer.score(state, written.codes[-1] if written.codes else None).float()
    count = len(noise)
    if len(logits) > count:
        logits = guide(logits[count:], logits[:count], options.guidance_scale)
    written.codes.append(choose(logits, noise.draw(logits.shape[-1]), options.temperature,
                                options.top_k, options.top_p))


def write_codes(writer: CodeWriter, text: str, seeds: tuple[int, ...], options: WritingOptions,
                written: Written, context: RunContext) -> Iterator[Progress | Preview]:
    """Write all pictures side by side; ends early once the run is cancelled.

    Args:
        writer: the network.
        text: what to draw.
        seeds: one a picture.
        options: how codes are drawn.
        written: takes the codes, also of a run that ends early.
        context: of the run.
    """
    noise = RowNoise(seeds)
    with torch.no_grad():
        state = writer.begin(text, len(seeds), options.guidance_scale != 1)
    for step in range(1, writer.num_codes + 1):
        next_codes(writer, state, written, noise, options)
        if context.cancelled():
            return
        if step % options.preview_every == 0 and step < writer.num_codes:
            yield Preview(step, to_uint8(draw(writer, written)), seeds)
        yield Progress(step, writer.num_codes, context.elapsed_s())


@torch.no_grad()
def draw(writer: CodeWriter, written: Written) -> Tensor:
    """Pictures (N, 3, H, W) float32 of what is written."""
    return writer.draw(written.codes).float()


class WritingPipeline(Pipeline):
    """Writes pictures code by code, all candidates side by side.

    Args:
        catalogue: what its options may choose from; anything where None.
    """

    Options: type[Options] = WritingOptions

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        if catalogue is not None:
            self.Options = with_choices(type(self).Options, catalogue)

    def writer(self, *models: Any) -> CodeWriter:
        """The leased models, less the ranker, as one writer."""
        raise NotImplementedError

    def models_of(self, request: CheckedRequest[WritingOptions]) -> tuple[str, ...]:
        """Those that the options choose."""
        return request.options.models()

    def run(self, request: CheckedRequest[WritingOptions], context: RunContext) -> Iterator[Event]:
        """Yield progress and previews, then the ranked pictures; see ``Pipeline.run``.

        A run that is stopped keeps its pictures as far as they are written, the rest grey.
        """
        options = request.options
        seeds = request.seeds
        leases = list(options.dtypes(context.device, context.dtype).items())
        for name, dtype in leases:
            yield from context.loading(name, dtype=dtype)
        # All at once: a model that is missing is found before the work.
        with ExitStack() as stack:
            *models, clip = [stack.enter_context(context.lease(name, dtype))
                             for name, dtype in leases]
            context.check()
            draw = partial(_draw, self.writer(*models), request.prompt, options, context)
            drawn = yield from draw_in_groups(draw, seeds, context)
            yield Progress(drawn.step, drawn.total, context.elapsed_s(), "Ranking.")
            candidates = rank_candidates(drawn.images, drawn.seeds,
                                         ranking_texts(request.prompt), clip)
        yield Result(candidates, context.elapsed_s(), drawn.metadata())


def _draw(writer: CodeWriter, text: str, options: WritingOptions, context: RunContext,
          seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
    """Write some candidates; ends early once the run is cancelled."""
    written = Written()
    yield from write_codes(writer, text, seeds, options, written, context)
    if not written.codes:
        raise Cancelled
    return Drawn(to_uint8(draw(writer, written)), seeds, len(written.codes), writer.num_codes)

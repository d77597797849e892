"""What public generators share that write a picture code by code: the loop and its previews.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2; guidance without a
second network: Gafni et al., "Make-A-Scene" (2022), section 3.4.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from pydantic import Field
from pydantic.config import JsonDict
from torch import Tensor

from pipelines.batching import Drawn
from pipelines.candidates import CandidatePipeline
from pipelines.core.errors import Cancelled
from pipelines.core.events import Event, Preview, Progress
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.model_options import auto_ranker_field, precision_field
from pipelines.models.pixels import to_uint8
from pipelines.models.precision import Precision
from pipelines.pipeline import RunContext
from pipelines.sampling import RowNoise, choose, guide

ADVANCED: JsonDict = {"advanced": True}


class CodeWriter(Protocol):
    """A network that scores the next code of several pictures at once.

    Attributes:
        num_codes: codes of a picture.
    """

    num_codes: int

    def begin(self, text: str, num_images: int, guided: bool, negative: str = "") -> Any:
        """Read the text; returns the state that ``score`` continues from.

        Where guided, rows of the negative prompt come first, of an empty one where there is none.
        """
        ...

    def score(self, state: Any, codes: Tensor | None) -> Tensor:
        """Logits of the next code.

        Args:
            state: from ``begin``; changed by each call.
            codes: (N,) int64, the code before of each picture; None at the first.

        Returns:
            (N, codes), or (2 N, codes) where guided: rows of the negative prompt first.
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
    ranker: str = auto_ranker_field()
    precision: Precision = precision_field()


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
        state = writer.begin(text, len(seeds), options.guidance_scale != 1,
                             getattr(options, "negative_prompt", ""))
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


class WritingPipeline(CandidatePipeline):
    """Writes pictures code by code, all candidates side by side."""

    Options: type[Options] = WritingOptions
    is_public = True

    def writer(self, *models: Any) -> CodeWriter:
        """The leased models, less the ranker, as one writer."""
        raise NotImplementedError

    def draw(self, request: CheckedRequest[WritingOptions], context: RunContext,
             models: Sequence[Any], seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        """See ``CandidatePipeline.draw``; what is not written yet when it ends early is grey."""
        writer, written = self.writer(*models[:-1]), Written()
        yield from write_codes(writer, request.prompt, seeds, request.options, written, context)
        if not written.codes:
            raise Cancelled
        return Drawn(to_uint8(draw(writer, written)), seeds, len(written.codes), writer.num_codes)

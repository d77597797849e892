"""DALL·E mini and mega: the public models of Craiyon's first days, behind the same events.

Source: Dayma et al., "DALL·E Mini" (2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from pipelines.autoregressive import ADVANCED, CodeWriter, WritingOptions, WritingPipeline
from pipelines.core.request import CheckedRequest
from pipelines.model_options import model_field
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.min_dalle import (
    NUM_CODES,
    CodeCache,
    Detokenizer,
    MinDalle,
    TextKeys,
)
from pipelines.models.precision import PrecisionOrInt8, dtype_for
from pipelines.negative_prompt import check_negative, negative_field
from pipelines.pipeline import Lesson, RunContext

TRANSFORMER, DETOKENIZER = "kuprel/dalle-mini", "kuprel/dalle-detoker"


class MinDalleOptions(WritingOptions):
    """How codes are drawn."""

    negative_prompt: str = negative_field()
    model: str = model_field(
        TRANSFORMER, "dalle-mini", "Model", "The network that writes the codes.")
    guidance_scale: float = Field(
        default=10.0, ge=1, le=64, title="Guidance",
        description="How closely to follow the prompt; 1 is faster and freer.")
    top_k: int = Field(
        default=256, ge=0, le=4096, title="Top k", json_schema_extra=ADVANCED,
        description="Draw each code from this many of the likeliest; 0 for all.")

    precision: PrecisionOrInt8 = Field(  # type: ignore[assignment]
        default="auto", title="Precision", json_schema_extra=ADVANCED,
        description="Number format of the computation; auto is the fastest of this machine, int8 "
                    "rounds the weights and is for CPUs.")


@dataclass
class _State:
    """Keys and values of the text and of the codes so far, for ``rows`` rows."""

    text: TextKeys
    cache: CodeCache
    rows: int


class MinDalleWriter:
    """Both networks as a ``CodeWriter``."""

    num_codes = NUM_CODES

    def __init__(self, model: MinDalle, detokenizer: Detokenizer) -> None:
        self.model, self.detokenizer = model, detokenizer

    def begin(self, text: str, num_images: int, guided: bool, negative: str = "") -> _State:
        """Read the text once, whatever the number of pictures."""
        rows = num_images * (2 if guided else 1)
        keys = self.model.read(text, guided, negative)
        return _State(keys, self.model.decoder.new_cache(rows), rows)

    def score(self, state: _State, codes: Tensor | None) -> Tensor:
        """See ``CodeWriter.score``."""
        if codes is None:
            previous = torch.full((state.rows,), self.model.config.start_code,
                                  device=self.model.device)
        else:
            previous = codes.repeat(state.rows // len(codes))
        return self.model.decoder(previous, state.cache, state.text)

    def draw(self, codes: Sequence[Tensor]) -> Tensor:
        """See ``CodeWriter.draw``."""
        return self.detokenizer.draw(codes)


class MinDallePipeline(WritingPipeline):
    """Writes 256 codes a picture."""

    name, title = "min_dalle", "DALL·E mini"
    summary = "The public model behind Craiyon's first pictures: anything, at 256 px."
    lesson = Lesson(
        "How DALL·E mini draws",
        "An encoder reads the prompt once. A decoder then writes a grid of 16 × 16 codes, one "
        "after the other, each one of the 16,384 that a VQGAN has for a patch of a picture, drawn "
        "at random in proportion to how likely it is after the words and the codes so far. The "
        "VQGAN’s decoder turns the grid into pixels. Guidance compares what the model expects with "
        "the prompt and without it, and follows the difference.",
        "Dayma et al., 2021, “DALL·E Mini”")
    Options = MinDalleOptions
    models = (TRANSFORMER, DETOKENIZER, RANKER)
    sides_px = MappingProxyType({256: {}})

    def check_options(self, options: MinDalleOptions) -> None:
        """Refuse a negative prompt that would have no effect."""
        check_negative(options.negative_prompt, options.guidance_scale)

    def writer(self, *models: Any) -> CodeWriter:
        """Transformer and detokenizer."""
        return MinDalleWriter(*models)

    def dtype_of(self, model_id: str, request: CheckedRequest[MinDalleOptions],
                 context: RunContext) -> torch.dtype:
        """See ``CandidatePipeline.dtype_of``; the transformer can be packed in 8 bits."""
        options = request.options
        return dtype_for(model_id, context.device, context.dtype, options.precision,
                         int8=model_id == options.model)

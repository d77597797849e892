"""Janus-Pro: one public language model for words and pictures, behind the same events.

Source: Chen et al., "Janus-Pro: Unified Multimodal Understanding and Generation with Data and Model
Scaling" (2025).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from pydantic import Field

from pipelines.autoregressive import ADVANCED, CodeWriter, WritingOptions, WritingPipeline
from pipelines.model_options import model_field
from pipelines.models.checkpoints.ids import RANKER
from pipelines.pipeline import Lesson

JANUS = "deepseek/janus-pro-1b"


class JanusOptions(WritingOptions):
    """How tokens are drawn."""

    model: str = model_field(JANUS, "janus", "Model", "The network that writes the picture.")
    preview_every: int = Field(
        default=48, ge=1, le=576, title="Preview interval", json_schema_extra=ADVANCED,
        description="Tokens between previews.")


class JanusPipeline(WritingPipeline):
    """Writes 576 tokens a picture."""

    name, title = "janus", "Janus-Pro"
    summary = "A public language model of a billion weights that writes pictures too, at 384 px."
    lesson = Lesson(
        "How Janus-Pro draws",
        "A language model that writes words writes pictures in the same way: after the prompt it "
        "goes on with 24 × 24 tokens, one after the other, each of them a patch of the picture, "
        "drawn at random in proportion to how likely it is after the words and the tokens so far. "
        "A decoder turns the tokens into pixels. Guidance compares what the model expects with the "
        "prompt and without it, and follows the difference.",
        "Chen et al., 2025, “Janus-Pro: Unified Multimodal Understanding and Generation with Data "
        "and Model Scaling”")
    Options = JanusOptions
    models = (JANUS, RANKER)
    sides_px = MappingProxyType({384: {}})

    def writer(self, *models: Any) -> CodeWriter:
        """The model itself."""
        return models[0]

"""FLUX.2 [klein] 4B: a public rectified flow in four steps, its parts leased one after the other.

The loop is that of diffusers' ``Flux2KleinPipeline``, step by step, so that a run shows previews
and can be stopped.

Source: Black Forest Labs, "FLUX.2 [klein]" (2026).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from pydantic.config import JsonDict
from torch import Tensor

from pipelines.core.aspect import SQUARE, parse_aspect, sides_px
from pipelines.core.events import Event
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.model_options import auto_ranker_field, precision_field
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.precision import Precision
from pipelines.part_by_part import PartByPartPipeline, PartsRun, noise_of
from pipelines.pipeline import Lesson

if TYPE_CHECKING:  # what a run is handed; diffusers takes seconds to import
    from pipelines.models.flux2 import Autoencoder, Flow, Reader

PARTS = ("flux2/klein-4b-text-encoder", "flux2/klein-4b-transformer", "flux2/klein-4b-vae")
TEXT_ENCODER, TRANSFORMER, VAE = PARTS
ADVANCED: JsonDict = {"advanced": True}


class Flux2Options(Options):
    """How the flow is followed."""

    steps: int = Field(
        default=4, ge=1, le=50, title="Steps",
        description="Steps from noise to picture; it was distilled for 4.")
    size_px: int = Field(
        default=512, ge=256, le=1024, multiple_of=64, title="Size in px",
        description="Side of the square picture.")
    aspect: str = Field(
        default=SQUARE, max_length=20, title="Proportions",
        description="Width to height, such as 3:2; the picture has as many pixels as the square.")
    preview_every: int = Field(
        default=1, ge=1, le=50, title="Preview interval", json_schema_extra=ADVANCED,
        description="Steps between previews.")
    precision: Precision = precision_field()
    ranker: str = auto_ranker_field()


class Flux2Pipeline(PartByPartPipeline):
    """Draws all candidates side by side."""

    name, title = "flux2", "FLUX.2 klein"
    summary = "A public rectified flow of four billion weights that draws in four steps."
    lesson = Lesson(
        "How FLUX.2 klein draws",
        "A language model reads the prompt. Noise and picture are the two ends of a straight line, "
        "a rectified flow, and a transformer says at each point of it which way leads to the "
        "picture; it sees words and picture together. It was distilled, taught by a slower one "
        "whose guidance it has learned, so that four steps are enough. A decoder turns the latents "
        "into pixels.",
        "Black Forest Labs, 2026, “FLUX.2 [klein]: Towards Interactive Visual Intelligence”")
    Options = Flux2Options
    models = (*PARTS, RANKER)

    def check_options(self, options: Flux2Options) -> None:
        """Refuse what is not a pair of proportions."""
        parse_aspect(options.aspect)

    def steps_of(self, request: CheckedRequest[Flux2Options]) -> int:
        """See ``PartByPartPipeline.steps_of``."""
        return request.options.steps

    def read(self, run: PartsRun[Flux2Options]) -> Iterator[Event]:
        """Returns the prompt's states (1, T, D)."""
        with ExitStack() as stack:
            reader: Reader = yield from run.lease(stack, TEXT_ENCODER)
            with torch.no_grad():
                return reader.read(run.request.prompt)

    def paint(self, run: PartsRun[Flux2Options], condition: Tensor) -> Iterator[Event]:
        """The loop; see ``PartByPartPipeline.paint``."""
        options = run.options
        with ExitStack() as stack:
            flow: Flow = yield from run.lease(stack, TRANSFORMER)
            vae: Autoencoder = yield from run.lease(stack, VAE)
            height, width = (side_px // vae.scale for side_px in sides_px(
                options.size_px, parse_aspect(options.aspect), vae.scale))
            states = condition.to(flow.device).expand(len(run.seeds), -1, -1)
            latents = noise_of(run.generators, (flow.channels, height, width), flow.device,
                               states.dtype)
            latents = latents.flatten(2).transpose(1, 2)
            scheduler: Any = flow.scheduler(options.steps, height * width)
            for i, t in enumerate(scheduler.timesteps):
                with torch.no_grad():
                    velocity = flow.velocity(latents, t, states, (height, width))
                    # Where the straight line from here ends: what it takes the picture for.
                    end = latents - scheduler.sigmas[i] * velocity
                    latents = scheduler.step(velocity, t, latents, return_dict=False)[0]
                    preview = (vae.decode(end, (height, width))
                               if i % options.preview_every == 0 else None)
                if (yield from run.step(preview)):
                    latents = end
                    break
            with torch.no_grad():
                return vae.decode(latents.to(states.dtype), (height, width))

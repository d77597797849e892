"""Kandinsky 2.2: a public unCLIP of 2.9 billion weights, its parts leased one after the other.

The loops are those of diffusers' ``KandinskyV22PriorPipeline`` and ``KandinskyV22Pipeline``, step
by step, so that a run shows previews, can be stopped, and needs no more of the device than its
largest part.

Source: Razzhigaev et al., "Kandinsky: an Improved Text-to-Image Synthesis with Image Prior and
Latent Diffusion" (2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from pydantic.config import JsonDict
from torch import Tensor

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.events import Event
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.model_options import auto_ranker_field, precision_field
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.kandinsky_blank import BlankEmbedding
from pipelines.models.precision import Precision
from pipelines.negative_prompt import check_negative, negative_field
from pipelines.part_by_part import PartByPartPipeline, PartsRun, noise_of
from pipelines.pipeline import Lesson
from pipelines.sampling import guide

if TYPE_CHECKING:  # what a run is handed; diffusers takes seconds to import
    from pipelines.models.kandinsky import ImageEncoder, MoVQ, Painter, Prior, TextEncoder

PARTS = ("kandinsky/2-2-text-encoder", "kandinsky/2-2-image-encoder", "kandinsky/2-2-prior",
         "kandinsky/2-2-unet", "kandinsky/2-2-movq")
TEXT_ENCODER, IMAGE_ENCODER, PRIOR, UNET, MOVQ = PARTS
LATENT_PX = 64  # sides are whole numbers of so many pixels
ADVANCED: JsonDict = {"advanced": True}


class KandinskyOptions(Options):
    """How prior and decoder draw."""

    negative_prompt: str = negative_field()
    decoder_guidance_scale: float = Field(
        default=4.0, ge=1, le=20, title="Guidance",
        description="How closely the decoder follows the embedding; 1 is faster and freer.")
    decoder_steps: int = Field(
        default=25, ge=1, le=100, title="Steps",
        description="Steps from noise to picture; more are slower and finer.")
    size_px: int = Field(
        default=512, ge=64, le=1024, multiple_of=64, title="Size in px",
        description="Side of the picture.")
    prior_guidance_scale: float = Field(
        default=4.0, ge=1, le=20, title="Prior guidance", json_schema_extra=ADVANCED,
        description="How closely the prior follows the prompt.")
    prior_steps: int = Field(
        default=25, ge=2, le=100, title="Prior steps", json_schema_extra=ADVANCED,
        description="Steps of the prior from noise to an image embedding.")
    preview_every: int = Field(
        default=5, ge=1, le=100, title="Preview interval", json_schema_extra=ADVANCED,
        description="Steps of the decoder between previews.")
    precision: Precision = precision_field()
    ranker: str = auto_ranker_field()


_Run = PartsRun[KandinskyOptions]


class KandinskyPipeline(PartByPartPipeline):
    """Draws all candidates side by side.

    A run from text may do without the image encoder, see ``BlankEmbedding``.
    """

    name, title = "kandinsky", "Kandinsky 2.2"
    summary = "A public unCLIP: a prior for CLIP embeddings and a decoder of a billion weights."
    lesson = Lesson(
        "How Kandinsky 2.2 draws",
        "The same idea as unCLIP’s, trained on photographs and paintings of the web: a prior of a "
        "billion weights imagines a CLIP embedding, and a decoder draws latents that MoVQ turns "
        "into pixels. Its parts come to the device one after the other, so that it needs no more "
        "memory than the largest of them.",
        "Razzhigaev et al., 2023, “Kandinsky: an Improved Text-to-Image Synthesis with Image Prior "
        "and Latent Diffusion”")
    Options = KandinskyOptions
    models = (*PARTS, RANKER)
    accepts_init_image = draws_variations = True

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        super().__init__(catalogue)
        self.blank = BlankEmbedding(catalogue, IMAGE_ENCODER)

    def check_options(self, options: KandinskyOptions) -> None:
        """Refuse sizes that latents cannot have, and a negative prompt that has no effect."""
        check_negative(options.negative_prompt, options.decoder_guidance_scale)
        if options.size_px % LATENT_PX:
            raise InvalidRequest("Size in px must be a multiple of {}.", LATENT_PX, field="size_px")

    def steps_of(self, request: CheckedRequest[KandinskyOptions]) -> int:
        """See ``PartByPartPipeline.steps_of``."""
        options = request.options
        imagines = request.init_image is None or options.negative_prompt
        return (options.prior_steps if imagines else 0) + options.decoder_steps

    def read(self, run: _Run) -> Iterator[Event]:
        """Returns the embeddings (N, D) to draw from, and those (N, D) to lead away from."""
        return (yield from _image_embeds(run, self.blank))

    def paint(self, run: _Run, condition: tuple[Tensor, Tensor]) -> Iterator[Event]:
        """The decoder's loop; see ``PartByPartPipeline.paint``."""
        return (yield from _draw(run, *condition))


def _image_embeds(run: _Run, kept: BlankEmbedding) -> Iterator[Event]:
    """Returns the embeddings (N, D) to draw from, and those (N, D) to lead away from.

    These are what the prior imagines of the negative prompt; of a blank picture without one.

    Args:
        run: of the group.
        kept: the latter's embedding, where it was made before.
    """
    count, picture = len(run.seeds), run.request.init_pixels
    negative = run.options.negative_prompt
    if negative:
        if picture is None:
            return (yield from _imagined(run, [run.request.prompt, negative]))
        (against,) = yield from _imagined(run, [negative])
        with ExitStack() as stack:
            encoder: ImageEncoder = yield from run.lease(stack, IMAGE_ENCODER)
            with torch.no_grad():
                return encoder.encode(picture).expand(count, -1), against
    dtype = run.pipeline.dtype_of(IMAGE_ENCODER, run.request, run.context)
    blank = kept.read(run.context.device, dtype)
    if blank is None or picture is not None:
        with ExitStack() as stack:
            encoder = yield from run.lease(stack, IMAGE_ENCODER)
            with torch.no_grad():
                if blank is None:
                    blank = encoder.encode(None)
                    kept.keep(blank, run.context.device)
                blank = blank.to(encoder.device)
                if picture is not None:
                    seen = encoder.encode(picture).expand(count, -1)
                    return seen, blank.expand(count, -1)
    (embeds,) = yield from _imagined(run, [run.request.prompt])
    return embeds, blank.to(run.context.device).expand(count, -1)


def _imagined(run: _Run, texts: list[str]) -> Iterator[Event]:
    """Returns the image embeddings (N, D) that the prior imagines of each of one or two texts."""
    with ExitStack() as stack:
        text_encoder: TextEncoder = yield from run.lease(stack, TEXT_ENCODER)
        with torch.no_grad():
            condition = text_encoder.encode(texts, len(run.seeds),
                                            run.options.prior_guidance_scale > 1,
                                            run.options.negative_prompt)
    with ExitStack() as stack:
        prior: Prior = yield from run.lease(stack, PRIOR)
        embeds = yield from _imagine(run, prior, condition, len(texts))
    return embeds.chunk(len(texts))


def _imagine(run: _Run, prior: Prior, condition: tuple[Tensor, Tensor, Tensor], texts: int,
             ) -> Iterator[Event]:
    """The prior's loop; returns image embeddings (texts · N, D), those of a text together."""
    options, count = run.options, texts * len(run.seeds)
    generators = run.generators * texts
    model, scheduler = prior.model, prior.new_scheduler(options.prior_steps)
    embeds, states, mask = condition
    embeds, states = embeds.to(model.dtype), states.to(model.dtype)
    latents = noise_of(generators, (model.config.embedding_dim,), prior.device, model.dtype)
    latents = latents * scheduler.init_noise_sigma
    times = scheduler.timesteps
    for i, t in enumerate(times):
        with torch.no_grad():
            rows = latents.repeat(len(embeds) // count, 1)
            found = model(rows, t, embeds, states, mask).predicted_image_embedding
            if len(embeds) > count:
                found = guide(found[count:], found[:count], options.prior_guidance_scale)
            following = times[i + 1] if i + 1 < len(times) else None
            latents = scheduler.step(found, t, latents, generator=generators,
                                     prev_timestep=following).prev_sample
        if (yield from run.step()):
            raise Cancelled
    return prior.finish(latents)


def _draw(run: _Run, embeds: Tensor, blank: Tensor) -> Iterator[Event]:
    """The decoder's loop; returns pictures (N, 3, H, W), about [-1, 1]."""
    options = run.options
    with ExitStack() as stack:
        painter: Painter = yield from run.lease(stack, UNET)
        movq: MoVQ = yield from run.lease(stack, MOVQ)
        model, guided = painter.model, options.decoder_guidance_scale > 1
        scheduler = painter.new_scheduler(options.decoder_steps)
        side = options.size_px // movq.scale
        condition = torch.cat([blank, embeds]) if guided else embeds  # (N or 2 N, D)
        condition = condition.to(painter.device, model.dtype)
        shape = (model.config.in_channels, side, side)
        latents = noise_of(run.generators, shape, painter.device, model.dtype)
        latents = latents * scheduler.init_noise_sigma
        for i, t in enumerate(scheduler.timesteps):
            with torch.no_grad():
                noise = _predict(model, latents, t, condition, options.decoder_guidance_scale)
                if scheduler.config.variance_type not in ("learned", "learned_range"):
                    noise = noise[:, :latents.shape[1]]
                found = scheduler.step(noise, t, latents, generator=run.generators)
                latents = found.prev_sample
                preview = (movq.decode(found.pred_original_sample)
                           if i % options.preview_every == 0 else None)
            if (yield from run.step(preview)):
                latents = found.pred_original_sample
                break
        with torch.no_grad():
            return movq.decode(latents)


def _predict(model: torch.nn.Module, latents: Tensor, t: Tensor, condition: Tensor,
             guidance_scale: float) -> Tensor:
    """Noise and variance (N, 2 · C, h, w), guided rows in one batch."""
    count, channels = latents.shape[:2]
    found = model(latents.repeat(len(condition) // count, 1, 1, 1), t, None,
                  added_cond_kwargs={"image_embeds": condition}, return_dict=False)[0]
    if len(condition) == count:
        return found
    noise = guide(found[count:, :channels], found[:count, :channels], guidance_scale)
    return torch.cat([noise, found[count:, channels:]], dim=1)

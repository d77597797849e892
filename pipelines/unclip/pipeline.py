"""unCLIP: a prior turns the prompt into a CLIP image embedding, a decoder that into a picture.

Since the decoder starts from an image embedding, it also draws variations of a picture, and a
picture with a difference that is said in words.

Source: Ramesh et al., "Hierarchical Text-Conditional Image Generation with CLIP Latents" (2022).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from pydantic.config import JsonDict

from pipelines.batching import Drawn
from pipelines.candidates import CandidatePipeline
from pipelines.core.errors import Cancelled, InvalidRequest, WeightsError
from pipelines.core.events import Event, Preview, Progress
from pipelines.core.options import Options
from pipelines.core.request import (
    MAX_PROMPT_CHARS,
    CheckedRequest,
)
from pipelines.core.sentences import Sentence
from pipelines.model_options import model_field
from pipelines.models.checkpoints.ids import GUIDE, RANKER
from pipelines.models.clip_features import image_features, text_features
from pipelines.models.pixels import enlarge, to_uint8
from pipelines.negative_prompt import check_negative, negative_field
from pipelines.pipeline import Lesson, Preset, RunContext
from pipelines.unclip.steps import Noise, decode, sample_decoder, sample_prior, text_difference

if TYPE_CHECKING:  # what a run is handed; diffusers takes seconds to import
    from pipelines.models.clip import ClipModel
    from pipelines.models.unclip import UnclipDecoder, UnclipPrior

MODELS = ("embedded/unclip-prior", "embedded/unclip-decoder", GUIDE,
          "embedded/vqgan", "embedded/upscaler", RANKER)
PRIOR, DECODER, CLIP, VQGAN, UPSCALER, _ = MODELS
ADVANCED: JsonDict = {"advanced": True}
OTHER_CLIP = "The {} of unCLIP was trained with another CLIP than the one installed"


class UnclipOptions(Options):
    """How the prior and the decoder draw."""

    negative_prompt: str = negative_field()
    decoder_guidance_scale: float = Field(
        default=3.0, ge=1, le=20, title="Guidance",
        description="How closely the decoder follows what it is told; 1 is faster and freer.")
    prior: bool = Field(
        default=True, title="Prior",
        description="Without it the caption's own embedding goes to the decoder; these small "
                    "models draw about as well so.")
    decoder_steps: int = Field(
        default=8, ge=1, le=64, title="Steps",
        description="Steps from noise to picture; more are slower and a little finer.")
    tell_caption: bool = Field(
        default=True, title="Tell the caption",
        description="Tell the decoder the prompt too, not the image embedding alone.")
    picture: Literal["variation", "difference"] = Field(
        default="variation", title="With an init image",
        description="Draw variations of it, or what it would be if the prompt were true of it.")
    described: str = Field(
        default="", max_length=MAX_PROMPT_CHARS, title="The init image shows",
        description="For a difference: what the init image shows, in words.")
    difference: float = Field(
        default=0.4, ge=0, le=1, title="Difference", json_schema_extra=ADVANCED,
        description="How far to turn the embedding of the init image towards the prompt.")
    prior_guidance_scale: float = Field(
        default=1.5, ge=1, le=20, title="Prior guidance", json_schema_extra=ADVANCED,
        description="How closely the prior follows the prompt.")
    prior_steps: int = Field(
        default=8, ge=1, le=64, title="Prior steps", json_schema_extra=ADVANCED,
        description="Steps of the prior from noise to an image embedding.")
    preview_every: int = Field(
        default=1, ge=1, le=64, title="Preview interval", json_schema_extra=ADVANCED,
        description="Steps of the decoder between previews.")
    ranker: str = model_field(
        RANKER, "clip", "Ranker", "The CLIP that puts finished pictures in order.", advanced=True)


@dataclass(frozen=True)
class Models:
    """What a run has leased, in the order of ``MODELS``."""

    prior: UnclipPrior
    decoder: UnclipDecoder
    clip: ClipModel
    vqgan: Any
    upscaler: Any
    ranker: ClipModel

    def fits(self, part: UnclipPrior | UnclipDecoder, context: RunContext) -> bool:
        """Whether the prior or the decoder was trained with the CLIP that is here."""
        there = context.cache.fingerprints((CLIP,))[CLIP]
        return part.clip_sha256 is None or there is None or part.clip_sha256 == there


class UnclipPipeline(CandidatePipeline):
    """Draws all candidates side by side."""

    name, title = "unclip", "unCLIP"
    summary = "A prior imagines what CLIP would see, and a decoder draws a picture of it."
    lesson = Lesson(
        "How unCLIP draws",
        "CLIP knows of a text what a picture of it would look like, roughly. A first network, the "
        "prior, starts from noise and turns the prompt into a CLIP embedding as a picture would "
        "have it; switch it off, and the decoder gets the text’s own embedding instead. In the "
        "paper pictures were better with it; these small models draw about as well without, since "
        "their prior ends next to the text’s own embedding, and their decoder is told the caption "
        "too. This second network starts from noise as well and "
        "takes it away in a few steps until a picture is left that has this embedding. Because it "
        "draws from an embedding, it also draws variations of any picture, walks from one picture "
        "to another, and turns a picture towards what a text says. Guidance compares what the "
        "decoder sees with what it is told and without it, and follows the difference.",
        "Ramesh et al., 2022, “Hierarchical Text-Conditional Image Generation with CLIP Latents”")
    Options = UnclipOptions
    models = MODELS
    sides_px = MappingProxyType({256: {}})
    presets = MappingProxyType({
        "draft": Preset({"decoder_steps": 4, "prior_steps": 4}), "normal": Preset(),
        "best": Preset({"decoder_steps": 24}, best_of=16),
        "bold": Preset({"decoder_guidance_scale": 1.0})})
    accepts_init_image = draws_variations = True

    def check_options(self, options: UnclipOptions) -> None:
        """Refuse a negative prompt that would have no effect."""
        check_negative(options.negative_prompt, options.decoder_guidance_scale)

    def check(self, request: CheckedRequest[UnclipOptions]) -> None:
        """Refuse a difference without a picture."""
        if request.options.picture == "difference" and request.init_image is None:
            raise InvalidRequest("A difference needs an init image to make it to.", field="picture")

    def draw(self, request: CheckedRequest[UnclipOptions], context: RunContext,
             models: Sequence[Any], seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        """See ``CandidatePipeline.draw``.

        What it returns when it ends early is what the pictures would have become by the last step.
        """
        leased, options = Models(*models), request.options
        noise = Noise.of(seeds, leased.prior.image_dim, leased.decoder.latent_shape,
                         leased.clip.device)
        before = _prior_steps(request)
        total = done = before + options.decoder_steps
        image, facts = yield from _embedding(leased, request, noise, context, total)
        texts = [request.prompt if options.tell_caption else ""] * len(seeds)
        latents = noise.decoder
        sampling = sample_decoder(leased.decoder, texts, image, noise.decoder,
                                  options.decoder_steps, options.decoder_guidance_scale,
                                  options.negative_prompt)
        for done in range(before + 1, total + 1):
            latents = next(sampling)
            if context.cancelled():
                break
            if (done - before - 1) % options.preview_every == 0 and done < total:
                yield Preview(done, to_uint8(decode(leased.vqgan, latents)), seeds)
            yield Progress(done, total, context.elapsed_s())
        images = enlarge(decode(leased.vqgan, latents), leased.upscaler, context.cache.evict_idle)
        return Drawn(images, seeds, done, total, facts)


def _prior_steps(request: CheckedRequest[UnclipOptions]) -> int:
    options = request.options
    return options.prior_steps if options.prior and request.init_image is None else 0


def _embedding(models: Models, request: CheckedRequest[UnclipOptions], noise: Noise,
               context: RunContext, total: int) -> Iterator[Any]:
    """Find the image embeddings; returns them standardised (N, D), and facts for the result."""
    facts: dict[str, Any] = {}
    options, count = request.options, len(noise.prior)
    encoder = models.decoder.caption_encoder
    decoder_fits = models.fits(models.decoder, context)
    if (picture := request.init_pixels) is not None:
        if not decoder_fits:
            raise WeightsError("{}, so that it cannot start from a picture.",
                               Sentence(OTHER_CLIP, "decoder"))
        embeds = image_features(models.clip, [picture])
        if options.picture == "difference":
            embeds = text_difference(models.clip, embeds, options.described, request.prompt,
                                     options.difference)
        return encoder.standardise(embeds).expand(count, -1), facts
    if not decoder_fits or (options.prior and not models.fits(models.prior, context)):
        # The decoder draws from the caption alone as well.
        part = "prior" if decoder_fits else "decoder"
        facts["notice"] = Sentence("{}, so that the caption alone was told.",
                                   Sentence(OTHER_CLIP, part))
        return torch.zeros_like(noise.prior), facts
    if not options.prior:
        embeds = text_features(models.clip, [request.prompt])
        return encoder.standardise(embeds).expand(count, -1), facts
    standardised = noise.prior
    sampling = sample_prior(models.prior, models.clip, request.prompt, noise.prior,
                            options.prior_steps, options.prior_guidance_scale,
                            options.negative_prompt)
    for step in range(1, options.prior_steps + 1):
        standardised = next(sampling)
        if context.cancelled():
            raise Cancelled
        yield Progress(step, total, context.elapsed_s())
    return encoder.standardise(models.prior.unit(standardised)), facts

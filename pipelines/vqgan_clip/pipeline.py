"""VQGAN+CLIP: move a VQGAN's latents until CLIP says that the picture matches the prompt.

Source: Crowson et al., "VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language
Guidance" (2022), section 3; the options follow Pixray and the notebooks before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import torch
from pydantic import Field
from pydantic.config import JsonDict

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.events import Event, Preview, Progress, Result
from pipelines.core.images import fit_square
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.model_options import model_field, with_choices
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.pixels import enlarge, to_uint8
from pipelines.models.precision import Precision, dtype_for
from pipelines.pipeline import Lesson, Pipeline, RunContext
from pipelines.rerank import RANKER, rank_candidates
from pipelines.vqgan_clip.cutouts import Augmentations, Cutouts
from pipelines.vqgan_clip.latents import Init, Latents, Optimiser, Schedule, start_latents
from pipelines.vqgan_clip.optimise import Guide, Painting
from pipelines.vqgan_clip.pausing import Course
from pipelines.weighted_prompts import parse_prompts, ranking_texts

MODELS = ("embedded/vqgan", "embedded/clip-guide", "embedded/upscaler", RANKER)
UPSCALER = MODELS[2]
ADVANCED: JsonDict = {"advanced": True}


class VQGANCLIPOptions(Options):
    """How a picture is optimised."""

    iterations: int = Field(
        default=100, ge=1, le=1000, title="Iterations",
        description="Steps of the optimisation.")
    size_px: int = Field(
        default=128, ge=128, le=256, multiple_of=64, title="Size in px",
        description="Side of the picture before it is drawn twice as large.")
    init: Init = Field(
        default="plain", title="Start",
        description="A light field or random codes, where no init image is the start.")
    from_image: bool = Field(
        default=True, title="Start from the init image",
        description="Without this the init image is only a target, an image prompt.")
    init_weight: float = Field(
        default=0.0, ge=0, le=100, title="Init weight",
        description="How strongly the picture is held at the init image.")
    image_weight: float = Field(
        default=0.0, ge=-10, le=10, title="Image prompt weight",
        description="How strongly the init image is also a target beside the prompt.")
    step_size: float = Field(
        default=0.15, ge=0.001, le=2, title="Step size", json_schema_extra=ADVANCED,
        description="How far the latents move in the first step.")
    optimiser: Optimiser = Field(
        default="normalised", title="Optimiser", json_schema_extra=ADVANCED,
        description="Which rule turns gradients into steps.")
    schedule: Schedule = Field(
        default="cosine", title="Schedule", json_schema_extra=ADVANCED,
        description="Whether steps grow shorter towards the end.")
    coarse: float = Field(
        default=0.0, ge=0, le=1, title="Coarse first", json_schema_extra=ADVANCED,
        description="Share of the steps that shape the picture in large blocks.")
    num_cutouts: int = Field(
        default=1, ge=1, le=64, title="Cutouts", json_schema_extra=ADVANCED,
        description="Parts of the picture that CLIP looks at in each step.")
    cut_power: float = Field(
        default=1.0, ge=0.1, le=10, title="Cut power", json_schema_extra=ADVANCED,
        description="More makes cutouts smaller, less makes them larger.")
    smallest_cut: float = Field(
        default=0.9, ge=0.1, le=1, title="Smallest cutout", json_schema_extra=ADVANCED,
        description="Side of the smallest cutout as a share of the picture's.")
    whole_cuts: float = Field(
        default=1.0, ge=0, le=1, title="Whole pictures", json_schema_extra=ADVANCED,
        description="Share of cutouts that show the whole picture.")
    augmentations: Augmentations = Field(
        default="none", title="Augmentations", json_schema_extra=ADVANCED,
        description="How far cutouts are turned, tilted and recoloured.")
    flip: bool = Field(
        default=False, title="Mirror", json_schema_extra=ADVANCED,
        description="Mirror half of the cutouts, which makes left and right the same.")
    noise: float = Field(
        default=0.0, ge=0, le=0.5, title="Noise", json_schema_extra=ADVANCED,
        description="Most noise added to a cutout.")
    smoothness: float = Field(
        default=0.0, ge=0, le=10, title="Smoothness", json_schema_extra=ADVANCED,
        description="How strongly differences between neighbouring pixels are held down.")
    quantize: bool = Field(
        default=True, title="Codes only", json_schema_extra=ADVANCED,
        description="Draw with the nearest codes of the VQGAN instead of anything in between.")
    precision: Precision = Field(
        default="auto", title="Precision", json_schema_extra=ADVANCED,
        description="Number format of the computation; auto is the faster one of this machine.")
    preview_every: int = Field(
        default=5, ge=1, le=1000, title="Preview interval", json_schema_extra=ADVANCED,
        description="Steps between previews.")
    vqgan: str = model_field(
        MODELS[0], "vqgan", "VQGAN", "The network whose latents are moved.", advanced=True)
    guide: str = model_field(
        MODELS[1], "clip", "Guide", "The CLIP that says how well the picture matches.",
        advanced=True)
    ranker: str = model_field(
        RANKER, "clip", "Ranker", "The CLIP that puts finished pictures in order.", advanced=True)

    def models(self) -> tuple[str, ...]:
        """VQGAN, guide, upscaler and ranker."""
        return self.vqgan, self.guide, UPSCALER, self.ranker

    def cutouts(self) -> Cutouts:
        """How cutouts are made."""
        return Cutouts(self.num_cutouts, self.cut_power, self.smallest_cut, self.whole_cuts,
                       self.augmentations, self.flip, self.noise)


class VQGANCLIPPipeline(Pipeline):
    """Optimises all candidates side by side."""

    name, title = "vqgan_clip", "VQGAN+CLIP"
    summary = "Moves the latents of a VQGAN until CLIP says that the picture matches."
    lesson = Lesson(
        "How VQGAN+CLIP draws",
        "Nothing is trained here: a picture is improved until it fits. It starts as a plain field "
        "of a VQGAN’s latents. At every step the decoded picture is cut into many random pieces, a "
        "CLIP compares each piece with the prompt, and the gradient of that score moves the "
        "latents a little; the curves show how far the picture still is from the prompt and how "
        "well the CLIP says that it fits. Parts of a prompt may have weights, negative ones for "
        "what should not be there: “a red apple:2 | a worm:-0.5”.",
        "Crowson et al., 2022, “VQGAN-CLIP: Open Domain Image Generation and Editing with Natural "
        "Language Guidance”")
    Options = VQGANCLIPOptions
    models = MODELS
    accepts_init_image = True
    can_pause = True
    default_num_images = 1  # each costs as much as many that are sampled

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        if catalogue is not None:
            self.Options = with_choices(VQGANCLIPOptions, catalogue)

    def models_of(self, request: CheckedRequest[VQGANCLIPOptions]) -> tuple[str, ...]:
        """Those that the options choose."""
        return request.options.models()

    def check(self, request: CheckedRequest[VQGANCLIPOptions]) -> None:
        """Refuse a malformed prompt, and an init image that is weighted but not there or unused."""
        parse_prompts(request.prompt)
        options = request.options
        if request.init_image is None:
            for name, title in (("init_weight", "Init weight"),
                                ("image_weight", "Image prompt weight")):
                if getattr(options, name):
                    raise InvalidRequest(f"{title} needs an init image.", name)
        elif not options.from_image:
            if options.init_weight:
                raise InvalidRequest("Init weight needs a run that starts from the init image.",
                                     "init_weight")
            if not options.image_weight:
                raise InvalidRequest("The init image is neither the start nor a target: give it an "
                                     "image prompt weight.", "image_weight")

    def run(self, request: CheckedRequest[VQGANCLIPOptions], context: RunContext,
            ) -> Iterator[Event]:
        """Yield progress and previews, then the ranked pictures; see ``Pipeline.run``.

        Each candidate's picture is that of the step with the lowest loss, of those before Stop.

        Raises:
            Paused: the state is kept.
            PausedRunError: the run cannot go on from the state that it was given.
        """
        options = request.options
        prompts = parse_prompts(request.prompt)
        seeds = request.seeds
        image = request.init_pixels
        image = None if image is None else fit_square(image, options.size_px)
        leases = [(model, dtype_for(model, context.device, context.dtype, options.precision))
                  for model in options.models()]
        for model, dtype in leases:
            yield from context.loading(model, dtype=dtype)
        # All at once: a model that is broken is found before the work, and Stop keeps its pictures
        # without waiting for the ranker.
        with ExitStack() as stack:
            vqgan, guide_clip, upscaler, ranker = (
                stack.enter_context(context.lease(model, dtype)) for model, dtype in leases)
            context.check()
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            guide = Guide(guide_clip, prompts, image, options.image_weight)
            start = start_latents(vqgan, options.init, image if options.from_image else None,
                                  options.size_px, generators)
            latents = Latents(start, vqgan, options.optimiser, options.step_size,
                              options.schedule, options.coarse)
            painting = Painting(vqgan, guide, latents, generators, options.cutouts(),
                                options.init_weight, options.smoothness, options.quantize,
                                options.precision, context.cache.evict_idle)
            course = Course(context.keeper, painting, request, options.iterations)
            course.go_on(context.cache.fingerprints((options.vqgan, options.guide)))
            yield from course.earlier_events(seeds, context.elapsed_s())
            yield from _optimise(painting, options, seeds, context, course)
            if painting.best_pixels is None:
                raise Cancelled
            done = painting.steps
            yield Progress(done, options.iterations, context.elapsed_s(), "Ranking.")
            images = enlarge(painting.best_pixels, upscaler, context.cache.evict_idle)
            ranked = rank_candidates(images, seeds, ranking_texts(request.prompt), ranker)
            candidates = tuple(replace(c, metadata=painting.facts(c.index)) for c in ranked)
        stopped = {"stopped": True} if done < options.iterations else {}
        yield Result(candidates, context.elapsed_s(), {**stopped, **course.metadata()})


def _optimise(painting: Painting, options: VQGANCLIPOptions, seeds: tuple[int, ...],
              context: RunContext, course: Course) -> Iterator[Event]:
    """Take the steps; ends early once the run is cancelled or paused."""
    def interrupted() -> bool:
        return context.cancelled() or course.pausing()

    while painting.steps < options.iterations:
        step = painting.steps + 1
        losses = painting.step(step, options.iterations, interrupted)
        if losses is not None:
            if (step - 1) % options.preview_every == 0 and painting.pixels is not None:
                images = to_uint8(painting.pixels)
                course.film.add(images)
                yield Preview(step, images, seeds)
            course.note(step, losses)
            yield Progress(step, options.iterations, context.elapsed_s(), course.notice, losses)
        course.keep()
        if context.cancelled():
            return

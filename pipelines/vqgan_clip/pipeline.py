"""VQGAN+CLIP: move a VQGAN's latents until CLIP says that the picture matches the prompt.

Source: Crowson et al., "VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language
Guidance" (2022), section 3.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import torch

from pipelines.batching import Drawn
from pipelines.candidates import CandidatePipeline
from pipelines.core.aspect import parse_aspect
from pipelines.core.errors import Cancelled, InvalidRequest, PausedRunError
from pipelines.core.events import Event, Preview, Progress
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.models.checkpoints.ids import EMBEDDED, RANKER
from pipelines.models.pixels import enlarge, to_uint8
from pipelines.models.precision import computed_in
from pipelines.pipeline import Lesson, Preset, RunContext
from pipelines.ranker_choice import resolved_ranker
from pipelines.saved_run import DAMAGED
from pipelines.vqgan_clip.descent import parse_drops
from pipelines.vqgan_clip.options import (
    MODELS,
    SIZES_PX,
    UPSCALER,
    VQGANCLIPOptions,
    shapes_px,
)
from pipelines.vqgan_clip.pictures import free_places, parse_weights
from pipelines.vqgan_clip.presets import EMBEDDED_VALUES, check_guides, resolve_options
from pipelines.vqgan_clip.run_state import RunState
from pipelines.vqgan_clip.set_up import mask_of, prompt_parts, set_up
from pipelines.vqgan_clip.story import check_story

# Options that say how an init image is the start, with their titles.
STARTS = (("init_weight", "Init weight"), ("init_noise", "Noise on the init image"))
NEEDS_START = "{} needs a run that starts from the init image."
T = TypeVar("T", bound=Options)


class VQGANCLIPPipeline(CandidatePipeline):
    """Optimises all candidates side by side."""

    name, title = "vqgan_clip", "VQGAN+CLIP"
    summary = "Moves the latents of a VQGAN until CLIP says that the picture matches."
    lesson = Lesson(
        "How VQGAN+CLIP draws",
        "Nothing is trained here, both networks were before: a picture is improved until it fits. "
        "It starts as a plain field of a VQGAN’s latents. At every step a CLIP compares the "
        "decoded picture with the prompt, the embedded one as a whole, published ones in many "
        "random pieces, and the gradient of that score moves the latents a little; the curves "
        "show how far the picture still is from the prompt and how well the CLIP says that it "
        "fits. In the end it says so of any prompt, since the picture was made to please it; "
        "whether others agree, the ranker’s score says. Parts of a prompt may have weights, "
        "negative ones for what should not be there: “a red apple:2 | a worm:-0.5”. A story, “an "
        "egg ^ a bird”, is drawn part after part.",
        "Crowson et al., 2022, “VQGAN-CLIP: Open Domain Image Generation and Editing with Natural "
        "Language Guidance”")
    Options = VQGANCLIPOptions
    models = MODELS
    presets = MappingProxyType({
        "draft": Preset({"quality": "draft"}), "normal": Preset(),
        "best": Preset({"quality": "best"}),
        "bold": Preset({"init": "noise", "step_size": 0.3})})
    # By the embedded VQGAN, whose pictures are drawn twice as large.
    sides_px = MappingProxyType({2 * side: {"size_px": side} for side in SIZES_PX})
    # Every picture was drawn larger, whichever the models were.
    former_options = MappingProxyType({"ranker": RANKER, "upscaler": "on", **EMBEDDED_VALUES})
    auto_by = ("drawer", "vqgan", "guide", "quality")
    accepts_init_image = accepts_image_prompts = accepts_mask = True
    can_pause = tells_stories = True
    in_groups = False  # Optimisation computes fewer at a time where the device is full
    default_num_images = 1  # each costs as much as many that are sampled

    def shapes_px(self, options: Options | None = None,
                  ) -> Mapping[tuple[int, int], Mapping[str, Any]]:
        """See ``Pipeline.shapes_px``: squares, and what ``aspect`` makes of them."""
        options = self.resolve_options(VQGANCLIPOptions()) if options is None else options
        assert isinstance(options, VQGANCLIPOptions)
        return shapes_px(options)

    def resolve_options(self, options: T) -> T:
        """See ``presets.resolve_options`` and ``.check_guides``; and decide on the ranker."""
        assert isinstance(options, VQGANCLIPOptions)
        vqgans, guides = options.vqgans(), options.guides()
        check_guides(vqgans, guides, self._catalogue)
        public = not (vqgans or guides)[0].startswith(EMBEDDED)
        ranker = resolved_ranker(options, self._catalogue, public, guides)
        return resolve_options(options).model_copy(update=ranker)

    def models_of(self, request: CheckedRequest[VQGANCLIPOptions]) -> tuple[str, ...]:
        """The VQGAN where it draws, guides, the upscaler where it is on, ranker."""
        options = request.options
        upscaler = (UPSCALER,) if options.upscaler == "on" else ()
        return (*options.vqgans(), *options.guides(), *upscaler, options.ranker)

    def computed_in(self, request: CheckedRequest[VQGANCLIPOptions], context: RunContext,
                    ) -> torch.dtype:
        """See ``CandidatePipeline.computed_in``; each step is a block of ``computing_in``."""
        return computed_in(context.device, super().computed_in(request, context),
                           request.options.precision)

    def check_options(self, options: VQGANCLIPOptions) -> None:
        """Refuse lists and proportions that are malformed, and a camera that should move and has no
        move, or the other way round."""
        parse_aspect(options.aspect)
        parse_drops(options.drops)
        options.camera().check()
        if weights := options.image_prompt_weights.strip():
            parse_weights(weights, len(weights.split(",")))

    def check(self, request: CheckedRequest[VQGANCLIPOptions]) -> None:
        """Refuse a malformed prompt, and an init image that is weighted but not there or unused."""
        options = request.options
        check_story(request.prompt, options.story_steps, options.iterations)
        prompt_parts(request)
        parse_weights(options.image_prompt_weights, len(request.image_prompts))
        if (mask := request.mask_pixels) is not None:
            if request.init_image is None:
                raise InvalidRequest("{} needs an init image.", "Mask", field="mask")
            if not options.from_image:
                raise InvalidRequest(NEEDS_START, "Mask", field="mask")
            if options.move_every:
                raise InvalidRequest("A mask stands still, so the camera has to as well.",
                                     field="move_every")
            free_places(mask, options.mask_marks)
        if request.init_image is None:
            for name, title in (*STARTS, ("image_weight", "Image prompt weight")):
                if getattr(options, name):
                    raise InvalidRequest("{} needs an init image.", title, field=name)
        elif not options.from_image:
            for name, title in STARTS:
                if getattr(options, name):
                    raise InvalidRequest(NEEDS_START, title, field=name)
            if not options.image_weight:
                raise InvalidRequest("The init image is neither the start nor a target: give it "
                                     "an image prompt weight.", field="image_weight")

    def draw(self, request: CheckedRequest[VQGANCLIPOptions], context: RunContext,
             models: Sequence[Any], seeds: tuple[int, ...]) -> Generator[Event, None, Drawn]:
        """See ``CandidatePipeline.draw``.

        Each candidate's picture is that of the step with the lowest loss, of those before Stop or
        the end of patience.

        Raises:
            Cancelled: there is no picture yet.
            Paused: the state is kept.
            PausedRunError: the run cannot be resumed from the state that it was given.
        """
        options = request.options
        networks = (*options.vqgans(), *options.guides())
        state = set_up(request, models[:len(networks)], seeds, context.device,
                       context.cache.evict_idle)
        optimisation, upscaler = state.optimisation, models[len(networks):-1]
        context.checkpointer.begin(request, options.iterations,
                                   context.cache.fingerprints(networks))
        yield from _resume(state, options, seeds, context)
        yield from _optimise(state, options, seeds, context)
        context.checkpointer.finish()
        if optimisation.best_pixels is None:
            raise Cancelled
        images = to_uint8(optimisation.best_pixels)
        if upscaler:
            images = enlarge(optimisation.best_pixels, upscaler[0], context.cache.evict_idle)
            height, width = images.shape[1:3]
            if (mask := mask_of(request, (height, width), context.device)) is not None:
                images = mask.restored(images)  # what is held is not drawn larger but as it came
        early = optimisation.ended and optimisation.steps < options.iterations
        total = optimisation.steps if early else options.iterations
        facts = {"ended_at_step": total} if early else {}
        return Drawn(images, seeds, optimisation.steps, total,
                     {**context.checkpointer.metadata(), **facts},
                     tuple(optimisation.facts(index) for index in range(len(seeds))))


def _resume(state: RunState, options: VQGANCLIPOptions, seeds: tuple[int, ...],
            context: RunContext) -> Iterator[Event]:
    """Put a run where a paused run left off, with what is new; show what is behind it.

    Raises:
        PausedRunError: the state is not that of such a run.
    """
    start = context.checkpointer.start
    if start is None:
        return
    try:
        state.restore(start)
    except (KeyError, ValueError, TypeError, RuntimeError):
        raise PausedRunError(DAMAGED) from None
    yield Progress(start.step, options.iterations, context.elapsed_s(), earlier=start.earlier)
    if state.optimisation.best_pixels is not None:
        yield Preview(start.step, to_uint8(state.optimisation.best_pixels), seeds)


def _optimise(state: RunState, options: VQGANCLIPOptions, seeds: tuple[int, ...],
              context: RunContext) -> Iterator[Event]:
    """Take the steps; ends early once the run is cancelled or paused."""
    run, optimisation = context.checkpointer, state.optimisation

    def interrupted() -> bool:
        return context.cancelled() or run.pausing(optimisation.steps)

    state.have_patience(options)
    while optimisation.steps < options.iterations and not optimisation.ended:
        step = optimisation.steps + 1
        moved = state.begin_step(step, options)
        losses = optimisation.step(step, options.iterations, interrupted)
        if losses is not None:
            seen = moved or (step - 1) % options.preview_every == 0
            if seen and optimisation.pixels is not None:
                images = to_uint8(optimisation.pixels)
                run.film.add(images)
                yield Preview(step, images, seeds)
            run.note(step, losses)
            yield Progress(step, options.iterations, context.elapsed_s(),
                           run.notice or optimisation.notice, losses)
        run.save(optimisation.steps, state.state)
        # Whoever ends it meanwhile may want it paused, which the next save does.
        if context.cancelled() and not run.pausing(optimisation.steps):
            return

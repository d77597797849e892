"""What a request asks for, made ready for its first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pipelines.core.aspect import parse_aspect, sides_px
from pipelines.core.images import fit
from pipelines.core.request import CheckedRequest
from pipelines.core.sentences import Sentence, several
from pipelines.vqgan_clip.descent import Descent, parse_drops
from pipelines.vqgan_clip.drawers import make_drawer
from pipelines.vqgan_clip.guides import Guide
from pipelines.vqgan_clip.optimise import Optimisation
from pipelines.vqgan_clip.options import VQGANCLIPOptions
from pipelines.vqgan_clip.pictures import Mask, free_places, make_mask, parse_weights
from pipelines.vqgan_clip.presets import judges_alone
from pipelines.vqgan_clip.run_state import RunState
from pipelines.vqgan_clip.starts import start_parameters
from pipelines.vqgan_clip.story import Story
from pipelines.weighted_prompts import WeightedPrompt, parse_prompts, parse_story

NEGATIVE_WEIGHT = -0.5  # of a negative prompt beside a prompt of weight 1


def set_up(request: CheckedRequest[VQGANCLIPOptions], networks: Sequence[Any],
           seeds: Sequence[int], device: torch.device, make_room: Callable[[], int]) -> RunState:
    """A run before its first step.

    Args:
        request: what to draw.
        networks: the VQGAN where one draws, then the guides; see ``VQGANCLIPOptions``.
        seeds: one a candidate.
        device: where it is computed.
        make_room: see ``Optimisation``.

    Raises:
        InvalidRequest: the VQGAN cannot read a picture that is to be read.
    """
    options, given = request.options, request.init_pixels
    first = len(options.vqgans())
    drawer = make_drawer(options, networks[:first], device)
    shape_px = sides_px(options.size_px, parse_aspect(options.aspect), drawer.cell_px)
    image = None if given is None else fit(given, *shape_px)
    targets = [] if image is None else [(image, options.image_weight)]
    targets += zip(request.image_prompt_pixels, parse_weights(
        options.image_prompt_weights, len(request.image_prompts)), strict=True)
    mask = mask_of(request, shape_px, device)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    camera = options.camera()
    if camera.every:
        drawer.check_reads("move_every")
    story = Story([[Guide(clip, texts, targets) for clip in networks[first:]]
                   for texts in prompt_parts(request)], options.story_steps)
    start = start_parameters(drawer, options.init, image if options.from_image else None,
                             shape_px, generators, options.init_noise)
    descent = Descent(start, drawer, options.optimiser, options.step_size, options.schedule,
                      options.coarse, parse_drops(options.drops))
    optimisation = Optimisation(drawer, story.guides, descent, generators, options.cutouts(),
                                options.terms(), options.precision, make_room,
                                options.cutouts_at_once, mask)
    said = []
    if judges_alone(options.guides()):
        said.append(Sentence("This guide was made to judge finished pictures, and leads to hardly "
                             "any that can be recognised: the embedded guide or a public CLIP do."))
    if mask is not None and mask.resized:
        said.append(Sentence("The mask was resized to the init image’s size."))
    if said:
        optimisation.notice = several(said)
    return RunState(optimisation, story, camera)


def mask_of(request: CheckedRequest[VQGANCLIPOptions], shape_px: tuple[int, int],
            device: torch.device) -> Mask | None:
    """What of the init image is held in pictures of some height and width; None for nothing."""
    marked, given = request.mask_pixels, request.init_pixels
    if marked is None or given is None:
        return None
    return make_mask(free_places(marked, request.options.mask_marks), given, shape_px, device)


def prompt_parts(request: CheckedRequest[VQGANCLIPOptions],
                 ) -> tuple[tuple[WeightedPrompt, ...], ...]:
    """Of each part of the story the texts that pull, and those of the negative prompt, which push.

    Raises:
        InvalidRequest: one of both is malformed.
    """
    parts = parse_story(request.prompt)
    if not request.options.negative_prompt.strip():
        return parts
    pushing = tuple(WeightedPrompt(p.text, NEGATIVE_WEIGHT * p.weight)
                    for p in parse_prompts(request.options.negative_prompt))
    return tuple((*targets, *pushing) for targets in parts)

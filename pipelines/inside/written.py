"""What DALL·E wrote a picture by: its plan and the codes of its layers, written again or read.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.dalle import (
    TRANSFORMER,
    DalleOptions,
    DallePipeline,
    begin,
    planned,
    read_texts,
    write_block,
)
from pipelines.dalle_layers import SIZE_PX, check_parts, steps_of
from pipelines.inside.codes import psnr_db
from pipelines.inside.layers import draw_picture, vqgan_of
from pipelines.models.dalle import ImageTransformer
from pipelines.models.pixels import to_squares, to_uint8
from pipelines.registry import Registry
from pipelines.world.layouts import GRID
from pipelines.world.plans import Plan, Spot, to_tokens

# PSNR from which two pictures are the same: one that was made a JPEG, larger or smaller since has
# 39 and more, and the same seed by another prompt, with one thing of the least size, up to 27.
SAME_DB = 30.0
READ_PLAN = Plan("photo", "white", (Spot(0, 0, GRID, False),))  # one thing that is all there is


@dataclass(frozen=True)
class Written:
    """What a picture was written by, so that its codes can be written again.

    Attributes:
        prompt: as it was then.
        seed: of this picture alone.
        options: of the generator.
    """

    prompt: str
    seed: int
    options: DalleOptions


@dataclass(frozen=True, eq=False)
class Layers:
    """A picture as DALL·E writes it.

    Attributes:
        plan: (P,) int64, its tokens.
        codes: (L, G, G) int64, of its layers; see ``pipelines.inside.layers.stages_in``.
        picture: (256, 256, 3) uint8 RGB, they drawn and put together.
        reread: whether they were read of a picture; else they are those that it was written by.
        given: positions of the plan that an option set.
    """

    plan: np.ndarray
    codes: np.ndarray
    picture: np.ndarray
    reread: bool
    given: frozenset[int] = frozenset()


def written_by(facts: Mapping[str, Any]) -> Written | None:
    """What a picture's file says of how it was written; None where it was drawn by others.

    What no run could be asked for says nothing either.

    Args:
        facts: as ``pipelines.core.metadata.picture_metadata`` makes them, from anyone.
    """
    asked = {name: facts.get(name) for name in ("pipeline", "prompt", "seed", "options")}
    # A request takes digits for a seed, and none for a new one.
    if asked["pipeline"] != DallePipeline.name or not isinstance(asked["seed"], int):
        return None
    registry = Registry()
    registry.register(DallePipeline())
    try:
        request = registry.check(asked, kept=True)
    except InvalidRequest:
        return None
    if request.options.model != TRANSFORMER:
        return None
    return Written(request.prompt, request.seed, request.options)


def own_layers(image: np.ndarray, written: Written | None, model: ImageTransformer,
               cancelled: Callable[[], bool] = lambda: False) -> Layers:
    """Plan and codes that a picture was written by, or those that are read of it.

    Args:
        image: (H, W, 3) uint8 RGB, of any size.
        written: what the picture was written by, where that is known.
        model: the transformer, with what it reads texts and draws layers by.
        cancelled: polled while codes are written again.

    Raises:
        Cancelled: ``cancelled`` turned true.
        InvalidRequest: the VQGAN can only draw, and nothing else is known of the picture.
        WeightsError: the transformer lacks one of its parts.
    """
    check_parts(model, TRANSFORMER)
    if written is not None:
        again = write_again(written, model, cancelled)
        square = to_uint8(to_squares([image], SIZE_PX, "cpu") * 2 - 1)[0]
        # Other weights, or another file's facts, and it is another picture.
        if psnr_db(square, again.picture) >= SAME_DB:
            return again
    poll(cancelled)
    return read_layers(image, model)


@torch.no_grad()
def write_again(written: Written, model: ImageTransformer,
                cancelled: Callable[[], bool] = lambda: False) -> Layers:
    """Plan and codes as they were written.

    Raises:
        Cancelled: ``cancelled`` turned true.
    """
    options, given = written.options, planned(written.options)
    ids, states = read_texts(model, [written.prompt, options.negative_prompt])
    writing = begin(model, ids, states, [written.seed], options.guidance_scale != 1, given)
    for _ in range(steps_of(model, writing.plans)):
        poll(cancelled)
        write_block(model, writing, options)
    codes = model.to_grid(torch.stack(writing.blocks, 1))[0].cpu().numpy()
    plan = writing.plans[0].cpu().numpy()
    return Layers(plan, codes, draw_picture(plan, codes, model), False, frozenset(given))


@torch.no_grad()
def read_layers(image: np.ndarray, model: ImageTransformer) -> Layers:
    """A picture as one thing, opaque and as large as the picture, before a white ground.

    Args:
        image: (H, W, 3) uint8 RGB, of any size; squeezed into a square.
        model: whose VQGAN reads.

    Raises:
        InvalidRequest: its encoder is not there.
    """
    vqgan = vqgan_of(model)
    if not vqgan.config.encoder:
        raise InvalidRequest("This VQGAN can only draw: its file has no encoder.", field="model")
    weight = vqgan.post_quant_conv.weight
    pixels = to_squares([image], vqgan.config.resolution, weight.device)
    white = torch.ones_like(pixels)
    layers = torch.cat([torch.cat([white, pixels]), white[:, :1].repeat(2, 1, 1, 1)], 1)
    codes = vqgan.encode((layers * 2 - 1).to(weight.dtype)).cpu().numpy()
    plan = np.array(to_tokens(READ_PLAN)[:model.config.plan_length])
    return Layers(plan, codes, draw_picture(plan, codes, model), True)


def poll(cancelled: Callable[[], bool]) -> None:
    """Stop where that was asked for.

    Raises:
        Cancelled: ``cancelled`` says so.
    """
    if cancelled():
        raise Cancelled

"""Layers of a picture by DALL·E as pixels: each alone, those of some codes, and all together.

Source: Zhang and Agrawala, "Transparent Image Layer Diffusion using Latent Transparency" (2024).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from pipelines.dalle_layers import SIZE_PX, draw_written, plan_facts
from pipelines.models.dalle import ImageTransformer
from pipelines.models.pixels import to_uint8
from pipelines.models.vqgan import VQGAN
from pipelines.world.composition import composed
from pipelines.world.plans import LAYERS, slots_of, spots_of

CHECK_PX = 8
CHECKS = 0.94, 0.82  # greys of the chequered ground that shows what is transparent
UNWRITTEN = 0.18  # of the light of a ground that is left where codes are to be written


def vqgan_of(model: ImageTransformer) -> VQGAN:
    """What a transformer draws its layers with; see ``pipelines.dalle_layers.check_parts``."""
    return cast(VQGAN, model.vqgan)


def spots_in(plan: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Column, row and side in cells, and 1 where mirrored, of each thing of a plan (P,)."""
    spots = spots_of(torch.from_numpy(plan)[None])
    kept = spots.cells[spots.there].tolist()
    return [(column, row, side, flip) for column, row, side, flip in kept]


class Stage(NamedTuple):
    """What a layer shows: the ground (0) or a thing of the plan, from 1, and how far it is."""

    thing: int
    how: Literal["at once", "draft", "finished"]


def stages_in(plan: np.ndarray) -> list[Stage]:
    """What the layers of a picture with a plan (P,) show, in the order of writing."""
    slots = slots_of(torch.from_numpy(plan)[None])[0].tolist()
    drafted = {slot - LAYERS for slot in slots if slot >= LAYERS}
    return [Stage(slot % LAYERS, "finished" if slot >= LAYERS else
                  "draft" if slot in drafted else "at once") for slot in slots]


def facts_in(plan: np.ndarray) -> dict[str, Any]:
    """What a plan (P,) says, as plain values; see ``pipelines.dalle_layers.plan_facts``."""
    return plan_facts(torch.from_numpy(plan)[None])[0]


def draw_picture(plan: np.ndarray, codes: np.ndarray, model: ImageTransformer) -> np.ndarray:
    """A picture (256, 256, 3) uint8 RGB of its plan (P,) and the codes (L, G, G) of its layers."""
    device = model.start.device
    blocks = model.to_blocks(torch.from_numpy(codes).to(device)[None])
    plans = torch.from_numpy(plan).to(device)[None]
    return to_uint8(draw_written(model, vqgan_of(model), plans, list(blocks.unbind(1))))[0]


@torch.no_grad()
def draw_layers(codes: np.ndarray, vqgan: VQGAN) -> Tensor:
    """Layers (N, 4, S, S) float32 in [0, 1], premultiplied RGB and coverage, of codes (N, h, w).

    Numbers beyond the last code, as DALL·E's digits can spell them, stand for the last.
    """
    indices = torch.from_numpy(codes).to(vqgan.post_quant_conv.weight.device)
    drawn = vqgan.decode_indices(indices.clamp_max(vqgan.codes - 1)).float().cpu()
    return ((drawn + 1) / 2).clamp(0, 1)


def over_checks(layers: Tensor, is_ground: bool) -> np.ndarray:
    """Layers as one can look at them, before a chequered ground.

    Args:
        layers: (N, 4, h, w) as of ``draw_layers``.
        is_ground: whether they are of the ground, through which nothing is seen.

    Returns:
        (N, h, w, 3) uint8 RGB.
    """
    colours, coverage = layers[:, :3], layers[:, 3:]
    if not is_ground:
        rows, columns = (torch.arange(side) // CHECK_PX for side in layers.shape[-2:])
        dark = (rows[:, None] + columns[None]) % 2
        checks = CHECKS[0] + (CHECKS[1] - CHECKS[0]) * dark
        colours = torch.minimum(colours, coverage) + (1 - coverage) * checks
    return to_uint8(colours * 2 - 1)


def each_layer(codes: np.ndarray, vqgan: VQGAN) -> np.ndarray:
    """Layers (L, S, S, 3) uint8 RGB of their codes (L, G, G), each alone; see ``over_checks``."""
    layers = draw_layers(codes, vqgan)
    return np.concatenate([over_checks(layers[:1], True), over_checks(layers[1:], False)])


def draw_kept(plan: np.ndarray, codes: np.ndarray, kept: np.ndarray, model: ImageTransformer,
              ) -> np.ndarray:
    """What of a picture stays: of things nothing else is there, of the ground the rest is dark.

    Args:
        plan: (P,) int64.
        codes: (L, G, G) int64.
        kept: (L, G, G) bool, which of them stay.
        model: whose VQGAN draws.

    Returns:
        (256, 256, 3) uint8 RGB.
    """
    shown = [n for n, stage in enumerate(stages_in(plan)) if stage.how != "draft"]
    kept, layers = kept[shown], draw_layers(codes[shown], vqgan_of(model))
    scale = layers.shape[-1] // kept.shape[-1]
    stays = torch.from_numpy(kept.repeat(scale, 1).repeat(scale, 2)[:, None]).float()
    dimmed = layers[0] * (UNWRITTEN + (1 - UNWRITTEN) * stays[0])
    spots = torch.tensor(spots_in(plan)).view(-1, 4)
    drawn = composed(dimmed, list(layers[1:] * stays[1:]), spots, SIZE_PX)
    return to_uint8(drawn[None] * 2 - 1)[0]

"""Layers put together: the ground, and before it each thing where the plan has it.

Source: Porter and Duff, "Compositing Digital Images" (1984), section 4 ("over", premultiplied).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.world.layouts import GRID


def composed(ground: Tensor, things: Sequence[Tensor], spots: Tensor, size_px: int) -> Tensor:
    """One picture of its layers.

    What is larger stands behind; of equals the first.

    Args:
        ground: (3 or 4, h, w) in [0, 1]; what it would let through is white.
        things: N layers (4, h, w) in [0, 1], premultiplied RGB and coverage.
        spots: (N, 4) int64: column, row and side in cells of a sixteenth, and 1 where mirrored;
            as ``pipelines.world.plans.spots_of`` gives them.
        size_px: side of the picture.

    Returns:
        (3, size_px, size_px) in [0, 1].
    """
    canvas = _sized(ground[:3], size_px)
    cell = size_px / GRID
    for number in sorted(range(len(things)), key=lambda n: -int(spots[n, 2])):
        column, row, side, flip = spots[number].tolist()
        left, top = round(column * cell), round(row * cell)
        right, bottom = round((column + side) * cell), round((row + side) * cell)
        layer = things[number].flip(-1) if flip else things[number]
        layer = _sized(layer, right - left)
        room = canvas[:, top:bottom, left:right]
        layer = layer[:, : room.shape[1], : room.shape[2]]
        colours = torch.minimum(layer[:3], layer[3:])
        canvas[:, top:bottom, left:right] = colours + (1 - layer[3:]) * room
    return canvas.clamp(0, 1)


def _sized(layer: Tensor, side: int) -> Tensor:
    if layer.shape[-1] == side:
        return layer.clone()
    return F.interpolate(layer[None], (side, side), mode="bilinear", align_corners=False,
                         antialias=True)[0]

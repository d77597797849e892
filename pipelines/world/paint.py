"""Colour words on sprites: what of a sprite they paint, and how."""

from __future__ import annotations

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
_BINS = 36
_HUE_WIDTH = 35 / 180 * torch.pi
# Panes of vehicles and houses: a pale blue between these angles.
_GLASS_HUES = (182 / 180 * torch.pi, 232 / 180 * torch.pi)
_GLASS_WEIGHT = 0.15


def recolouring_masks(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """What of each sprite takes a colour word, found by the hue that covers most of it.

    "A blue car" has blue paint and keeps its dark wheels and pale windows. The mask takes the
    saturated pixels within 35 degrees of the sprite's dominant hue. Where those are under a third
    of the sprite (white, black and grey things) everything but the darkest lines is painted. Glass
    counts little for the dominant hue, since the windows of a bus may cover more than its paint,
    and is painted only where it is the thing itself.

    Args:
        tiles: (N, 4, H, W) uint8, premultiplied RGBA.

    Returns:
        Masks (N, 1, H, W) uint8 in [0, 255] and mean luminances (N,) float in [0, 1].
    """
    masks, means = [], []
    for part in tiles.split(32):
        pixels = part.float() / 255
        alpha = pixels[:, 3]
        rgb = pixels[:, :3] / alpha[:, None].clamp_min(1e-3)
        value, lowest = rgb.amax(1), rgb.amin(1)
        chroma = value - lowest
        saturation = chroma / value.clamp_min(1e-3)
        red, green, blue = rgb.unbind(1)
        angle = torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue) % (2 * torch.pi)
        glass = ((angle > _GLASS_HUES[0]) & (angle < _GLASS_HUES[1]) & (value > 0.55)
                 & (saturation > 0.08) & (saturation < 0.75))
        weight = alpha * (saturation > 0.2) * (value > 0.2) * chroma.sqrt()
        weight = weight * torch.where(glass, _GLASS_WEIGHT, 1.0)
        bins = (angle / (2 * torch.pi) * _BINS).long().clamp(0, _BINS - 1)
        histogram = torch.zeros(len(part), _BINS)
        histogram.scatter_add_(1, bins.flatten(1), weight.flatten(1))
        smooth = histogram + 0.7 * (histogram.roll(1, 1) + histogram.roll(-1, 1))
        centre = (smooth.argmax(1).float() + 0.5) / _BINS * 2 * torch.pi
        distance = (
            torch.remainder(angle - centre[:, None, None] + torch.pi, 2 * torch.pi) - torch.pi
        )
        near = ((_HUE_WIDTH * 1.3 - distance.abs()) / 0.15).clamp(0, 1)
        hue_mask = (
            near * ((saturation - 0.12) / 0.15).clamp(0, 1) * ((value - 0.12) / 0.1).clamp(0, 1)
        )
        share = (hue_mask * alpha).sum((1, 2)) / alpha.sum((1, 2)).clamp_min(1)
        is_glass = (centre > _GLASS_HUES[0]) & (centre < _GLASS_HUES[1])
        pane = glass.float()
        # A thing that is mostly pale blue is no pane for all that.
        mostly = (pane * alpha).sum((1, 2)) / alpha.sum((1, 2)).clamp_min(1) > 0.5
        body_mask = ((value - 0.22) / 0.12).clamp(0, 1) * (1 - pane * (~mostly)[:, None, None])
        few = (share < 0.33)[:, None, None]
        mask = torch.where(few, body_mask, hue_mask * (1 - pane * (~is_glass)[:, None, None]))
        luminance = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
        weight = mask * alpha
        means.append((luminance * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1))
        masks.append((mask * 255).round().byte()[:, None])
    return torch.cat(masks), torch.cat(means)


def painted(sprites: Tensor, mask: Tensor, paint: Tensor, mean_luminance: Tensor) -> Tensor:
    """Replace the hue under the mask by the paint, keeping the shading of the art.

    Args:
        sprites: (N, 4, H, W) float in [0, 1], premultiplied RGBA.
        mask: (N, 1, H, W) float in [0, 1].
        paint: (N, 3) float in [0, 1].
        mean_luminance: (N,) of the sprites under the mask.

    Returns:
        Sprites of the same kind.
    """
    alpha = sprites[:, 3:]
    rgb = sprites[:, :3] / alpha.clamp_min(1e-3)
    luminance = (rgb * rgb.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    ratio = luminance / mean_luminance.view(-1, 1, 1, 1).clamp_min(0.05)
    paint = paint[:, :, None, None]
    dark = paint * (0.25 + 0.75 * ratio.clamp(0, 1))
    light = paint + (1 - paint) * 0.45 * (ratio - 1).clamp(0, 1)
    colour = torch.where(ratio < 1, dark, light)
    return torch.cat([(rgb * (1 - mask) + colour * mask).clamp(0, 1) * alpha, alpha], dim=1)

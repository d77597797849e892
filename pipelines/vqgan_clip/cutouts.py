"""Cutouts: what CLIP sees of a picture under optimisation, all at once and differentiable.

Source: Crowson et al., "VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language
Guidance" (2022), section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Augmentations = Literal["none", "light", "strong"]
COLUMNS = 11  # random numbers a cutout


@dataclass(frozen=True)
class Strength:
    """How far augmentations go: greatest angle in degrees, the others in shares."""

    angle: float
    perspective: float
    brightness: float
    contrast: float
    saturation: float


STRENGTHS = {
    "none": Strength(0, 0, 0, 0, 0),
    "light": Strength(4, 0.03, 0.05, 0.1, 0.1),
    "strong": Strength(15, 0.12, 0.15, 0.3, 0.3),
}


@dataclass(frozen=True)
class Cutouts:
    """How cutouts are made.

    Attributes:
        num_cutouts: cutouts of each picture; the first is the whole picture, untouched.
        cut_power: sizes are ``uniform ** cut_power`` between the smallest and the whole.
        smallest: side of the smallest, as a share of the picture's shorter one.
        whole: share of cutouts that show the whole picture, squeezed where it is no square, as
            the ranker sees it.
        augmentations: turns, perspective and colours.
        flip: mirror half of them.
        noise: largest standard deviation of the noise added, for pixels in [0, 1].
    """

    num_cutouts: int = 16
    cut_power: float = 1.0
    smallest: float = 0.5
    whole: float = 0.25
    augmentations: Augmentations = "light"
    flip: bool = False
    noise: float = 0.05


@dataclass(frozen=True)
class CutoutNumbers:
    """Random numbers of one step for B cutouts.

    Attributes:
        uniform: (B, COLUMNS) in [0, 1).
        normal: (B, 3, side, side) standard normal, None without noise.
    """

    uniform: Tensor
    normal: Tensor | None

    def some(self, count: int, first: int, last: int) -> CutoutNumbers:
        """Those of the cutouts first..last-1 of each picture.

        Args:
            count: cutouts that these numbers have for each picture.
        """
        def of(each: Tensor) -> Tensor:
            return each.unflatten(0, (-1, count))[:, first:last].flatten(0, 1)

        if last - first == count:
            return self
        return CutoutNumbers(of(self.uniform), None if self.normal is None else of(self.normal))


def draw_numbers(generators: Sequence[torch.Generator], cutouts: Cutouts, side_px: int,
                 ) -> CutoutNumbers:
    """Random numbers of the cutouts of N pictures, each from the picture's own CPU generator."""
    uniform, normal = [], []
    for generator in generators:
        uniform.append(torch.rand(cutouts.num_cutouts, COLUMNS, generator=generator))
        if cutouts.noise > 0:
            normal.append(torch.randn(cutouts.num_cutouts, 3, side_px, side_px,
                                      generator=generator))
    return CutoutNumbers(torch.cat(uniform), torch.cat(normal) if normal else None)


def make_cutouts(pixels: Tensor, numbers: CutoutNumbers, cutouts: Cutouts, side_px: int,
                 first: int = 0) -> Tensor:
    """Cut pictures in one differentiable pass.

    Args:
        pixels: (N, 3, H, W) in [0, 1].
        numbers: of N · K cutouts, K ≤ num_cutouts.
        cutouts: how.
        side_px: side of the cutouts.
        first: which of each picture's cutouts the first of these K is.

    Returns:
        (N · K, 3, side_px, side_px), those of one picture together; noise and colours may lead a
        little out of [0, 1].
    """
    uniform = numbers.uniform.to(pixels.device)
    places = first + torch.arange(len(uniform)) % (len(uniform) // len(pixels))
    untouched = (places == 0).to(pixels.device)
    sizes = _sizes(uniform[:, 0], places.to(pixels.device), cutouts, pixels.shape[-2:])
    matrices = _homographies(uniform, sizes, untouched, cutouts)
    levels = _levels(numbers.uniform, places, cutouts, pixels.shape[-2:], side_px)
    cut = _sample(pixels, matrices, levels, side_px)
    cut = _recolour(cut, uniform, untouched, STRENGTHS[cutouts.augmentations])
    if numbers.normal is not None:
        scale = uniform[:, 10] * cutouts.noise * ~untouched
        cut = torch.addcmul(cut, scale.view(-1, 1, 1, 1), numbers.normal.to(pixels.device))
    return cut


def _sizes(uniform: Tensor, places: Tensor, cutouts: Cutouts, shape: Sequence[int]) -> Tensor:
    """Width and height of each cutout as shares of the picture's, (B, 2).

    Args:
        uniform: (B,) in [0, 1).
        places: (B,) of each among its picture's cutouts.
        shape: height and width of the pictures in px.
    """
    sizes = cutouts.smallest + (1 - cutouts.smallest) * uniform**cutouts.cut_power
    whole = places < max(1, round(cutouts.whole * cutouts.num_cutouts))
    height, width = shape
    square = uniform.new_tensor([min(shape) / width, min(shape) / height])
    return (sizes[:, None] * square).masked_fill(whole[:, None], 1.0)


def _homographies(uniform: Tensor, sizes: Tensor, untouched: Tensor, cutouts: Cutouts) -> Tensor:
    """Maps (B, 3, 3) from places in a cutout to places in the picture, both in [-1, 1]."""
    strength = STRENGTHS[cutouts.augmentations]
    signed = (2 * uniform - 1) * ~untouched[:, None]
    angle = signed[:, 3] * math.radians(strength.angle)
    mirror = torch.where((uniform[:, 6] < 0.5) & ~untouched, -1.0, 1.0) if cutouts.flip else 1.0
    (cos_x, cos_y), (sin_x, sin_y) = ((sizes * turn[:, None]).unbind(1)
                                      for turn in (angle.cos(), angle.sin()))
    shift = signed[:, 1:3] * (1 - sizes)
    tilt = signed[:, 4:6] * strength.perspective
    rows = [cos_x * mirror, -sin_x, shift[:, 0], sin_y * mirror, cos_y, shift[:, 1],
            tilt[:, 0], tilt[:, 1], torch.ones_like(cos_x)]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def _levels(uniform: Tensor, places: Tensor, cutouts: Cutouts, shape: Sequence[int], side_px: int,
            ) -> list[int]:
    """How often to halve the picture before each cutout is read from it, against aliasing.

    Args:
        uniform: on the CPU, so that no device is waited for.
        places: as of ``_sizes``, on the CPU.
        shape: height and width of the pictures in px.
        side_px: of the cutouts.
    """
    height, width = shape
    sides = _sizes(uniform[:, 0], places, cutouts, shape) * uniform.new_tensor([width, height])
    ratios = (sides.amax(1) / side_px).clamp_min(1).tolist()
    return [math.floor(math.log2(ratio) + 0.25) for ratio in ratios]


def _sample(pixels: Tensor, matrices: Tensor, levels: Sequence[int], side_px: int) -> Tensor:
    """Read cutouts (B, 3, side_px, side_px) off pictures (N, 3, H, W)."""
    axis = (torch.arange(side_px, device=pixels.device) * 2 + 1) / side_px - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(1, -1, 3)
    mapped = places @ matrices.transpose(1, 2)
    grid = (mapped[..., :2] / mapped[..., 2:]).view(-1, side_px, side_px, 2)
    each = len(matrices) // len(pixels)
    parts, order = [], []
    for level in range(max(levels) + 1):
        if level:
            pixels = F.avg_pool2d(pixels, 2)
        for picture in range(len(pixels)):
            first = picture * each
            chosen = [first + i for i in range(each) if levels[first + i] == level]
            if chosen:
                parts.append(_read(pixels[picture], grid[chosen].to(pixels.dtype)))
                order += chosen
    if len(parts) == 1:
        return parts[0]
    back = torch.tensor(order, device=pixels.device).argsort()
    return torch.cat(parts)[back]


def _read(picture: Tensor, grid: Tensor) -> Tensor:
    """Cutouts (K, 3, side, side) of one picture (3, H, W) at places (K, side, side, 2).

    They are read as one high picture, so that neither it nor its gradient is copied K times.
    """
    count, side_px = grid.shape[:2]
    high = F.grid_sample(picture[None], grid.view(1, count * side_px, side_px, 2),
                         mode="bilinear", padding_mode="border", align_corners=False)
    return high[0].unflatten(1, (count, side_px)).transpose(0, 1)


def _recolour(cut: Tensor, uniform: Tensor, untouched: Tensor, strength: Strength) -> Tensor:
    """Change saturation, contrast and brightness of each cutout."""
    if not (strength.brightness or strength.contrast or strength.saturation):
        return cut
    signed = ((2 * uniform - 1) * ~untouched[:, None]).view(len(cut), -1, 1, 1, 1)
    saturation = 1 + signed[:, 9] * strength.saturation
    contrast = 1 + signed[:, 8] * strength.contrast
    grey = cut.mean(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    shift = mean * (1 - contrast) + signed[:, 7] * strength.brightness
    # (grey + (cut - grey) · saturation) · contrast + shift, in fewer passes.
    return torch.addcmul(torch.addcmul(shift, grey, (1 - saturation) * contrast), cut,
                         saturation * contrast)

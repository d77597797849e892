"""Where a picture under optimisation starts.

Source: Crowson et al., "VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language
Guidance" (2022), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipelines.models.pixels import from_uint8
from pipelines.vqgan_clip.drawer import Drawer

Init = Literal["plain", "noise", "pixels", "gradient"]
LEAST_LIGHT = 0.75  # of a plain field's channels, in [0, 1]


@torch.no_grad()
def start_parameters(drawer: Drawer, init: Init, image: np.ndarray | None,
                     shape_px: tuple[int, int], generators: Sequence[torch.Generator],
                     init_noise: float = 0.0) -> Tensor:
    """Parameters to start from, one grid for each generator.

    Args:
        drawer: draws, and reads the pictures that are a start.
        init: "plain" for a light field of one colour, "noise" for random parameters, which are
            codes of a VQGAN, "pixels" for random pixels, "gradient" for two colours and what is
            between them; not used with an image.
        image: (*shape_px, 3) uint8 RGB.
        shape_px: height and width of the pictures.
        generators: one a candidate, on the CPU.
        init_noise: share of each pixel of the image that is random, in [0, 1].

    Returns:
        (N, C, height / cell_px, width / cell_px) float32.

    Raises:
        InvalidRequest: the drawer cannot read pictures, and the start is one.
    """
    if image is not None or init != "noise":
        drawer.check_reads("init" if image is None else "init_image")
    height, width = (side_px // drawer.cell_px for side_px in shape_px)
    found = []
    for generator in generators:  # one by one, so that no candidate depends on the others
        if image is None and init == "noise":
            found.append(drawer.random(height, width, generator))
            continue
        pixels = (_noisy(from_uint8(image[None]), init_noise, generator) if image is not None
                  else PICTURES[init](shape_px, generator))
        found.append(drawer.parameters(pixels))
    return torch.cat(found)


def _plain(shape_px: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A field (1, 3, H, W) in [-1, 1] of one colour.

    It is light, as most of the world's pictures are; each candidate has a tint of its own.
    """
    light = 1 - (1 - LEAST_LIGHT) * torch.rand(1, 3, 1, 1, generator=generator)
    return (light * 2 - 1).expand(1, 3, *shape_px)


def _random_pixels(shape_px: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Noise (1, 3, H, W) in [-1, 1], each channel of each pixel by itself."""
    return torch.rand(1, 3, *shape_px, generator=generator) * 2 - 1


def _gradient(shape_px: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A picture (1, 3, H, W) in [-1, 1] that goes from one colour to another in some direction."""
    colours = torch.rand(2, 3, 1, 1, generator=generator) * 2 - 1
    angle = 2 * math.pi * float(torch.rand((), generator=generator))
    height, width = (torch.linspace(-1, 1, side_px) for side_px in shape_px)
    along = height[:, None] * math.sin(angle) + width * math.cos(angle)
    share = (along / (abs(math.sin(angle)) + abs(math.cos(angle))) + 1) / 2
    return colours[:1] * (1 - share) + colours[1:] * share


def _noisy(pixels: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """A picture in [-1, 1] mixed with noise; without any, no number is drawn."""
    if not amount:
        return pixels
    height, width = pixels.shape[-2:]
    noise = _random_pixels((height, width), generator)
    return pixels * (1 - amount) + noise * amount


PICTURES: dict[Init, Callable[[tuple[int, int], torch.Generator], Tensor]] = {
    "plain": _plain, "pixels": _random_pixels, "gradient": _gradient}

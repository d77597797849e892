"""Degraded and meaningless pictures, so that CLIP scores mean something away from clean renders.

A guide that has only seen clean renders is fooled by textures: it must have seen blur, noise and
crops under their captions, and noise and scrambled codes under none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _affine(pictures: Tensor, generator: torch.Generator, zoom: float, shift: float) -> Tensor:
    count = len(pictures)
    device = generator.device
    scale = 1 + zoom * (2 * torch.rand(count, generator=generator, device=device) - 1)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = shift * (2 * torch.rand(count, 2, generator=generator, device=device) - 1)
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def shifted(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (B, 3, H, W) moved and zoomed a little; differentiable."""
    return _affine(pictures, generator, 0.12, 0.08)


def jittered(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (B, 3, H, W) moved and zoomed by a few pixels."""
    return _affine(pictures, generator, 0.06, 0.04)


def degrade(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Shift, zoom, blur, tint and add noise, mildly enough that captions stay true.

    Args:
        pictures: (B, 3, H, W) float in [0, 1].
        generator: source of randomness.

    Returns:
        The same shape and range.
    """
    pictures, device = shifted(pictures, generator), generator.device
    chosen = torch.rand(len(pictures), 4, generator=generator, device=device)
    size = pictures.shape[-1]
    small = F.interpolate(pictures, (size // 2, size // 2), mode="area")
    soft = F.interpolate(small, (size, size), mode="bilinear", align_corners=False)
    pictures = torch.where((chosen[:, 0] < 0.3)[:, None, None, None], soft, pictures)
    sigma = (
        0.15
        * torch.rand(len(pictures), 1, 1, 1, generator=generator, device=device)
        * (chosen[:, 1] < 0.5)[:, None, None, None]
    )
    pictures = pictures + sigma * torch.randn(pictures.shape, generator=generator, device=device)
    coarse = torch.randn(len(pictures), 3, 16, 16, generator=generator, device=device)
    blotches = F.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)
    pictures = pictures + 0.08 * blotches * (chosen[:, 2] < 0.3)[:, None, None, None]
    tint = 1 + 0.12 * torch.randn(len(pictures), 3, 1, 1, generator=generator, device=device)
    pictures = torch.where((chosen[:, 3] < 0.2)[:, None, None, None], pictures * tint, pictures)
    return pictures.clamp(0, 1)


def meaningless(count: int, size_px: int, generator: torch.Generator) -> Tensor:
    """Pictures of nothing: noise smoothed at a random scale, with random contrast and tint."""
    pictures, device = [], generator.device
    for _ in range(count):
        cells = int(2 ** torch.randint(1, 8, (1,), generator=generator, device=device))
        coarse = torch.randn(1, 3, cells, cells, generator=generator, device=device)
        noise = F.interpolate(coarse, (size_px, size_px), mode="bilinear", align_corners=False)
        contrast = 0.05 + 0.4 * torch.rand(1, generator=generator, device=device)
        base = torch.rand(1, 3, 1, 1, generator=generator, device=device)
        pictures.append((base + contrast * noise).clamp(0, 1))
    return torch.cat(pictures)


def scrambled(pictures: Tensor, generator: torch.Generator, patch_px: int = 16) -> Tensor:
    """Each picture's patches in random order: right colours and textures, no object."""
    count, _, height, width = pictures.shape
    patches = F.unfold(pictures, patch_px, stride=patch_px)
    keys = torch.rand(count, patches.shape[-1], generator=generator, device=generator.device)
    order = torch.argsort(keys, dim=1)
    patches = patches.gather(2, order[:, None].expand_as(patches))
    return F.fold(patches, (height, width), patch_px, stride=patch_px)

"""Degraded and meaningless pictures, so that CLIP scores mean something away from clean renders.

A guide that has only seen clean renders is fooled by textures: it must have seen blur, noise and
crops under their captions, and noise and scrambled codes under none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LOST_PX = 9  # side of what ``lose_identity`` leaves of a picture
EDGE_PX = 5  # half the width of the seam round what ``blobbed`` smears
Box = tuple[float, float, float, float]


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


def soften(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Blur one half of the pictures (B, 3, S, S) in [0, 1] mildly and add noise to the other."""
    count, size, device = len(pictures), pictures.shape[-1], generator.device
    small = F.interpolate(pictures, (size * 5 // 8, size * 5 // 8), mode="area")
    blurred = F.interpolate(small, (size, size), mode="bilinear", align_corners=False)
    sigma = 0.08 * torch.rand(count, 1, 1, 1, generator=generator, device=device)
    noisy = pictures + sigma * torch.randn(pictures.shape, generator=generator, device=device)
    blur = torch.rand(count, 1, 1, 1, generator=generator, device=device) < 0.5
    return torch.where(blur, blurred, noisy).clamp(0, 1)


def smeared(pictures: Tensor, generator: torch.Generator,
            pull: tuple[float, float] = (0.25, 0.7)) -> Tensor:
    """Blobs in a picture's colours, as a generator draws that has not learnt the thing.

    Everything is pulled about, differently every few pixels, and then softened, so that colours and
    places stay and no shape does.

    Args:
        pictures: (B, 3, S, S) float in [0, 1].
        generator: source of randomness.
        pull: least and most of how far, as a standard deviation in halves of the side.

    Returns:
        The same shape and range.
    """
    count, size, device = len(pictures), pictures.shape[-1], generator.device
    cells = 5 + int(torch.randint(0, 7, (1,), generator=generator, device=device))
    low, high = pull
    far = low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator, device=device)
    field = far * torch.randn(count, 2, cells, cells, generator=generator, device=device)
    field = F.interpolate(field, (size, size), mode="bicubic", align_corners=False)
    still = torch.eye(2, 3, device=device).expand(count, 2, 3)
    grid = F.affine_grid(still, list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid + field.permute(0, 2, 3, 1), padding_mode="reflection",
                          align_corners=False)
    small = F.interpolate(moved, (size // 8, size // 8), mode="area")
    return F.interpolate(small, (size, size), mode="bicubic", align_corners=False).clamp(0, 1)


def lose_identity(pictures: Tensor) -> Tensor:
    """Blur pictures (B, 3, S, S) in [0, 1] until only blobs of colour are left."""
    size = pictures.shape[-1]
    small = F.interpolate(pictures, (LOST_PX, LOST_PX), mode="area")
    return F.interpolate(small, (size, size), mode="bicubic", align_corners=False).clamp(0, 1)


def half_drawn(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures as they stand early on: faint and soft under noise, their things not yet there.

    Args:
        pictures: (B, 3, S, S) float in [0, 1].
        generator: source of randomness.
    """
    count, size, device = len(pictures), pictures.shape[-1], generator.device
    faint = lose_identity(pictures)
    share = 0.2 + 0.5 * torch.rand(count, 1, 1, 1, generator=generator, device=device)
    ground = pictures.mean((2, 3), keepdim=True)
    cells = size // int(2 ** torch.randint(0, 5, (1,), generator=generator, device=device))
    noise = torch.randn(count, 3, cells, cells, generator=generator, device=device)
    noise = F.interpolate(noise, (size, size), mode="bilinear", align_corners=False)
    strength = 0.25 * torch.rand(count, 1, 1, 1, generator=generator, device=device)
    return (ground + share * (faint - ground) + strength * noise).clamp(0, 1)


def blobbed(pictures: Tensor, boxes: Sequence[Sequence[Box]], generator: torch.Generator) -> Tensor:
    """Pictures of which some things are smeared and the rest is as it was.

    Args:
        pictures: (B, 3, S, S) float in [0, 1].
        boxes: of each picture, those of the things to smear, (x0, y0, x1, y1) in [0, 1].
        generator: source of randomness.
    """
    size = pictures.shape[-1]
    at = (torch.arange(size, device=pictures.device) + 0.5) / size
    mask = torch.zeros(len(pictures), 1, size, size, device=pictures.device)
    for row, those in enumerate(boxes):
        for x0, y0, x1, y1 in those:
            mask[row, 0] += ((at > x0) & (at < x1))[None] & ((at > y0) & (at < y1))[:, None]
    soft = F.avg_pool2d(mask.clamp(max=1), 2 * EDGE_PX + 1, 1, EDGE_PX)
    return torch.lerp(pictures, smeared(pictures, generator, (0.1, 0.3)), soft)

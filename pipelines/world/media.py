"""Media of the world as image operations on whole pictures: watercolour, oil, pencil, and so on.

Every operation maps a float batch (B, 3, H, W) in [0, 1] to the same shape and range, scales its
kernels with H (defined at 256 px) and is deterministic, so that a medium has one look to learn.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)


def _blur(x: Tensor, sigma: float) -> Tensor:
    radius = max(1, round(2.5 * sigma))
    taps = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, -1).expand(x.shape[1], 1, -1)
    x = F.pad(x, (radius, radius, radius, radius), mode="replicate")
    x = F.conv2d(x, kernel[:, :, None, :], groups=x.shape[1])
    return F.conv2d(x, kernel[:, :, :, None], groups=x.shape[1])


def _gray(x: Tensor) -> Tensor:
    return (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _saturate(x: Tensor, amount: float) -> Tensor:
    gray = _gray(x)
    return (gray + (x - gray) * amount).clamp(0, 1)


@lru_cache(maxsize=8)
def _paper(size_px: int, cell_px: int) -> Tensor:
    # Fixed grain: a medium that never changes costs the models nothing to learn.
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(
        1, 1, max(2, size_px // cell_px), max(2, size_px // cell_px), generator=generator
    )
    return F.interpolate(coarse, (size_px, size_px), mode="bicubic", align_corners=False).clamp(
        0, 1
    )


def _kuwahara(x: Tensor, radius: int) -> Tensor:
    """Kuwahara filter: each pixel takes the mean of its calmest quadrant (Kuwahara et al. 1976)."""
    window = radius + 1
    moments = torch.cat([x, _gray(x) ** 2], dim=1)
    padded = F.pad(moments, (radius, radius, radius, radius), mode="replicate")
    means = F.avg_pool2d(padded, window, stride=1)
    height, width = x.shape[-2:]
    best = best_variance = None
    for dy in (0, radius):
        for dx in (0, radius):
            part = means[..., dy : dy + height, dx : dx + width]
            variance = part[:, 3:] - _gray(part[:, :3]) ** 2
            if best is None or best_variance is None:
                best, best_variance = part[:, :3], variance
            else:
                calmer = variance < best_variance
                best = torch.where(calmer, part[:, :3], best)
                best_variance = torch.minimum(variance, best_variance)
    assert best is not None
    return best


def _edges(x: Tensor) -> Tensor:
    dx = F.pad(x[..., 1:] - x[..., :-1], (0, 1))
    dy = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
    return (dx.abs() + dy.abs()).amax(1, keepdim=True)


def watercolour(x: Tensor) -> Tensor:
    """Pale washes with darker rims on rough white paper."""
    size = x.shape[-1]
    wash = _kuwahara(x, max(2, size // 64))
    rim = (wash - _blur(wash, size / 48)).clamp(-0.2, 0.2)
    paper = _paper(size, max(1, size // 32)).to(x)
    wash = 0.24 + 0.76 * wash + 0.7 * rim
    return (wash + (1 - wash) * 0.30 * paper).clamp(0, 1)


def oil(x: Tensor) -> Tensor:
    """Flat dabs of strong colour with a canvas weave."""
    size = x.shape[-1]
    dabs = _saturate(_kuwahara(_kuwahara(x, max(2, size // 51)), max(2, size // 64)), 1.35)
    weave = _paper(size, max(1, size // 64)).to(x)
    return (dabs * (0.82 + 0.26 * weave)).clamp(0, 1)


def pencil(x: Tensor) -> Tensor:
    """Grey graphite lines and light shading on paper."""
    size = x.shape[-1]
    gray = _gray(x)
    dodge = (gray / _blur(gray, size / 96).clamp_min(0.05)).clamp(0, 1) ** 3
    shade = 0.72 + 0.28 * _blur(gray, size / 128)
    return (dodge * shade).expand(-1, 3, -1, -1).clamp(0, 1)


def pixel(x: Tensor) -> Tensor:
    """A 32 by 32 sprite of few colours, blown up."""
    size = x.shape[-1]
    small = F.interpolate(x, (32, 32), mode="area")
    small = (_saturate(small, 1.15) * 7).round() / 7
    return F.interpolate(small, (size, size), mode="nearest")


def mosaic(x: Tensor) -> Tensor:
    """Square tiles of one colour each, with pale grout between them."""
    size = x.shape[-1]
    tiles = F.interpolate(F.interpolate(x, (32, 32), mode="area"), (size, size), mode="nearest")
    at = torch.arange(size, device=x.device) * 32 / size % 1
    inside = ((at >= 0.16) & (at < 0.99)).to(x)
    joint = inside[None, :] * inside[:, None]
    return tiles * joint + 0.86 * (1 - joint)


def neon(x: Tensor) -> Tensor:
    """Glowing outlines on a dark wall."""
    size = x.shape[-1]
    line = F.max_pool2d((_edges(_blur(x, size / 200)) * 5 * size / 256).clamp(0, 1), 3, 1, 1)
    hue = F.max_pool2d(_saturate(x, 2.0), 5, 1, 2)
    hue = hue / hue.amax(1, keepdim=True).clamp_min(0.2)
    tube = line * hue
    return (0.06 + tube + 0.9 * _blur(tube, size / 40) + 0.10 * x).clamp(0, 1)


def black_and_white(x: Tensor) -> Tensor:
    """A grey photograph with a little more contrast."""
    return ((_gray(x) - 0.5) * 1.15 + 0.5).clamp(0, 1).expand(-1, 3, -1, -1)


OPERATIONS = {
    "watercolour": watercolour,
    "oil": oil,
    "pencil": pencil,
    "pixel": pixel,
    "mosaic": mosaic,
    "neon": neon,
    "bw": black_and_white,
}


def apply_media(pictures: Tensor, media: list[str | None]) -> Tensor:
    """Apply to each picture the operation of its medium, grouped so that each runs once.

    Args:
        pictures: (B, 3, H, W) float in [0, 1].
        media: a medium's name or None for each picture; media that only choose an art style
            ("emoji", "sticker", "icon") leave the picture as it is.

    Returns:
        A new tensor of the same shape and range.
    """
    result = pictures.clone()
    for name, operation in OPERATIONS.items():
        rows = [i for i, medium in enumerate(media) if medium == name]
        if rows:
            result[rows] = operation(pictures[rows]).to(result.dtype)
    return result

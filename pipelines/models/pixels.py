"""Between the networks' pictures, (B, 3, H, W) float in [-1, 1], and those of events, uint8 RGB."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.batches import Batches

BATCH_SIZE = 16  # pictures that are enlarged or resized at once


def to_uint8(pixels: Tensor) -> np.ndarray:
    """Pictures (B, 3, H, W) in [-1, 1], clamped, as (B, H, W, 3) uint8 RGB on the CPU."""
    scaled = (pixels.detach().float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def from_uint8(images: np.ndarray, device: torch.device | str = "cpu",
               dtype: torch.dtype = torch.float32) -> Tensor:
    """Pictures (B, H, W, 3) uint8 RGB as (B, 3, H, W) in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).to(dtype)


@torch.no_grad()
def enlarge(pixels: Tensor, upscaler: nn.Module,
            make_room: Callable[[], int] = lambda: 0) -> np.ndarray:
    """Draw pictures larger.

    Args:
        pixels: (B, 3, H, W) in [-1, 1], clamped here.
        upscaler: maps such pictures to larger ones.
        make_room: takes idle models off a device that is full, and says how many bytes that freed.

    Returns:
        (B, factor · H, factor · W, 3) uint8 RGB.

    Raises:
        OutOfMemory: the device is full, even for half a batch.
    """
    pixels = pixels.clamp(-1, 1).to(next(upscaler.parameters()).dtype)
    return np.concatenate(Batches(BATCH_SIZE, make_room).run(
        lambda rows: to_uint8(upscaler(pixels[list(rows)])), range(len(pixels))))


def to_squares(images: Sequence[np.ndarray], side_px: int, device: torch.device | str) -> Tensor:
    """Pictures of any sizes as one batch for CLIP, squeezed into squares so that nothing is cut.

    Args:
        images: (H, W, 3) uint8 RGB each.

    Returns:
        (B, 3, side_px, side_px) float32 in [0, 1].
    """
    squares = []
    for image in images:
        pixels = from_uint8(image[None], device)
        if pixels.shape[-2:] != (side_px, side_px):
            pixels = F.interpolate(pixels, (side_px, side_px), mode="bicubic",
                                   align_corners=False, antialias=True)
        squares.append((pixels.clamp(-1, 1) + 1) / 2)
    return torch.cat(squares)

"""A small network that draws a VQGAN's pictures at twice their size.

Source: sub-pixel convolution, Shi et al., "Real-Time Single Image and Video Super-Resolution Using
an Efficient Sub-Pixel Convolutional Neural Network" (2016), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class UpscalerConfig:
    """Shape of the upscaler: feature channels, residual blocks and enlargement."""

    channels: int = 32
    blocks: int = 3
    factor: int = 2


class Upscaler(nn.Module):
    """Bilinear enlargement plus a learned residual, which restores edges."""

    def __init__(self, config: UpscalerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.inward = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _ in range(config.blocks)
        )
        self.outward = nn.Conv2d(width, 3 * config.factor**2, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to (B, 3, factor · H, factor · W), not clamped."""
        factor = self.config.factor
        x = self.inward(pixels)
        for block in self.blocks:
            x = x + block(x)
        plain = F.interpolate(pixels, scale_factor=factor, mode="bilinear", align_corners=False)
        return plain + F.pixel_shuffle(self.outward(x), factor)


def build(config: Mapping[str, Any]) -> Upscaler:
    """Build an untrained upscaler from the fields of ``UpscalerConfig``."""
    return Upscaler(UpscalerConfig(**config))


def config_dict(config: UpscalerConfig) -> dict[str, Any]:
    """The configuration as plain data for ``config.json``."""
    return asdict(config)

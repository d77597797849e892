"""What EfficientNet-Lite0 makes of a picture at three scales, for networks that look through it.

The classifier stays as it was trained on photographs. What the networks behind it read are three of
its stages, where a thing's parts, the thing, and what is round it show, and the mean colour of each
fine cell, which a classifier of photographs has little use for.

Source: Liu et al., "A ConvNet for the 2020s" (2022), section 2 (``CellBlock``).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.efficientnet import FIRST_STAGES, STAGES, EfficientNet

FINE, MIDDLE, COARSE = 2, 4, 6  # stages
FINE_STRIDE, MIDDLE_STRIDE, COARSE_STRIDE = 8, 16, 32  # px
FINE_CHANNELS = STAGES[FINE][-1] + 3
MIDDLE_CHANNELS, COARSE_CHANNELS = STAGES[MIDDLE][-1], STAGES[COARSE][-1]


class FeatureMaps(NamedTuple):
    """Maps of a batch of square pictures of S px, channels last.

    Attributes:
        fine: (B, S / 8, S / 8, 43), of which the last three are the mean colour in [-1, 1].
        middle: (B, S / 16, S / 16, 112).
        coarse: (B, S / 32, S / 32, 320).
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor


def feature_maps(image: EfficientNet, pixels: Tensor, begun: Tensor | None = None) -> FeatureMaps:
    """Look at pictures; differentiable in them.

    Args:
        image: the classifier.
        pixels: (B, 3, S, S) float in [0, 1]; S is a multiple of 32.
        begun: what ``image.begin`` makes of them, where that is known.
    """
    maps = image.go_on(image.begin(pixels) if begun is None else begun)
    fine, middle, coarse = (maps[stage - FIRST_STAGES] for stage in (FINE, MIDDLE, COARSE))
    colour = F.avg_pool2d(2 * pixels - 1, FINE_STRIDE).to(fine.dtype)
    fine = torch.cat([fine, colour], 1)
    return FeatureMaps(*(x.permute(0, 2, 3, 1) for x in (fine, middle, coarse)))


class Gather(nn.Module):
    """Three maps to one of a cell for each 16 px, by a matrix each.

    Args:
        width: channels of the cells.

    Attributes:
        mean, scale: of each channel of the maps, by which they are brought to one size; as measured
            on scenes before the training (``measure``).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = FINE_CHANNELS + MIDDLE_CHANNELS + COARSE_CHANNELS
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.fine = nn.Linear(4 * FINE_CHANNELS, width, bias=False)
        self.middle = nn.Linear(MIDDLE_CHANNELS, width)
        self.coarse = nn.Linear(COARSE_CHANNELS, width, bias=False)

    @torch.no_grad()
    def measure(self, maps: FeatureMaps) -> None:
        """Set mean and scale by the maps of a sample of pictures."""
        flat = [x.float().flatten(0, 2) for x in maps]
        self.mean.copy_(torch.cat([x.mean(0) for x in flat]))
        self.scale.copy_(1 / torch.cat([x.std(0) for x in flat]).clamp_min(1e-3))

    def forward(self, maps: FeatureMaps) -> Tensor:
        """(B, S / 16, S / 16, width)."""
        sizes = [FINE_CHANNELS, MIDDLE_CHANNELS, COARSE_CHANNELS]
        fine, middle, coarse = (
            ((x.float() - mean) * scale).to(self.fine.weight.dtype) for x, mean, scale in
            zip(maps, self.mean.split(sizes), self.scale.split(sizes), strict=True))
        count, height, width, channels = fine.shape
        # Two by two fine cells stand in one.
        fine = fine.view(count, height // 2, 2, width // 2, 2, channels).transpose(2, 3)
        coarse = self.coarse(coarse).repeat_interleave(2, 1).repeat_interleave(2, 2)
        return self.fine(fine.flatten(3)) + self.middle(middle) + coarse


class CellBlock(nn.Module):
    """A filter of 5 × 5 cells for each channel, a matrix up and one down, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.filter = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Cells (B, H, W, width) to the same."""
        y = self.filter(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.down(F.gelu(self.up(self.norm(y))))

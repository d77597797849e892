"""What VQGAN+CLIP draws with: how a picture comes of the numbers that its optimiser moves.

A VQGAN is one way. The others have learned nothing (``pixel_drawer``, ``fourier_drawer``), so that
beside them a picture shows what the VQGAN's knowledge of pictures, its prior, is for.

Source: the drawers of pixray; Olah et al., "Feature Visualization" (2017), on what difference it
makes by which numbers a picture is described.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.core.errors import InvalidRequest

DrawerName = Literal["vqgan", "pixel", "fourier"]


class Drawer(ABC):
    """Draws pictures from parameters, a grid of numbers for each, and finds those of a picture.

    Attributes:
        cell_px: side of the square of a picture that one place of the grid stands for; sides of
            pictures are multiples of it.
        low, high: (1, C, 1, 1) float32, bounds of the parameters, channel by channel.
        dtype: that it computes in.
        reads: whether it finds the parameters of pictures.
    """

    cell_px: int
    low: Tensor
    high: Tensor
    dtype: torch.dtype = torch.float32
    reads: bool = True

    @abstractmethod
    def draw(self, parameters: Tensor) -> Tensor:
        """Draw, differentiably.

        Args:
            parameters: (n, C, h, w) float32.

        Returns:
            Pictures (n, 3, h · cell_px, w · cell_px) float32 in [-1, 1]; none depends on another.
        """

    @abstractmethod
    def parameters(self, pixels: Tensor) -> Tensor:
        """Those (n, C, h, w) float32 of pictures (n, 3, H, W) in [-1, 1], as near as can be."""

    @abstractmethod
    def random(self, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Random parameters (1, C, height, width), by a generator on the CPU."""

    def resized(self, grid: Tensor, height: int, width: int) -> Tensor:
        """A grid (n, C, h, w) with other sides: smooth in between, or averaged."""
        if grid.shape[-2:] == (height, width):
            return grid
        if height < grid.shape[-2]:
            return F.adaptive_avg_pool2d(grid, (height, width))
        return F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)

    def check_reads(self, field: str) -> None:
        """Refuse one that cannot read pictures.

        Raises:
            InvalidRequest: it cannot.
        """
        if not self.reads:
            raise InvalidRequest("The VQGAN that is chosen can draw and not read pictures: start "
                                 "from noise, or choose another VQGAN.", field=field)


class ClampWithGradient(torch.autograd.Function):
    """Clamp; the gradient of what is outside passes where it leads back inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor, high: Tensor) -> Tensor:  # type: ignore[override]
        """``x`` between ``low`` and ``high``, which broadcast to it."""
        ctx.save_for_backward(x, low, high)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Zero where a step against the gradient would lead further out."""
        x, low, high = ctx.saved_tensors
        leads_in = gradient * (x - x.clamp(low, high)) >= 0
        return gradient * leads_in, None, None


def clamp_with_gradient(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """See ``ClampWithGradient``."""
    return ClampWithGradient.apply(x, low, high)  # type: ignore[no-any-return]


def clamped_pixels(pixels: Tensor) -> Tensor:
    """Pixels within [-1, 1], with ``clamp_with_gradient``."""
    return clamp_with_gradient(pixels, pixels.new_tensor(-1.0), pixels.new_tensor(1.0))

"""Drawing with Fourier coefficients: waves of every length, of which the long ones move first.

A picture that is continued by its mirror images has a Fourier series of cosines alone, so that
nothing wraps round its sides. Pixels that are moved one by one become noise that only the guide
likes; a wave moves all of them.

Source: Mordvintsev et al., "Differentiable Image Parameterizations" (2018), whose decay of
coefficients this is; Ahmed, Natarajan, Rao, "Discrete Cosine Transform" (1974).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.vqgan_clip.drawer import Drawer, clamped_pixels

REACH = 2.0  # bound of a coefficient; the edge between black and white has some of 1.3
SPREAD = 0.1  # standard deviation of random coefficients


class FourierDrawer(Drawer):
    """See ``Drawer``; the parameters are coefficients, longest waves first, before their decay.

    Args:
        decay: power of its frequency by which a coefficient counts less; 0 for not at all, which
            is as moving pixels.
        device: where it draws.
    """

    cell_px = 1

    def __init__(self, decay: float, device: torch.device) -> None:
        self._decay, self._device = decay, device
        self.high = torch.full((1, 3, 1, 1), REACH, device=device)
        self.low = -self.high

    def draw(self, parameters: Tensor) -> Tensor:
        """The sum of all waves."""
        height, width = parameters.shape[-2:]
        waves = parameters * self._scale(height, width)
        return clamped_pixels(self._cosines(height).t() @ waves @ self._cosines(width))

    def parameters(self, pixels: Tensor) -> Tensor:
        """The coefficients of pictures."""
        pixels = pixels.to(self._device, torch.float32)
        height, width = pixels.shape[-2:]
        waves = self._cosines(height) @ pixels @ self._cosines(width).t()
        return waves / self._scale(height, width)

    def random(self, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Waves of random heights, the long ones highest, as in photographs."""
        return (torch.randn(1, 3, height, width, generator=generator) * SPREAD).to(self._device)

    def resized(self, grid: Tensor, height: int, width: int) -> Tensor:
        """Without the shortest waves, or with more of them, which are still."""
        return F.pad(grid, (0, width - grid.shape[-1], 0, height - grid.shape[-2]))

    def _cosines(self, count: int) -> Tensor:
        """Orthonormal waves (count, count), one a row, the longest first."""
        places = (torch.arange(count, device=self._device) + 0.5) * (math.pi / count)
        waves = (torch.arange(count, device=self._device)[:, None] * places).cos()
        waves *= math.sqrt(2 / count)
        waves[0] *= math.sqrt(0.5)
        return waves

    def _scale(self, height: int, width: int) -> Tensor:
        """What coefficients (height, width) are multiplied by: one of 1 is seen in all sizes."""
        shorter = min(height, width)
        down, right = (torch.arange(count, device=self._device) * (shorter / count)
                       for count in (height, width))
        frequency = torch.hypot(down[:, None], right)
        return math.sqrt(height * width) / (1 + frequency) ** self._decay

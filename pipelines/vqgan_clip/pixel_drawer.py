"""Drawing pixel art: square pixels in a few colours, which every picture chooses for itself.

Source: pixray's pixel drawer; Heckbert, "Color Image Quantization for Frame Buffer Display"
(1982), whose median cut finds the palette.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pipelines.models.pixels import from_uint8, to_uint8
from pipelines.vqgan_clip.drawer import Drawer, clamped_pixels

REFINEMENTS = 2  # of a palette, by k-means


class PixelDrawer(Drawer):
    """See ``Drawer``; the parameters are the colours of the pixels before the palette.

    Args:
        pixel_px: side of a pixel of the art.
        colours: size of the palette.
        device: where it draws.
    """

    def __init__(self, pixel_px: int, colours: int, device: torch.device) -> None:
        self.cell_px, self._colours, self._device = pixel_px, colours, device
        self.high = torch.ones(1, 3, 1, 1, device=device)
        self.low = -self.high

    def draw(self, parameters: Tensor) -> Tensor:
        """Large pixels in the nearest colours of the palette, with a straight-through gradient."""
        colours = clamped_pixels(parameters)
        found = np.stack([self._reduced(image) for image in to_uint8(colours)])
        colours = colours + (from_uint8(found, self._device) - colours).detach()
        return F.interpolate(colours, scale_factor=self.cell_px, mode="nearest")

    def _reduced(self, image: np.ndarray) -> np.ndarray:
        """A picture (h, w, 3) uint8 RGB in the colours of its own palette."""
        reduced = Image.fromarray(image).quantize(
            self._colours, Image.Quantize.MEDIANCUT, REFINEMENTS, dither=Image.Dither.NONE)
        return np.asarray(reduced.convert("RGB"))

    def parameters(self, pixels: Tensor) -> Tensor:
        """The mean of what each pixel of the art covers."""
        return F.avg_pool2d(pixels.to(self._device, torch.float32), self.cell_px)

    def random(self, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Random colours."""
        return (torch.rand(1, 3, height, width, generator=generator) * 2 - 1).to(self._device)

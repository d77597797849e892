"""Drawing with a VQGAN: its latents are what is moved, its codes what is drawn.

Source: Crowson et al., "VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language
Guidance" (2022), section 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.precision import Precision, computing_in
from pipelines.models.vqgan import VQGAN
from pipelines.vqgan_clip.drawer import Drawer, clamped_pixels


class VQGANDrawer(Drawer):
    """See ``Drawer``.

    Args:
        vqgan: decodes; its codes bound the latents.
        quantize: decode the nearest codes.
        precision: number format; "auto" is bfloat16 where the device computes faster in it.
    """

    def __init__(self, vqgan: VQGAN, quantize: bool = True, precision: Precision = "auto") -> None:
        self.vqgan, self._quantize = vqgan, quantize
        self._precision: Precision = precision
        weight = vqgan.post_quant_conv.weight
        self._device, self.dtype = weight.device, weight.dtype
        self.cell_px, self.reads = vqgan.downsampling, vqgan.config.encoder
        codes = vqgan.codebook.float()
        self.low = codes.amin(dim=0).view(1, -1, 1, 1)
        self.high = codes.amax(dim=0).view(1, -1, 1, 1)

    def draw(self, parameters: Tensor) -> Tensor:
        """Decode latents."""
        if self._quantize:
            parameters = self.vqgan.quantize(parameters)[0]
        elif self.vqgan.config.l2_normalised:
            parameters = F.normalize(parameters, dim=1)
        with computing_in(self._device, self.dtype, self._precision):
            pixels = self.vqgan.decode(parameters.to(self.dtype)).float()
        return clamped_pixels(pixels)

    def parameters(self, pixels: Tensor) -> Tensor:
        """Encode pictures."""
        return self.vqgan.encode_latents(pixels.to(self._device, self.dtype)).float()

    def random(self, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Random codes."""
        shape = (1, height, width)
        indices = torch.randint(len(self.vqgan.codebook), shape, generator=generator)
        return self.vqgan.lookup(indices.to(self._device)).float()

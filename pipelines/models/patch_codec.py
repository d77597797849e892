"""An encoder and a decoder of pictures that a CPU can train: most of their work is on patches.

Taming's networks spend nine tenths of their time at full resolution. Here a picture of 256 px is
read by one overlapping convolution of 16 px every 8 px, and the rest of the encoder sees 32 × 32
places and then 16 × 16. The decoder goes back the same way, to 64 × 64 places of 4 px each, which
its last convolution writes at once (a sub-pixel convolution). Blocks are those of ConvNeXt: a
large filter for each channel and two matrix products, which cost a fifth of dense convolutions.

Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network" (2016), section 3; Liu et al., "A ConvNet for the 2020s" (2022),
section 2.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

STEM_PX, PATCH_PX, LAST_PX = 16, 8, 4
KERNEL = 5
EXPANSION = 3


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each place of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PatchBlock(nn.Module):
    """A residual block: a filter for each channel, then two products over the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, KERNEL, 1, KERNEL // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.up = nn.Linear(channels, EXPANSION * channels)
        self.down = nn.Linear(EXPANSION * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.down(F.silu(self.up(y))).permute(0, 3, 1, 2)


def _blocks(channels: int, number: int) -> nn.Sequential:
    return nn.Sequential(*(PatchBlock(channels) for _ in range(number)))


class PatchEncoder(nn.Module):
    """Pictures to a grid with a sixteenth of their side.

    Args:
        widths: channels of 64 × 64, 32 × 32 and 16 × 16 places (of 256 px); the first are the
            decoder's only.
        depths: blocks at the same places.
        z_channels: channels of the result.
    """

    def __init__(self, widths: tuple[int, int, int], depths: tuple[int, int, int],
                 z_channels: int) -> None:
        super().__init__()
        _, middle, coarse = widths
        self.conv_in = nn.Conv2d(3, middle, STEM_PX, PATCH_PX, (STEM_PX - PATCH_PX) // 2)
        self.middle = _blocks(middle, depths[1])
        self.down = nn.Sequential(ChannelNorm(middle), nn.Conv2d(middle, coarse, 2, 2))
        self.coarse = _blocks(coarse, depths[2])
        self.norm_out = ChannelNorm(coarse)
        self.conv_out = nn.Conv2d(coarse, z_channels, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, z_channels, H / 16, W / 16)."""
        x = self.coarse(self.down(self.middle(self.conv_in(pixels))))
        return self.conv_out(self.norm_out(x))


class PatchDecoder(nn.Module):
    """The way back; arguments as ``PatchEncoder``."""

    def __init__(self, widths: tuple[int, int, int], depths: tuple[int, int, int],
                 z_channels: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.conv_in = nn.Conv2d(z_channels, coarse, 1)
        self.coarse = _blocks(coarse, depths[2] + 1)
        self.up = nn.Conv2d(coarse, 4 * middle, 1)
        self.middle = _blocks(middle, depths[1] + 1)
        self.up_fine = nn.Conv2d(middle, 4 * fine, 1)
        self.fine = _blocks(fine, depths[0])
        self.norm_out = ChannelNorm(fine)
        self.conv_out = nn.Conv2d(fine, 3 * LAST_PX**2, 3, 1, 1)

    def forward(self, latents: Tensor) -> Tensor:
        """(B, z_channels, h, w) to (B, 3, 16 h, 16 w)."""
        x = self.coarse(self.conv_in(latents))
        x = self.middle(F.pixel_shuffle(self.up(x), 2))
        x = self.fine(F.pixel_shuffle(self.up_fine(x), 2))
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), LAST_PX)

"""An encoder and a decoder of pictures that a CPU can train: all their work is on patches.

Taming's networks spend nine tenths of their time at full resolution. Here a picture of 256 px is
folded into 64 × 64 patches of 4 px before its first convolution, and the rest of the encoder sees
32 × 32 places and then 16 × 16. The decoder goes back the same way and its last convolution writes
a patch of 4 px at each place (a sub-pixel convolution). Blocks are those of ConvNeXt, a filter for
each channel and two matrix products, with filters of 3 × 3: in bfloat16 and with channels last a
CPU has a kernel for these, and none for larger ones, which cost ten times as much.

What a code says depends on at most three codes around it, so that a thing has nearly the same
codes wherever on the grid it stands.

Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network" (2016), section 3; Liu et al., "A ConvNet for the 2020s" (2022),
section 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH_PX = 4
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
        self.depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(channels, EXPANSION * channels), nn.SiLU(),
                                 nn.Linear(EXPANSION * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.mlp(y).permute(0, 3, 1, 2)


def _blocks(channels: int, number: int) -> nn.Sequential:
    return nn.Sequential(*(PatchBlock(channels) for _ in range(number)))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _halve(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(ChannelNorm(channels_in), nn.Conv2d(channels_in, channels_out, 2, 2))


class PatchEncoder(nn.Module):
    """Pictures to a grid with a sixteenth of their side.

    Args:
        widths: channels of 64 × 64, 32 × 32 and 16 × 16 places (of 256 px).
        depths: blocks at the same places; the first are the decoder's only.
        z_channels: channels of the result.
        channels: of pictures: 3, or 4 with how far each pixel covers what is behind it.
    """

    def __init__(self, widths: tuple[int, int, int], depths: tuple[int, int, int],
                 z_channels: int, channels: int = 3) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.conv_in = nn.Conv2d(channels * PATCH_PX**2, fine, 3, 1, 1)
        self.down_fine = _halve(fine, middle)
        self.middle = _blocks(middle, depths[1])
        self.down = _halve(middle, coarse)
        self.coarse = _blocks(coarse, depths[2] - 1)
        self.norm_out = ChannelNorm(coarse)
        self.conv_out = nn.Conv2d(coarse, z_channels, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, z_channels, H / 16, W / 16)."""
        x = self.conv_in(_channels_last(F.pixel_unshuffle(pixels, PATCH_PX)))
        x = self.coarse(self.down(self.middle(self.down_fine(x))))
        return self.conv_out(self.norm_out(x))


class PatchDecoder(nn.Module):
    """The way back; arguments as ``PatchEncoder``."""

    def __init__(self, widths: tuple[int, int, int], depths: tuple[int, int, int],
                 z_channels: int, channels: int = 3) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.conv_in = nn.Conv2d(z_channels, coarse, 1)
        self.coarse = _blocks(coarse, depths[2] + 1)
        self.up = nn.Conv2d(coarse, 4 * middle, 1)
        self.middle = _blocks(middle, depths[1] + 1)
        self.up_fine = nn.Conv2d(middle, 4 * fine, 1)
        self.fine = _blocks(fine, depths[0])
        self.norm_out = ChannelNorm(fine)
        self.conv_out = nn.Conv2d(fine, channels * PATCH_PX**2, 3, 1, 1)

    def forward(self, latents: Tensor) -> Tensor:
        """(B, z_channels, h, w) to (B, channels, 16 h, 16 w)."""
        x = self.coarse(_channels_last(self.conv_in(latents)))
        x = self.middle(_channels_last(F.pixel_shuffle(self.up(x), 2)))
        x = self.fine(_channels_last(F.pixel_shuffle(self.up_fine(x), 2)))
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), PATCH_PX)

"""EfficientNet-Lite0: a small classifier of photographs, whose features other models look through.

Every batch normalisation is folded into the convolution before it, as it stands after training,
so that a layer is a convolution with a bias. Nothing is squeezed or excited, and the activation is
ReLU6: what distinguishes Lite from EfficientNet.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"
(2019), table 1; Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018),
section 3.4 (the block); Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (2018), section 3.2 (folding).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

IMAGE_SIZE = 224  # px, the side that it was trained at
MEAN, SPAN = 127 / 255, 128 / 255  # pixels in [0, 1] become (pixel - MEAN) / SPAN
# Of each stage: blocks, kernel, stride of the first block, expansion, channels.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
          (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
STEM, FEATURES, CLASSES = 32, 1280, 1000
# The first stages take a third of the time, and look but a few pixels far: place i after them sees
# the pixels from FIRST_STRIDE i - BEFORE_PX to FIRST_STRIDE i + AFTER_PX.
FIRST_STAGES, FIRST_STRIDE, BEFORE_PX, AFTER_PX = 2, 4, 6, 12


class SameConv(nn.Conv2d):
    """A convolution that gives ⌈side / stride⌉; what padding is uneven goes right and below."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1,
                 groups: int = 1) -> None:
        super().__init__(channels_in, channels_out, kernel, stride, groups=groups)

    def forward(self, input: Tensor) -> Tensor:
        """(B, channels_in, H, W) to (B, channels_out, ⌈H / stride⌉, ⌈W / stride⌉)."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if kernel == 1:
            return super().forward(input)
        height, width = (max(kernel - (side % stride or stride), 0) for side in input.shape[-2:])
        if self.groups > 1 and height % 2 and width % 2:
            # A row and a column of zeros before the kernel stand for the uneven padding: it is
            # smaller than the map, which would be copied. The products are the same.
            return F.conv2d(input, F.pad(self.weight, (1, 0, 1, 0)), self.bias, stride,
                            (height // 2 + 1, width // 2 + 1), groups=self.groups)
        if height % 2 or width % 2:
            input = F.pad(input, (width // 2, width - width // 2, height // 2,
                                  height - height // 2))
            height = width = 0
        return F.conv2d(input, self.weight, self.bias, stride, (height // 2, width // 2),
                        groups=self.groups)


class Block(nn.Module):
    """An inverted bottleneck: 1 × 1 up, a filter for each channel, 1 × 1 down."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int,
                 expansion: int) -> None:
        super().__init__()
        width = channels_in * expansion
        self.expand = SameConv(channels_in, width) if expansion > 1 else None
        self.depthwise = SameConv(width, width, kernel, stride, groups=width)
        self.project = SameConv(width, channels_out)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) to (B, channels_out, H / stride, W / stride)."""
        # In place: at 112 px a map of its own for what is clipped takes as long as a matrix.
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.residual else y


class EfficientNet(nn.Module):
    """EfficientNet-Lite0; differentiable in its pictures, which may be of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, 2)
        stages, channels = [], STEM
        for blocks, kernel, stride, expansion, width in STAGES:
            stage = []
            for n in range(blocks):
                stage.append(Block(channels, width, kernel, stride if n == 0 else 1, expansion))
                channels = width
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)
        self.head = SameConv(channels, FEATURES)
        self.classifier = nn.Linear(FEATURES, CLASSES)

    def stage_maps(self, pixels: Tensor) -> list[Tensor]:
        """What each stage makes of pictures, for a perceptual loss.

        Args:
            pixels: (B, 3, H, W) float in [0, 1], any size.

        Returns:
            Seven maps (B, C, ⌈H / s⌉, ⌈W / s⌉) with C of ``STAGES`` and s of 2, 4, 8, 16, 16, 32
            and 32, not rectified.
        """
        first = self._first_maps(pixels)
        return [*first, *self.go_on(first[-1])]

    def begin(self, pixels: Tensor) -> Tensor:
        """What the first ``FIRST_STAGES`` make of pictures; ``go_on`` makes the rest of it.

        Args:
            pixels: (B, 3, H, W) float in [0, 1].

        Returns:
            (B, C, ⌈H / 4⌉, ⌈W / 4⌉).
        """
        return self._first_maps(pixels)[-1]

    def begin_again(self, begun: Tensor, pixels: Tensor, box: tuple[slice, slice]) -> Tensor:
        """``begin`` for a picture that differs from another one in a box, where they differ.

        Args:
            begun: (1, C, H / 4, W / 4), what ``begin`` made of the other one.
            pixels: (1, 3, H, W) float in [0, 1]; H and W are multiples of 4.
            box: rows and columns in px.

        Returns:
            As ``begun``; but for rounding what ``begin`` would make of the picture.
        """
        places, crops, inner = zip(*map(_reach, box, pixels.shape[-2:]), strict=True)
        part = self.begin(pixels[..., crops[0], crops[1]])
        found = begun.clone()
        found[..., places[0], places[1]] = part[..., inner[0], inner[1]]
        return found

    def go_on(self, begun: Tensor) -> list[Tensor]:
        """The maps of all stages but the first ``FIRST_STAGES``; see ``stage_maps``."""
        maps = [begun]
        for stage in self.stages[FIRST_STAGES:]:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def _first_maps(self, pixels: Tensor) -> list[Tensor]:
        maps = [F.relu6(self.stem((pixels.to(self.stem.weight.dtype) - MEAN) / SPAN))]
        for stage in self.stages[:FIRST_STAGES]:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def features(self, pixels: Tensor) -> Tensor:
        """Pooled features (B, 1280) in [0, 6] of pictures (B, 3, H, W) in [0, 1].

        They were trained at ``IMAGE_SIZE``; another size is taken as it is.
        """
        return F.relu6(self.head(self.stage_maps(pixels)[-1])).mean((-2, -1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, 1000) of ImageNet's classes for pictures (B, 3, H, W) in [0, 1]."""
        return self.classifier(self.features(pixels))


def _reach(box: slice, side: int) -> tuple[slice, slice, slice]:
    """Along an axis: the places that see a box, the pixels that they see, and where they are among
    the places of those pixels."""
    first = max(0, -(-(box.start - AFTER_PX) // FIRST_STRIDE))
    last = min(side - 1, box.stop - 1 + BEFORE_PX) // FIRST_STRIDE + 1
    start = max(0, first - -(-BEFORE_PX // FIRST_STRIDE))
    stop = min(side // FIRST_STRIDE, last + AFTER_PX // FIRST_STRIDE)
    return (slice(first, last), slice(FIRST_STRIDE * start, FIRST_STRIDE * stop),
            slice(first - start, last - start))


def build(config: Mapping[str, Any]) -> EfficientNet:
    """The untrained network.

    Args:
        config: empty; there is one Lite0.

    Raises:
        TypeError: it is not empty.
    """
    return EfficientNet(**config)

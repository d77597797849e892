"""Whether a picture is like those that the embedded CLIPs learned from, or like nothing they saw.

A picture is as familiar as its nearest neighbour among scenes of the world is near, in the features
of a classifier that knows photographs too. No picture of any other kind is needed to fit it.

Source: Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors" (2022), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.efficientnet import FEATURES, IMAGE_SIZE, EfficientNet


class Familiarity(nn.Module):
    """Pictures to how like the world's they are.

    Args:
        scenes: how many pictures of the world are kept, by their features.
        least: cosine below which a picture is unlike all of them.

    Attributes:
        image: the classifier; set by who loads the model.
    """

    image: EfficientNet

    def __init__(self, scenes: int, least: float) -> None:
        super().__init__()
        self.least, self.image_size = least, IMAGE_SIZE
        self.known = nn.Parameter(torch.empty(scenes, FEATURES))  # unit length

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.known.device

    def nearness(self, features: Tensor) -> Tensor:
        """Cosine (B,) float32 of features (B, 1280) with the nearest of the world's."""
        known = F.normalize(self.known.float(), dim=-1)
        return (F.normalize(features.float(), dim=-1) @ known.t()).amax(1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Whether pictures are unlike the world: (B,) bool.

        Args:
            pixels: (B, 3, 224, 224) float in [0, 1].
        """
        return self.nearness(self.image.features(pixels)) < self.least


def build(config: Mapping[str, Any]) -> Familiarity:
    """The module without its part.

    Args:
        config: the arguments of ``Familiarity``.
    """
    return Familiarity(**config)

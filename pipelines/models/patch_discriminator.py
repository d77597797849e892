"""A network that says of each patch of a picture whether it looks like a true one.

Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017),
section 3.2.2; in the training of a VQGAN: Esser, Rombach, Ommer, "Taming Transformers for
High-Resolution Image Synthesis" (2021), section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from taming.modules.discriminator.model import NLayerDiscriminator, weights_init
from torch import Tensor, nn

_FILTER, _STRIDE = 4, 2  # taming's, in px; the last two filters go on by 1


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Shape of a discriminator.

    Attributes:
        resolution: side in px of the pictures that it was trained on.
        width: channels of its first filters.
        layers: filters that halve the sides.
        right: share of the patches of pictures that no training saw which it takes for what they
            are, the mean over true and drawn ones; a guess has 0.5. None where nobody measured it.
    """

    resolution: int = 128
    width: int = 32
    layers: int = 2
    right: float | None = None


class PatchDiscriminator(nn.Module):
    """Pictures to a map of logits, one a patch."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        network = NLayerDiscriminator(3, config.width, config.layers)
        self.network = network.apply(weights_init)

    @property
    def stride(self) -> int:
        """Pixels from a patch to the next."""
        return _STRIDE**self.config.layers

    @property
    def patch_px(self) -> int:
        """Side in px of the patch that one logit sees; those at an edge see less."""
        seen = 1 + 2 * (_FILTER - 1)
        for _ in range(self.config.layers):
            seen = seen * _STRIDE + _FILTER - _STRIDE
        return seen

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to logits (B, h, w): above 0 the patch looks true."""
        return self.network(pixels).squeeze(1)


def build(config: Mapping[str, Any]) -> PatchDiscriminator:
    """Build an untrained discriminator from the fields of ``DiscriminatorConfig``."""
    return PatchDiscriminator(DiscriminatorConfig(**config))


def config_dict(config: DiscriminatorConfig) -> dict[str, Any]:
    """The configuration as plain data for ``config.json``."""
    return asdict(config)

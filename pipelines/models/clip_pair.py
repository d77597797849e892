"""Two CLIPs as one: the cosine of a picture and a text is the mean of what both say.

Networks that were trained apart, and see by other means, are wrong about other pairs: what one
takes for noise the other knows. The one whose towers look through pretrained networks knows things,
people and counts; a small one beside it, which was trained from pixels, knows colours and which
thing has which. Features are those of both beside each other, so that they are compared, kept and
searched as those of one CLIP.

Source: Hansen and Salamon, "Neural Network Ensembles" (1990).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipelines.models.clip import ClipModel
from pipelines.models.locked_clip import LockedClip


class ClipPair(LockedClip):
    """A ``LockedClip`` with another CLIP beside it.

    Args:
        beside_share: how much the other one counts, in [0, 1].
        towers: as of ``LockedClip``.

    Attributes:
        beside: the other CLIP; set by who loads the model.
    """

    beside: ClipModel

    def __init__(self, beside_share: float, **towers: Any) -> None:
        super().__init__(**towers)
        if not 0 <= beside_share <= 1:
            raise ValueError(f"a share is in [0, 1], not {beside_share}")
        self.beside_share = beside_share

    @property
    def logit_bias(self) -> float | None:
        """None: no sigmoid was fitted to the mean of both."""
        return None

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Unit-length text features (N, D), float32."""
        return self._joined(super().encode_text(texts), self.beside.encode_text(texts))

    def encode_image(self, pixels: Tensor, begun: Tensor | None = None) -> Tensor:
        """Unit-length picture features; see ``LockedClip.encode_image``."""
        return self._joined(super().encode_image(pixels, begun), self.beside.encode_image(pixels))

    def _joined(self, own: Tensor, other: Tensor) -> Tensor:
        return torch.cat([own * (1 - self.beside_share) ** 0.5, other * self.beside_share**0.5], -1)


def build(config: Mapping[str, Any]) -> ClipPair:
    """The untrained module without its parts.

    Args:
        config: the arguments of ``ClipPair``.
    """
    return ClipPair(**config)

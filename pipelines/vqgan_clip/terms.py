"""What VQGAN+CLIP's loss holds against a picture beside the guides: where it may not go.

Source: EleutherAI/vqgan-clip, its notebook with MSE regularisation, whose weight decays; pixray
for smoothness.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Terms:
    """Weights of the terms, 0 for those that are left out, and how two of them decay.

    Attributes:
        init_weight: of the squared distance to the first parameters.
        init_decay: share of the steps in which that weight falls to nothing, in a straight line; 0
            for never.
        mse_weight: of the squared parameters themselves, whose middle is dull: it holds down glare
            and noise until the guides have found shapes.
        mse_decay: as ``init_decay``, of that weight.
        smoothness: of the total variation.
    """

    init_weight: float = 0.0
    init_decay: float = 0.0
    mse_weight: float = 0.0
    mse_decay: float = 0.0
    smoothness: float = 0.0

    def added(self, losses: Tensor, parameters: Tensor, start: Tensor, pixels: Tensor, done: float,
              ) -> Tensor:
        """Losses (n,) with these terms added.

        Args:
            losses: (n,), the guides'.
            parameters: (n, C, h, w), of the drawer.
            start: (n, C, h, w), the first ones.
            pixels: (n, 3, H, W) in [-1, 1].
            done: share of the steps before this one.
        """
        if weight := _decayed(self.init_weight, self.init_decay, done):
            losses = losses + weight * _squared(parameters - start)
        if weight := _decayed(self.mse_weight, self.mse_decay, done):
            losses = losses + weight * _squared(parameters)
        if self.smoothness:
            losses = losses + self.smoothness * total_variation(pixels)
        return losses


NO_TERMS = Terms()


def _decayed(weight: float, share: float, done: float) -> float:
    return weight * max(0.0, 1 - done / share) if share else weight


def _squared(parameters: Tensor) -> Tensor:
    """Mean square (n,) of parameters (n, C, h, w)."""
    return parameters.square().flatten(1).mean(dim=1)


def total_variation(pixels: Tensor) -> Tensor:
    """Mean difference between neighbouring pixels (n,) of pictures (n, 3, H, W), for [0, 1]."""
    down = (pixels[:, :, 1:] - pixels[:, :, :-1]).abs().flatten(1).mean(dim=1)
    right = (pixels[..., 1:] - pixels[..., :-1]).abs().flatten(1).mean(dim=1)
    return (down + right) / 4

"""What makes reconstructions look real: a patch discriminator, and a distance in seen features.

Source: Esser et al., "Taming Transformers" (2021), section 3.1 and equation 7 (adaptive weight);
Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017), section
3.2.2 (patches); Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric" (2018), section 3.1 (here without learned weights for the channels).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from taming.modules.discriminator.model import NLayerDiscriminator, weights_init
from torch import Tensor, nn

# Pictures (B, 3, H, W) in [0, 1] to maps (B, C, h, w), fine ones first.
FeatureMaps = Callable[[Tensor], Sequence[Tensor]]
_MOST_WEIGHT = 1e4


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """What a discriminator learns by: scalar, at least 0, of the logits of true and of drawn
    patches; 2 where all are 0, as of one that knows nothing."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


class Discriminator:
    """A patch discriminator with its optimiser (hinge loss), which a run keeps and resumes.

    Args:
        device: where.
        width: channels of its first layer.
        lr: learning rate.
    """

    def __init__(self, device: torch.device, width: int = 32, lr: float = 2e-4) -> None:
        network = NLayerDiscriminator(input_nc=3, ndf=width, n_layers=3)
        self.network = network.apply(weights_init).to(device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr, betas=(0.5, 0.9))
        self.updates = 0

    def generator_loss(self, fake: Tensor) -> Tensor:
        """Loss that asks the decoder to look real, of pictures (B, 3, H, W) in [-1, 1]."""
        return -self.network(fake).mean()

    def update(self, real: Tensor, fake: Tensor) -> Tensor:
        """One step on detached pictures in [-1, 1]; returns the loss, scalar."""
        loss = hinge_loss(self.network(real), self.network(fake.detach()))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.updates += 1
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(),
                "updates": self.updates}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state()``."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = state["updates"]


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last: nn.Parameter) -> Tensor:
    """How much the adversarial loss counts, so that both pull alike at the decoder's last layer.

    Args:
        reconstruction, adversarial: scalar losses whose graphs reach ``last``; they are kept.
        last: the last weights of the decoder.

    Returns:
        The quotient of the norms of both gradients, scalar, at most 10,000 and without gradient.
    """
    (wanted,) = torch.autograd.grad(reconstruction, last, retain_graph=True)
    (given,) = torch.autograd.grad(adversarial, last, retain_graph=True)
    return (wanted.norm() / (given.norm() + 1e-4)).clamp(0, _MOST_WEIGHT).detach()


def perceptual_loss(maps: FeatureMaps, output: Tensor, target: Tensor, stages: int) -> Tensor:
    """Distance of pictures in the features of a network that has seen photographs.

    Args:
        maps: the network's feature maps; its parameters take no gradient.
        output, target: (B, 3, H, W) in [-1, 1].
        stages: how many of the maps are compared, the finest first.

    Returns:
        Scalar: the mean squared difference of unit-length features, summed over channels and
        averaged over places and stages, in [0, 4].
    """
    with torch.no_grad():
        wanted = [F.normalize(m.float(), dim=1) for m in list(maps((target + 1) / 2))[:stages]]
    seen = [F.normalize(m.float(), dim=1) for m in list(maps((output + 1) / 2))[:stages]]
    parts = [(a - b).pow(2).sum(1).mean() for a, b in zip(seen, wanted, strict=True)]
    return torch.stack(parts).mean()


def crops(first: Tensor, second: Tensor, side: int, generator: torch.Generator, tries: int = 3,
          ) -> tuple[Tensor, Tensor]:
    """The same square of two batches (B, 3, H, W), one for each picture.

    Half of a scene is plain, so the square with the most edges of a few random ones is taken.

    Args:
        first: pictures.
        second: of the same shape; their edges choose the square.
        side: in px; pictures that are no larger stay whole.
        generator: source of randomness, on the CPU.
        tries: random squares to choose from.
    """
    height, width = first.shape[-2:]
    if side >= min(height, width):
        return first, second
    number = len(first)
    tops = torch.randint(0, height - side + 1, (number, tries), generator=generator).tolist()
    lefts = torch.randint(0, width - side + 1, (number, tries), generator=generator).tolist()
    edges = (second[..., 1:, 1:] - second[..., :-1, :-1]).detach().abs().sum(1)
    cut: tuple[list[Tensor], list[Tensor]] = ([], [])
    for k in range(number):
        top, left = max(zip(tops[k], lefts[k], strict=True), key=lambda at: float(
            edges[k, at[0] : at[0] + side, at[1] : at[1] + side].sum()))
        for batch, squares in zip((first, second), cut, strict=True):
            squares.append(batch[k, :, top : top + side, left : left + side])
    return torch.stack(cut[0]), torch.stack(cut[1])

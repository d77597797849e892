"""Pictures moved against a CLIP inside a small ball, and the loss that they are moved up.

Source: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks" (2018); what
training on them does to gradients: Santurkar et al., "Image Synthesis with a Single (Robust)
Classifier" (2019).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from open_clip import CLIP
from torch import Tensor

ADVERSARIAL_STEPS = 1


class PictureLoss:
    """Sigmoid loss of pictures (B, 3, s, s) in [0, 1] against texts (T, D) of unit length.

    Args:
        clip: with a ``logit_bias``.
        encode_image: pictures to features.
        text: features of the texts.
        labels: (B, T), 1 where a text is true of a picture and -1 elsewhere.
    """

    def __init__(self, clip: CLIP, encode_image: Callable[[Tensor], Tensor], text: Tensor,
                 labels: Tensor) -> None:
        self.clip, self.encode_image, self.text, self.labels = clip, encode_image, text, labels

    def against(self, count: int) -> PictureLoss:
        """The loss of the first pictures with fixed texts, for an attack that moves these alone."""
        return PictureLoss(self.clip, self.encode_image, self.text.detach(), self.labels[:count])

    def __call__(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The loss a pair and the logits (B, T)."""
        image = F.normalize(self.encode_image(pictures).float(), dim=-1)
        scale, bias = self.clip.logit_scale.exp(), self.clip.logit_bias
        assert bias is not None
        logits = image @ self.text.t() * scale + bias
        return -F.logsigmoid(self.labels * logits).sum() / (len(self.text) / 2), logits


def attacked(pictures: Tensor, loss_of: PictureLoss, radius: float, autocast: Callable,
             steps: int = ADVERSARIAL_STEPS) -> Tensor:
    """Move pictures up the loss inside an L2 ball, by projected gradient steps.

    Args:
        pictures: (B, 3, s, s) in [0, 1].
        loss_of: the loss; its parameters get no gradient here.
        radius: of the ball around each picture, in the units of pixels.
        autocast: context of mixed precision.
        steps: gradient steps.

    Returns:
        The same shape and range, without a gradient.
    """
    loss_of.clip.requires_grad_(False)
    shift = torch.zeros_like(pictures)
    for _ in range(steps):
        moved = (pictures + shift).clamp(0, 1).requires_grad_()
        with autocast():
            loss = loss_of(moved)[0]
        (gradient,) = torch.autograd.grad(loss, moved)
        norm = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        shift = shift + 1.5 * radius / steps * gradient / norm
        length = shift.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        shift = shift * (radius / length).clamp_max(1)
    loss_of.clip.requires_grad_(True)
    return (pictures + shift).clamp(0, 1).detach()

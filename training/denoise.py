"""Teach a guide's gradient to point from a half-finished picture to the finished one.

VQGAN+CLIP draws by following the gradient of the similarity of picture and caption. Nothing in
contrastive training says where that gradient leads; here it is trained itself. A picture of the
world is taken back towards the plain field that a run starts from (blurred, faded, blotched, mixed
with another picture), and the gradient of the similarity there must point to what is missing. This
is denoising score matching with the similarity as the negative energy.

Source: Vincent, "A Connection Between Score Matching and Denoising Autoencoders" (2011), section 4;
energies trained by their gradients: Song and Ermon, "Generative Modeling by Estimating Gradients of
the Data Distribution" (2019), section 3.1; features whose gradients draw: Ganz and Elad, "CLIPAG:
Towards Generator-Free Text-to-Image Generation" (2024).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.degrade import jittered

WHITE_SHARE = 0.5  # of the plain fields
MIXED_SHARE = 0.25  # of the pictures that were on their way to another one
BLUR_CELLS = (96, 48, 24, 12, 6)
BLOTCHES = 0.25
NEARLY_FINISHED = 0.05  # root mean square of what is missing, below which a picture counts less


def unfinished(pictures: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Take pictures back to somewhere between a plain field and themselves.

    Args:
        pictures: (B, 3, s, s) float in [0, 1].
        generator: source of randomness.

    Returns:
        The finished pictures, moved a little, and the unfinished ones; the same shape and range.
    """
    (count, _, size, _), device = pictures.shape, generator.device

    def chance(share: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator, device=device) < share

    pictures = torch.where(chance(0.3), jittered(pictures, generator), pictures).clamp(0, 1)
    colour = torch.rand(count, 3, 1, 1, generator=generator, device=device)
    field = torch.where(chance(WHITE_SHARE), torch.ones_like(colour), colour)
    field = torch.where(chance(MIXED_SHARE), pictures.roll(1, 0), field.expand_as(pictures))
    blurs = torch.randint(len(BLUR_CELLS), (count,), generator=generator, device=device).tolist()
    sketch = torch.stack([_blurred(picture, BLUR_CELLS[blur])
                          for picture, blur in zip(pictures, blurs, strict=True)])
    # Near the start as often as near the end.
    share = torch.rand(count, 1, 1, 1, generator=generator, device=device)
    share = torch.where(chance(0.2), torch.zeros_like(share), share)
    result = share * sketch + (1 - share) * field
    cells = BLUR_CELLS[1:][int(torch.randint(4, (1,), generator=generator, device=device))]
    coarse = torch.randn(count, 3, cells, cells, generator=generator, device=device)
    amount = torch.rand(count, 1, 1, 1, generator=generator, device=device)
    amount = BLOTCHES * amount.square()
    result = result + amount * F.interpolate(coarse, (size, size), mode="bilinear")
    return pictures, result.clamp(0, 1)


def _blurred(picture: Tensor, cells: int) -> Tensor:
    """A picture (3, s, s) averaged over a coarser grid and drawn smoothly again."""
    size = picture.shape[-1]
    if cells >= size:
        return picture
    small = F.interpolate(picture[None], (cells, cells), mode="area")
    return F.interpolate(small, (size, size), mode="bilinear")[0]


def pull_loss(pictures: Tensor, finished: Tensor, text: Tensor,
              encode_image: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """One minus the cosine between the similarity's gradient and the way to the finished picture.

    Args:
        pictures: (B, 3, s, s) float in [0, 1], unfinished.
        finished: the same shape.
        text: (B, D) unit features of their captions; trained too.
        encode_image: pictures to features; differentiable twice, so not compiled.

    Returns:
        The loss, in [0, 2]: half of it of each picture's own gradient, where those that are nearly
        finished count less, and half of all gradients of the batch as one vector; and the mean
        cosine, detached.
    """
    moving = pictures.detach().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        image = F.normalize(encode_image(moving).float(), dim=-1)
        similarity = (image * text).sum()
        (gradient,) = torch.autograd.grad(similarity, moving, create_graph=True)
    way = (finished - pictures).flatten(1)
    size = way.square().mean(1, keepdim=True).sqrt()
    cosines = F.cosine_similarity(gradient.flatten(1), way, dim=1)
    weights = (size[:, 0] / NEARLY_FINISHED).clamp_max(1)
    directions = (weights * (1 - cosines)).sum() / weights.sum()
    # Over the whole batch at once the lengths count too: a gradient that is as long as the way
    # ends where nothing is missing any more, or nothing more is known.
    unit = size + NEARLY_FINISHED
    lengths = 1 - F.cosine_similarity((gradient.flatten(1) / unit).flatten(),
                                      (way / unit).flatten(), dim=0)
    loss = (directions + lengths) / 2
    return loss, cosines.detach().mean()

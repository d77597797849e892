"""Pictures that the guide itself asks for: its optimised failures, kept from step to step.

VQGAN+CLIP follows the guide's gradient from a plain field. Where that leads, the guide must not be
content too soon, so a pool of such pictures grows during its training: in each step some of them
move on against the guide as it is now, and it then learns that they do not show their caption. A
picture that is moved for as long as the product would move it makes room for a new one.

Source: persistent chains, Tieleman, "Training Restricted Boltzmann Machines using Approximations
to the Likelihood Gradient" (2008); pictures from the gradients of a classifier, Grathwohl et al.,
"Your Classifier is Secretly an Energy Based Model and You Should Treat it Like One" (2020).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.vqgan import VQGAN
from training.degrade import shifted

LIFE_STEPS = 90  # about as long as a run of VQGAN+CLIP
COARSE_STEPS = ((8, 4), (20, 2))  # until which age gradients are averaged over how many cells
STEP_SIZE = 0.15
START_NOISE = 0.15


class Failures:
    """A pool of latents on their way to a caption.

    Args:
        vqgan: decodes; frozen.
        size_px: side of the pictures that the guide sees.
        pool: pictures in the pool.
        moved: pictures that move in each step of training.
        seed: of the random numbers.
    """

    def __init__(self, vqgan: VQGAN, size_px: int, pool: int, moved: int, seed: int) -> None:
        self.vqgan, self.size_px, self.moved = vqgan.eval().requires_grad_(False), size_px, moved
        self.generator = torch.Generator().manual_seed(seed)
        side = vqgan.config.resolution // vqgan.downsampling
        self.latents = torch.zeros(pool, vqgan.config.embed_dim, side, side)
        self.ids: Tensor | None = None
        # Ages all over the pool's life, so that not all are new at once.
        self.ages = torch.randint(0, LIFE_STEPS, (pool,), generator=self.generator)
        self.latents = self._fresh(pool)

    @torch.no_grad()
    def _fresh(self, count: int) -> Tensor:
        """Latents of plain fields, mostly light, with a little noise."""
        size = self.vqgan.config.resolution
        colour = torch.rand(count, 3, 1, 1, generator=self.generator)
        colour = torch.where(torch.rand(count, 1, 1, 1, generator=self.generator) < 0.5,
                             torch.ones_like(colour), colour)
        fields = (colour * 2 - 1).expand(count, 3, size, size)
        latents = torch.cat([self.vqgan.encode_latents(part) for part in fields.split(32)])
        noise = torch.randn(latents.shape, generator=self.generator)
        return (latents + START_NOISE * noise).clamp(-1, 1)

    def step(self, ids: Tensor, encode_text: Callable[[Tensor], Tensor],
             encode_image: Callable[[Tensor], Tensor], module: nn.Module) -> tuple[Tensor, Tensor]:
        """Move some pictures towards their captions.

        Args:
            ids: (N, L) token ids of captions, for pictures that begin.
            encode_text: ids to features.
            encode_image: pictures in [0, 1] to features.
            module: the guide, whose parameters get no gradient here.

        Returns:
            Pictures (moved, 3, size_px, size_px) in [0, 1] and the ids (moved, L) of the captions
            that they are to be false of.
        """
        if self.ids is None:
            picks = torch.randint(len(ids), (len(self.latents),), generator=self.generator)
            self.ids = ids[picks].clone()
        rows = torch.randperm(len(self.latents), generator=self.generator)[: self.moved]
        old = rows[self.ages[rows] >= LIFE_STEPS]
        if len(old):
            self.latents[old] = self._fresh(len(old))
            self.ids[old] = ids[torch.randint(len(ids), (len(old),), generator=self.generator)]
            self.ages[old] = 0
        module.requires_grad_(False)
        with torch.no_grad():
            text = F.normalize(encode_text(self.ids[rows]).float(), dim=-1)
        latents, pictures = self.latents[rows], torch.empty(0)
        for _ in range(2):
            moving = latents.detach().requires_grad_()
            pictures = self._decode(self.vqgan.quantize(moving)[0])
            seen = F.normalize(encode_image(shifted(pictures, self.generator)).float(), dim=-1)
            (gradient,) = torch.autograd.grad((seen * text).sum(), moving)
            gradient = self._coarse(gradient, self.ages[rows])
            scale = gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
            latents = (latents + STEP_SIZE * (gradient / scale).clamp(-2, 2)).clamp(-1, 1)
            self.ages[rows] += 1
        module.requires_grad_(True)
        self.latents[rows] = latents
        return pictures.detach(), self.ids[rows]

    def _decode(self, latents: Tensor) -> Tensor:
        pixels = ((self.vqgan.decode(latents).float() + 1) / 2).clamp(0, 1)
        size = (self.size_px, self.size_px)
        return F.interpolate(pixels, size, mode="bilinear", antialias=True)

    @staticmethod
    def _coarse(gradient: Tensor, ages: Tensor) -> Tensor:
        """Average the gradients of young pictures over squares of cells."""
        rows = []
        for one, age in zip(gradient.split(1), ages.tolist(), strict=True):
            cells = next((cells for until, cells in COARSE_STEPS if age < until), 1)
            small = F.avg_pool2d(one, cells)
            rows.append(F.interpolate(small, one.shape[-2:], mode="bilinear"))
        return torch.cat(rows)

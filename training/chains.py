"""Pictures on the guide's own path, with the finished picture that each of them should reach.

A guide that has only seen pictures taken back from finished ones loses its way within ten steps of
following its own gradient: its errors lead to pictures which no training showed. So pools of
pictures move along its gradient from step to step of the training, beginning at plain fields, and
at each of them the gradient must point to what is still missing. Most move their pixels, which
costs nothing but the gradient that is computed anyway; the others move the latents of the VQGAN, as
the product does.

Source: states of the learner under the teacher's answer, Ross, Gordon and Bagnell, "A Reduction of
Imitation Learning and Structured Prediction to No-Regret Online Learning" (2011), section 3;
persistent chains, Tieleman, "Training Restricted Boltzmann Machines using Approximations to the
Likelihood Gradient" (2008).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.vqgan import VQGAN

LIGHT_SHARE = 0.85  # of the fields that chains begin at; the others are of any colour
LEAST_LIGHT = 0.75  # as ``pipelines.latents``
LAST_STEP = 0.1  # of the first, by a cosine, as the product's default schedule
LARGEST_SHARE = 6.0  # as ``pipelines.latents.NormalisedDescent``
Drawn = tuple[Tensor, Tensor]  # finished pictures (N, 3, s, s) in [0, 1], token ids (N, L)


def plain_fields(count: int, size_px: int, generator: torch.Generator) -> Tensor:
    """Fields (count, 3, size_px, size_px) of one colour each in [0, 1], mostly light."""
    colour = torch.rand(count, 3, 1, 1, generator=generator)
    light = 1 - (1 - LEAST_LIGHT) * colour
    chosen = torch.rand(count, 1, 1, 1, generator=generator) < LIGHT_SHARE
    return torch.where(chosen, light, colour).repeat(1, 1, size_px, size_px)


class Chains(ABC):
    """A pool of pictures on their way; some of them take a step in each step of the training.

    Args:
        draw: gives so many finished pictures and captions.
        pool: pictures in the pool.
        moved: of these in each step.
        life: steps from a plain field to the end.
        steps: (least, most) root mean square of a first step; each chain has its own.
        seed: of the random numbers.
    """

    def __init__(self, draw: Callable[[int], Drawn], pool: int, moved: int, life: int,
                 steps: tuple[float, float], seed: int) -> None:
        self.draw, self.moved, self.life, self.steps = draw, moved, life, steps
        self.generator = torch.Generator().manual_seed(seed)
        self.finished, self.ids = draw(pool)
        self.sizes = self._sizes(pool)
        # All over a life, so that not all end at once; the oldest have not moved yet, but will
        # soon begin anew.
        self.ages = torch.randint(0, life, (pool,), generator=self.generator)
        self.rows = torch.zeros(0, dtype=torch.long)
        self.states = self.begin(pool)

    def _sizes(self, count: int) -> Tensor:
        low, high = self.steps
        return low * (high / low) ** torch.rand(count, 1, 1, 1, generator=self.generator)

    @abstractmethod
    def begin(self, count: int) -> Tensor:
        """States of plain fields."""

    @abstractmethod
    def pictures(self) -> Tensor:
        """Pictures (moved, 3, s, s) in [0, 1] of the chosen rows."""

    @abstractmethod
    def direction(self, gradient: Tensor) -> Tensor:
        """Where the states move, by the gradient (moved, 3, s, s) of the similarity."""

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Choose rows: pictures and finished ones (moved, 3, s, s), and ids (moved, L)."""
        self.rows = torch.randperm(len(self.ages), generator=self.generator)[: self.moved]
        old = self.rows[self.ages[self.rows] >= self.life]
        if len(old):
            self.states[old] = self.begin(len(old))
            self.finished[old], self.ids[old] = self.draw(len(old))
            self.sizes[old] = self._sizes(len(old))
            self.ages[old] = 0
        return self.pictures(), self.finished[self.rows], self.ids[self.rows]

    @torch.no_grad()
    def move(self, gradient: Tensor) -> None:
        """Let the chosen rows take their step."""
        way = self.direction(gradient)
        scale = way.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
        done = (self.ages[self.rows] / self.life).view(-1, 1, 1, 1)
        rate = LAST_STEP + (1 - LAST_STEP) * (1 + torch.cos(torch.pi * done)) / 2
        step = self.sizes[self.rows] * rate * (way / scale).clamp(-LARGEST_SHARE, LARGEST_SHARE)
        self.states[self.rows] = self.within(self.states[self.rows] + step)
        self.ages[self.rows] += 1

    @staticmethod
    @abstractmethod
    def within(states: Tensor) -> Tensor:
        """States inside their bounds."""


class PixelChains(Chains):
    """Chains of pixels. The gradient is smoothed a little, as a VQGAN would; see ``Chains``.

    Args:
        size_px: side of the pictures.
    """

    def __init__(self, draw: Callable[[int], Drawn], pool: int, moved: int, life: int,
                 steps: tuple[float, float], seed: int, size_px: int) -> None:
        self.size_px = size_px
        super().__init__(draw, pool, moved, life, steps, seed)

    def begin(self, count: int) -> Tensor:
        """Plain fields."""
        return plain_fields(count, self.size_px, self.generator)

    def pictures(self) -> Tensor:
        """The states themselves."""
        return self.states[self.rows].clone()

    def direction(self, gradient: Tensor) -> Tensor:
        """The gradient, for half of the rows averaged over neighbours."""
        smooth = F.avg_pool2d(gradient, 5, stride=1, padding=2, count_include_pad=False)
        chosen = torch.rand(len(gradient), 1, 1, 1, generator=self.generator) < 0.5
        return torch.where(chosen, smooth, gradient)

    @staticmethod
    def within(states: Tensor) -> Tensor:
        """In [0, 1]."""
        return states.clamp(0, 1)


class LatentChains(Chains):
    """Chains of a VQGAN's latents, which move as those of VQGAN+CLIP do; see ``Chains``.

    Args:
        size_px: side of the pictures that the guide sees.
        vqgan: decodes; frozen.
        autocast: context of mixed precision.
        coarse: share of a life in which gradients are averaged over blocks of cells, as
            ``pipelines.latents.Latents``.
    """

    def __init__(self, draw: Callable[[int], Drawn], pool: int, moved: int, life: int,
                 steps: tuple[float, float], seed: int, size_px: int, vqgan: VQGAN,
                 autocast: Callable, coarse: float = 0.2) -> None:
        self.size_px, self.coarse, self.autocast = size_px, coarse, autocast
        self.vqgan = vqgan.eval().requires_grad_(False)
        self._moving = self._seen = torch.zeros(0)
        super().__init__(draw, pool, moved, life, steps, seed)

    @torch.no_grad()
    def begin(self, count: int) -> Tensor:
        """Latents of plain fields."""
        fields = plain_fields(count, self.vqgan.config.resolution, self.generator) * 2 - 1
        return torch.cat([self.vqgan.encode_latents(part) for part in fields.split(16)]).float()

    def pictures(self) -> Tensor:
        """The decoded states."""
        with torch.enable_grad():
            self._moving = self.states[self.rows].clone().requires_grad_()
            with self.autocast():
                pixels = self.vqgan.decode(self.vqgan.quantize(self._moving)[0]).float()
            pixels = ((pixels + 1) / 2).clamp(0, 1)
            self._seen = F.interpolate(pixels, (self.size_px, self.size_px), mode="bilinear",
                                       antialias=True)
        return self._seen.detach()

    def direction(self, gradient: Tensor) -> Tensor:
        """The gradient of the latents, of young ones averaged over blocks."""
        (latent,) = torch.autograd.grad(self._seen, self._moving, gradient)
        self._seen = self._moving = torch.zeros(0)
        done = self.ages[self.rows] / self.life
        rows = []
        for one, age in zip(latent.split(1), done.tolist(), strict=True):
            cells = 4 if age < self.coarse / 2 else 2 if age < self.coarse else 1
            small = F.avg_pool2d(one, cells)
            rows.append(F.interpolate(small, one.shape[-2:], mode="bilinear"))
        return torch.cat(rows)

    @staticmethod
    def within(states: Tensor) -> Tensor:
        """Between the outermost codes."""
        return states.clamp(-1, 1)

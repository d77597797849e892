"""Where a block of codes lies within the things of a plan, as a position embedding.

A plan says where each thing stands. Told for each block how far it is from the thing's corner, and
how large the thing is, a transformer learns once what the thing looks like, and not anew for each
place on the grid.

Source: relative positions: Shaw et al., "Self-Attention with Relative Position Representations"
(2018), section 3; sines and cosines to begin with: Vaswani et al. (2017), section 3.5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipelines.world.plans import MOST_THINGS, spots_of

_FREQUENCIES = 6


class SpotPositions(nn.Module):
    """Sums, for each block, of an embedding of every thing that covers it.

    Args:
        grid: codes along one side of the picture.
        patch: codes along one side of a block.
        dim: width of an embedding.
    """

    def __init__(self, grid: int, patch: int, dim: int) -> None:
        super().__init__()
        self.grid, self.patch = grid, patch
        # Row side · offsets + offset: the offset of a block's first cell from the thing's.
        self.offsets = grid + patch - 1
        self.column = nn.Embedding((grid + 1) * self.offsets, dim)
        self.row = nn.Embedding((grid + 1) * self.offsets, dim)
        self.order = nn.Embedding(MOST_THINGS, dim)
        self.flip = nn.Embedding(2, dim)

    def initialise(self) -> None:
        """Begin with sines and cosines of the place within the thing, which sizes share."""
        sides = torch.arange(self.grid + 1).clamp_min(1)[:, None]
        centres = torch.arange(self.offsets) - (self.patch - 1) + self.patch / 2
        inside = (centres / sides).flatten()  # 0 at the first edge, 1 at the other
        scale = (sides / self.grid).expand(-1, self.offsets).flatten()
        angles = torch.stack([math.pi * k * inside for k in range(1, _FREQUENCIES + 1)]
                             + [math.pi * scale, 4 * math.pi * scale], dim=1)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        for table in (self.column, self.row):
            mixing = torch.randn(waves.shape[1], table.weight.shape[1]) / waves.shape[1] ** 0.5
            with torch.no_grad():
                table.weight.copy_(0.1 * waves @ mixing)
        for table in (self.order, self.flip):
            nn.init.normal_(table.weight, std=0.1)

    def covers(self, plan: Tensor) -> Tensor:
        """Which blocks show a part of a thing, (B, steps) bool, of plans (B, P)."""
        columns, rows, *_ = self._spans(plan)
        return (rows.transpose(1, 2).float() @ columns.float()).flatten(1) > 0

    def forward(self, plan: Tensor) -> Tensor:
        """(B, steps, dim) of plans (B, P) int64, zero where there is only background."""
        columns, rows, at_column, at_row, flips = self._spans(plan)
        weight = self.column.weight
        thing = self.order.weight + self.flip(flips)  # (B, things, dim)
        across = (self.column(at_column) + thing[:, :, None]) * columns[..., None].to(weight.dtype)
        down = self.row(at_row) * rows[..., None].to(weight.dtype)  # (B, things, side, dim)
        # Both parts where a thing covers row and column of a block: (B, side, side, dim).
        found = torch.einsum("bkjd,bki->bijd", across, rows.to(across.dtype))
        found = found + torch.einsum("bkid,bkj->bijd", down, columns.to(down.dtype))
        return found.flatten(1, 2)

    def _spans(self, plan: Tensor) -> tuple[Tensor, ...]:
        """Whether each thing covers each column and row of blocks, (B, things, side) bool each;
        their rows of the tables; and whether things are mirrored, (B, things) int64."""
        spots, there = spots_of(plan)
        column, row, side, flip = spots.unbind(-1)  # (B, things)
        starts = torch.arange(0, self.grid, self.patch, device=plan.device)
        spans = []
        for first in (column, row):
            offset = starts - first[..., None]
            covered = (offset > -self.patch) & (offset < side[..., None]) & there[..., None]
            index = side[..., None] * self.offsets + (offset + self.patch - 1)
            spans.append((covered, torch.where(covered, index, 0)))
        (columns, at_column), (rows, at_row) = spans
        return columns, rows, at_column, at_row, flip


def chosen_blocks(covered: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Blocks for a step of training: all that show things, and random ones of the background.

    Args:
        covered: (B, steps) bool.
        count: blocks a row; where things cover more, random ones of theirs are left out.
        generator: source of randomness, on the CPU.

    Returns:
        (B, count) int64, ascending.
    """
    drawn = torch.rand(covered.shape, generator=generator) + covered.float().cpu()
    return drawn.topk(count, dim=1).indices.sort(1).values.to(covered.device)


"""A growing store of encoded scenes: drawn and encoded once, trained on several times."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from pipelines.models.vqgan import VQGAN
from pipelines.world.scenes import Scene
from training.data import World
from training.loop import fast_autocast


@torch.no_grad()
def encode(vqgan: VQGAN, world: World, scenes: Sequence[Scene]) -> Tensor:
    """Codes (N, grid, grid) int32 of scenes."""
    device = next(vqgan.parameters()).device
    size = 16 if device.type == "cpu" else 256
    grids = []
    for i in range(0, len(scenes), size):
        part, size_px = scenes[i : i + size], vqgan.config.resolution
        with exact_autocast(device):
            latents = vqgan.encode_latents((world.render(part, size_px) * 2 - 1).to(device))
        grids.append(vqgan.nearest(latents.float()).to(torch.int32).cpu())
    return torch.cat(grids)


def exact_autocast(device: torch.device) -> AbstractContextManager:
    """``fast_autocast`` on a CPU, and float32 on a GPU, which has time for it.

    The closer latents are to what they are elsewhere, the fewer codes flip.
    """
    return fast_autocast(device) if device.type == "cpu" else nullcontext()


def save_whole(tensor: Tensor, path: Path) -> None:
    """Save a tensor, whole or not at all."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    torch.save(tensor, temporary)
    temporary.replace(path)


def rows_of(shards: Sequence[Tensor], chunk: int, indices: Sequence[int]) -> Tensor:
    """Rows of shards of ``chunk`` rows each, as if they were one tensor."""
    return torch.stack([shards[i // chunk][i % chunk] for i in indices])


class Supply:
    """How many scenes a run may choose from at each step.

    Those that earlier runs left, and a new chunk every so many steps of this one: whoever goes on
    with the same scenes learns them by heart.

    Args:
        there: scenes that there are as the run begins or goes on.
        chunk: scenes of a chunk.
        every: steps between chunks.
    """

    def __init__(self, there: int, chunk: int, every: int) -> None:
        self.there, self.chunk, self.every = there, chunk, every
        self._first: int | None = None  # the step with which it begins

    def known(self, step: int) -> int:
        """How many there are at a step; the first that is asked for is where the run begins."""
        if self._first is None:
            self._first = step
        grown = max(0, step - self._first) // self.every
        return (self.there or self.chunk) + self.chunk * grown


class CodeStore:
    """Codebook indices of scenes 0 … N of a split, grown in chunks and kept on disk.

    Args:
        folder: where shards are kept; shards of another VQGAN or of other scenes are never
            mixed in.
        vqgan: the encoder, in evaluation mode.
        world: draws the scenes.
        split: which stream of scenes.
        chunk: scenes a shard.
        sampler_options: for ``World.sampler``; no jitter, so that plans say exactly where things
            stand.
    """

    kind = ""  # of what the shards hold, where it is more than a grid a scene

    def __init__(self, folder: Path, vqgan: VQGAN, world: World, split: str, chunk: int,
                 **sampler_options) -> None:
        self.chunk, self.vqgan, self.world = chunk, vqgan, world
        self.sampler = world.sampler(split, **sampler_options)
        digest = hashlib.sha256(vqgan.quant_conv.weight.detach().cpu().numpy().tobytes())
        # Scenes that are laid out in another way are other scenes.
        digest.update(repr([self.sampler.sample(i) for i in range(64)]).encode())
        digest.update(self.kind.encode())
        self.folder = folder / f"{split}-{digest.hexdigest()[:12]}-{chunk}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shards: list[Tensor] = []
        while self.path(len(self.shards)).exists():
            self.shards.append(torch.load(self.path(len(self.shards)), weights_only=True))

    def __len__(self) -> int:
        return len(self.shards) * self.chunk

    def path(self, number: int) -> Path:
        """Where a shard is kept."""
        return self.folder / f"{number:05d}.pt"

    def write(self, number: int) -> Tensor:
        """Draw and encode the scenes of a shard, (chunk, grid, grid) int32, and keep them.

        Shards may be made in any order and by several processes; a store reads those that have no
        gap before them.
        """
        start = number * self.chunk
        scenes = [self.sampler.sample(k) for k in range(start, start + self.chunk)]
        shard = self.encode(scenes)
        save_whole(shard, self.path(number))
        return shard

    def encode(self, scenes: Sequence[Scene]) -> Tensor:
        """Codes of scenes; see the function of that name."""
        return encode(self.vqgan, self.world, scenes)

    def grow(self) -> None:
        """Draw and encode the next chunk."""
        self.shards.append(self.write(len(self.shards)))

    def codes(self, indices: list[int]) -> Tensor:
        """Codes (N, grid, grid) int64 of the scenes with these numbers."""
        return rows_of(self.shards, self.chunk, indices).long()

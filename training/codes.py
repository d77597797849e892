"""A growing store of encoded scenes: drawn and encoded once, trained on several times."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from pipelines.models.vqgan import VQGAN
from training.data import World


class CodeStore:
    """Codebook indices of scenes 0 … N of a split, grown in chunks and kept on disk.

    Args:
        folder: where shards are kept; shards of another VQGAN or of other scenes are never
            mixed in.
        vqgan: the encoder, in evaluation mode.
        world: draws the scenes.
        split: which stream of scenes.
        chunk: scenes a shard.
        sampler_options: for ``World.sampler``.
    """

    def __init__(
        self, folder: Path, vqgan: VQGAN, world: World, split: str, chunk: int, **sampler_options
    ) -> None:
        self.vqgan, self.world, self.chunk = vqgan, world, chunk
        self.sampler = world.sampler(split, **sampler_options)
        digest = hashlib.sha256(vqgan.encoder.conv_in.weight.detach().cpu().numpy().tobytes())
        # Scenes that are laid out in another way are other scenes.
        digest.update(repr([self.sampler.sample(i) for i in range(64)]).encode())
        self.folder = folder / f"{split}-{digest.hexdigest()[:12]}-{chunk}"
        self.folder.mkdir(parents=True, exist_ok=True)
        shards = sorted(self.folder.glob("*.pt"))
        self.shards = [torch.load(path, weights_only=True) for path in shards]

    def __len__(self) -> int:
        return len(self.shards) * self.chunk

    @torch.no_grad()
    def grow(self) -> None:
        """Render and encode the next chunk."""
        start, parts = len(self), []
        device = next(self.vqgan.parameters()).device
        for i in range(start, start + self.chunk, 16):
            scenes = [self.sampler.sample(k) for k in range(i, min(i + 16, start + self.chunk))]
            pixels = (self.world.render(scenes, self.vqgan.config.resolution) * 2 - 1).to(device)
            with torch.autocast(device.type, torch.bfloat16):
                latents = self.vqgan.encode_latents(pixels)
            parts.append(self.vqgan.nearest(latents.float()).to(torch.int32).cpu())
        shard = torch.cat(parts)
        temporary = self.folder / "shard.tmp"
        torch.save(shard, temporary)
        temporary.replace(self.folder / f"{len(self.shards):05d}.pt")
        self.shards.append(shard)

    def codes(self, indices: list[int]) -> Tensor:
        """Codes (N, grid, grid) int64 of the scenes with these numbers."""
        return torch.stack([self.shards[i // self.chunk][i % self.chunk] for i in indices]).long()

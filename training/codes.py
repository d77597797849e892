"""A growing store of encoded scenes: drawn and encoded once, trained on several times.

The encoder of a VQGAN sees the whole picture (its group norms, its wide receptive field), so the
codes of one thing change with what stands beside it: of two scenes that share an object at the
same place, 31 % of that object's codes differed, mostly by one level. A transformer pays for each
such flip and learns nothing by it. Each object is therefore encoded alone on the scene's
background, and the codes of its square are set into the codes of the empty background.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pipelines.models.vqgan import VQGAN
from training.data import World
from training.loop import fast_autocast
from training.world.backgrounds import PLAIN_RGB, VARIANTS
from training.world.scenes import GRID, Scene, SceneObject

# Codes of one object or background, by the picture that was encoded for them.
_MAX_CACHED = 400_000


class SceneCodes:
    """Codes of whole scenes, put together from the codes of their parts.

    Args:
        vqgan: the encoder, in evaluation mode.
        world: draws the parts.
    """

    def __init__(self, vqgan: VQGAN, world: World) -> None:
        self.vqgan, self.world = vqgan, world
        self.cache: dict[Scene, Tensor] = {}

    def encode(self, scenes: Sequence[Scene]) -> Tensor:
        """Codes (N, grid, grid) int32 of scenes whose objects stand on whole cells."""
        plans = [self._parts(scene) for scene in scenes]
        self._fill({part for parts in plans for part, _, _ in parts})
        grids = []
        for parts in plans:
            grid = self.cache[parts[0][0]].clone()
            for part, source, target in parts[1:]:
                grid[target] = self.cache[part][source]
            grids.append(grid)
        if len(self.cache) > _MAX_CACHED:
            self.cache.clear()
        return torch.stack(grids)

    def _parts(self, scene: Scene) -> list[tuple[Scene, tuple, tuple]]:
        """The pictures to encode, and which cells of each go where; first the background."""
        # Only what is seen: any two scenes with the same part share its codes.
        variant = 0 if scene.background in PLAIN_RGB else scene.seed % VARIANTS
        empty = Scene("single", (), None, scene.background, False, scene.medium, variant)
        everywhere = (slice(None), slice(None))
        parts: list[tuple[Scene, tuple, tuple]] = [(empty, everywhere, everywhere)]
        for thing in scene.objects:
            target = _cells(thing)
            if scene.background in PLAIN_RGB:
                # In the middle, so that not even the border of the picture makes a difference.
                thing = _centred(thing)
            alone = replace(empty, objects=(replace(thing, size=None),))
            parts.append((alone, _cells(thing), target))
        return parts

    @torch.no_grad()
    def _fill(self, wanted: set[Scene]) -> None:
        missing = [part for part in wanted if part not in self.cache]
        device = next(self.vqgan.parameters()).device
        for i in range(0, len(missing), 16):
            group = missing[i : i + 16]
            pixels = self.world.render(group, self.vqgan.config.resolution) * 2 - 1
            with fast_autocast(device):
                latents = self.vqgan.encode_latents(pixels.to(device))
            codes = self.vqgan.nearest(latents.float()).to(torch.int32).cpu()
            self.cache.update(zip(group, codes.unbind(), strict=True))


def _cells(thing: SceneObject) -> tuple[slice, slice]:
    """Rows and columns of the token grid that an object covers."""
    x0, y0, x1, y1 = (round(edge * GRID) for edge in thing.box)
    return slice(y0, y1), slice(x0, x1)


def _centred(thing: SceneObject) -> SceneObject:
    side = round((thing.box[2] - thing.box[0]) * GRID)
    near = (GRID - side) // 4 * 2  # on an even cell
    edges = near / GRID, (near + side) / GRID
    return replace(thing, box=(edges[0], edges[0], edges[1], edges[1]))


class CodeStore:
    """Codebook indices of scenes 0 … N of a split, grown in chunks and kept on disk.

    Args:
        folder: where shards are kept; shards of another VQGAN or of other scenes are never
            mixed in.
        vqgan: the encoder, in evaluation mode.
        world: draws the scenes.
        split: which stream of scenes.
        chunk: scenes a shard.
        sampler_options: for ``World.sampler``; no jitter, as objects must stand on whole cells.
    """

    def __init__(
        self, folder: Path, vqgan: VQGAN, world: World, split: str, chunk: int, **sampler_options
    ) -> None:
        self.chunk, self.parts = chunk, SceneCodes(vqgan, world)
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

    def grow(self) -> None:
        """Draw and encode the next chunk."""
        start = len(self)
        scenes = [self.sampler.sample(k) for k in range(start, start + self.chunk)]
        shard = self.parts.encode(scenes)
        temporary = self.folder / "shard.tmp"
        torch.save(shard, temporary)
        temporary.replace(self.folder / f"{len(self.shards):05d}.pt")
        self.shards.append(shard)

    def codes(self, indices: list[int]) -> Tensor:
        """Codes (N, grid, grid) int64 of the scenes with these numbers."""
        return torch.stack([self.shards[i // self.chunk][i % self.chunk] for i in indices]).long()

"""A growing store of encoded scenes: drawn and encoded once, trained on several times.

The encoder of a VQGAN sees the whole picture (its group norms, its wide receptive field), so the
codes of one thing change with what stands beside it: of two scenes that share an object at the
same place, 31 % of that object's codes differed, mostly by one level. A transformer pays for each
such flip and learns nothing by it. Each object is therefore encoded alone on the scene's
background, with those before it that its square overlaps, and the codes of its square are set into
the codes of what is there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pipelines.models.vqgan import VQGAN
from pipelines.world.backgrounds import PLAIN_RGB, variants
from pipelines.world.scenes import GRID, Scene, SceneObject
from training.data import World
from training.loop import fast_autocast

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
        variant = scene.seed % variants(scene.background)
        empty = Scene("single", (), None, scene.background, False, scene.medium, variant)
        everywhere = (slice(None), slice(None))
        parts: list[tuple[Scene, tuple, tuple]] = [(empty, everywhere, everywhere)]
        for n, thing in enumerate(scene.objects):
            target = _cells(thing)
            under = [other for other in scene.objects[:n] if _overlap(other, thing)]
            if under:
                together = tuple(replace(o, size=None) for o in (*under, thing))
                parts.append((replace(empty, objects=together), target, target))
                continue
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
        size = 16 if device.type == "cpu" else 256
        for i in range(0, len(missing), size):
            group = missing[i : i + size]
            pixels = self.world.render(group, self.vqgan.config.resolution) * 2 - 1
            with exact_autocast(device):
                latents = self.vqgan.encode_latents(pixels.to(device))
            codes = self.vqgan.nearest(latents.float()).to(torch.int32).cpu()
            self.cache.update(zip(group, codes.unbind(), strict=True))


def exact_autocast(device: torch.device) -> AbstractContextManager:
    """``fast_autocast`` on a CPU, and float32 on a GPU, which has time for it.

    The closer latents are to what they are elsewhere, the fewer codes of a part flip.
    """
    return fast_autocast(device) if device.type == "cpu" else nullcontext()


def _overlap(first: SceneObject, second: SceneObject) -> bool:
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = first.box, second.box
    return ax0 < bx1 and bx0 < ax1 and ay0 < by1 and by0 < ay1


def _cells(thing: SceneObject) -> tuple[slice, slice]:
    """Rows and columns of the token grid that an object covers."""
    x0, y0, x1, y1 = (round(edge * GRID) for edge in thing.box)
    return slice(y0, y1), slice(x0, x1)


def _centred(thing: SceneObject) -> SceneObject:
    side = round((thing.box[2] - thing.box[0]) * GRID)
    near = (GRID - side) // 2
    edges = near / GRID, (near + side) / GRID
    return replace(thing, box=(edges[0], edges[0], edges[1], edges[1]))


def save_whole(tensor: Tensor, path: Path) -> None:
    """Save a tensor, whole or not at all."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    torch.save(tensor, temporary)
    temporary.replace(path)


def rows_of(shards: Sequence[Tensor], chunk: int, indices: Sequence[int]) -> Tensor:
    """Rows of shards of ``chunk`` rows each, as if they were one tensor."""
    return torch.stack([shards[i // chunk][i % chunk] for i in indices])


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
        digest = hashlib.sha256(vqgan.quant_conv.weight.detach().cpu().numpy().tobytes())
        # Scenes that are laid out in another way are other scenes.
        digest.update(repr([self.sampler.sample(i) for i in range(64)]).encode())
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
        shard = self.parts.encode(scenes)
        save_whole(shard, self.path(number))
        return shard

    def grow(self) -> None:
        """Draw and encode the next chunk."""
        self.shards.append(self.write(len(self.shards)))

    def codes(self, indices: list[int]) -> Tensor:
        """Codes (N, grid, grid) int64 of the scenes with these numbers."""
        return rows_of(self.shards, self.chunk, indices).long()

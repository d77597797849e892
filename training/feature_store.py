"""Scenes as a frozen EfficientNet-Lite0 sees them, rendered and looked at once and kept on disk.

What looks through a frozen network needs that network only once for each picture: heads then train
for as many epochs as there is time, each with new captions. A row is a scene of a split and what
became of its picture (``FATES``); both follow from its number, so that they need not be kept.

Maps are float16 arrays that are read where they lie (``numpy.memmap``).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.loading import load_model
from pipelines.models.efficientnet import EfficientNet
from pipelines.models.feature_maps import (
    COARSE_CHANNELS,
    COARSE_STRIDE,
    FINE_CHANNELS,
    FINE_STRIDE,
    MIDDLE_CHANNELS,
    MIDDLE_STRIDE,
    FeatureMaps,
    feature_maps,
)
from pipelines.models.vqgan import VQGAN
from pipelines.world.scenes import Scene
from training.data import World
from training.degrade import (
    blobbed,
    degrade,
    half_drawn,
    lose_identity,
    meaningless,
    scrambled,
    smeared,
    soften,
)
from training.loop import multiplies_bfloat16

# What becomes of a picture. After the first four its caption is true, and after the first three
# its things stand where they stood; after "blobbed" some are blobs (``FeatureStore.spoilt``), and
# after the others it shows nothing that anybody could name.
FATES = ("plain", "softened", "reconstructed", "degraded", "blobbed", "smeared", "lost",
         "half_drawn", "scrambled", "meaningless")
IN_PLACE, READABLE = 3, 4
RENDER_PX, PART = 256, 32
LOOKED_AT_ONCE = 8  # pictures; of 32, too many for a CPU's cache, each took half as long again
SHAPES = {"fine": (FINE_STRIDE, FINE_CHANNELS), "middle": (MIDDLE_STRIDE, MIDDLE_CHANNELS),
          "coarse": (COARSE_STRIDE, COARSE_CHANNELS)}


def load_features() -> EfficientNet:
    """The shipped EfficientNet-Lite0."""
    catalogue = Catalogue.load()
    module = load_model(catalogue, catalogue.get("embedded/efficientnet-lite0"))
    assert isinstance(module, EfficientNet)
    return module


def squeezed(pixels: Tensor, side_px: int) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] at another side, as the product resizes them for CLIPs."""
    if pixels.shape[-1] == side_px:
        return pixels
    return F.interpolate(pixels, (side_px, side_px), mode="bicubic", align_corners=False,
                         antialias=True).clamp(0, 1)


@torch.no_grad()
def through_codes(vqgan: VQGAN, pictures: Tensor) -> Tensor:
    """Pictures (B, 3, S, S) in [0, 1] decoded from their codes, at the same size."""
    size, device = vqgan.config.resolution, pictures.device
    with torch.autocast(device.type, torch.bfloat16, multiplies_bfloat16(device)):
        latents = vqgan.encode_latents(squeezed(pictures, size) * 2 - 1)
        pixels = vqgan.decode_indices(vqgan.nearest(latents))
    return squeezed((pixels.float().clamp(-1, 1) + 1) / 2, pictures.shape[-1])


class FeatureStore:
    """Feature maps of the scenes of one split.

    Args:
        folder: where they are kept.
        scene_of: number to scene.
        world: draws them.
        side_px: of the pictures that the classifier looks at.
        shares: of all pictures by fate; what is left stays plain.
        seed: of what is random about the fates.
        vqgan: for the fate "reconstructed", which nothing has without one.
    """

    def __init__(self, folder: Path, scene_of: Callable[[int], Scene], world: World, side_px: int,
                 shares: Mapping[str, float], seed: int, vqgan: VQGAN | None = None) -> None:
        self.folder, self.scene_of, self.world = folder, scene_of, world
        self.side_px, self.seed, self.vqgan = side_px, seed, vqgan
        self.shares = {fate: shares.get(fate, 0.0) for fate in FATES[1:]}
        self._maps: dict[str, Any] = {}
        self.count = 0
        self.refresh()

    def fate(self, number: int) -> int:
        """What becomes of the picture of a scene: an index into ``FATES``."""
        draw = random.Random(f"{self.seed}/fate/{number}").random()
        for fate, share in self.shares.items():
            draw -= share
            if draw < 0:
                return 0 if fate == "reconstructed" and self.vqgan is None else FATES.index(fate)
        return 0

    def spoilt(self, number: int) -> list[int]:
        """Which things of a scene are blobs after the fate "blobbed": at least one."""
        count = len(self.scene_of(number).objects)
        rng = random.Random(f"{self.seed}/spoilt/{number}")
        return sorted(rng.sample(range(count), rng.randint(1, count)))

    def pictures(self, numbers: Sequence[int]) -> Tensor:
        """Pictures (B, 3, side_px, side_px) float in [0, 1] of scenes, each after its fate."""
        # Rendered larger and averaged down, as pictures come in the product.
        pixels = self.world.render([self.scene_of(n) for n in numbers], RENDER_PX)
        pixels = squeezed(pixels, self.side_px)
        fates = torch.tensor([self.fate(n) for n in numbers])
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + numbers[0])
        for number, name in enumerate(FATES):
            rows = (fates == number).nonzero()[:, 0]
            if len(rows) and number:
                those = [numbers[row] for row in rows.tolist()]
                pixels[rows] = self._changed(name, pixels[rows], those, generator)
        return pixels

    def _changed(self, fate: str, pixels: Tensor, numbers: Sequence[int],
                 generator: torch.Generator) -> Tensor:
        if fate == "blobbed":
            boxes = [[self.scene_of(n).objects[k].box for k in self.spoilt(n)] for n in numbers]
            return blobbed(pixels, boxes, generator)
        if fate == "meaningless":
            return meaningless(len(pixels), self.side_px, generator)
        if fate == "reconstructed":
            assert self.vqgan is not None
            return through_codes(self.vqgan, pixels)
        if fate == "lost":
            return lose_identity(pixels)
        return {"softened": soften, "degraded": degrade, "smeared": smeared,
                "half_drawn": half_drawn, "scrambled": scrambled}[fate](pixels, generator)

    @torch.no_grad()
    def fill(self, count: int) -> None:
        """Look at scenes until there are ``count``; an interrupted call goes on where it was."""
        if self.count >= count:
            return
        image = load_features().to(memory_format=torch.channels_last)
        if multiplies_bfloat16(torch.device("cpu")):
            image = image.to(torch.bfloat16)
        started, begun = time.monotonic(), self.count
        while self.count < count:
            rows = range(self.count, min(count, self.count + PART))
            pixels = self.pictures(rows).contiguous(memory_format=torch.channels_last)
            parts = [feature_maps(image, part) for part in pixels.split(LOOKED_AT_ONCE)]
            for name, values in zip(SHAPES, map(torch.cat, zip(*parts, strict=True)), strict=True):
                with (self.folder / f"{name}.f16").open("r+b") as file:
                    # What an interrupted write left behind is written over.
                    file.seek(rows.start * 2 * values[0].numel())
                    file.write(values.half().contiguous().numpy().tobytes())
            self.count = rows.stop
            if self.count % (PART * 32) == 0 or self.count == count:
                rate = (self.count - begun) / (time.monotonic() - started)
                print(f"{self.folder.name}: {self.count} of {count}, {rate:.0f} a second",
                      flush=True)
        self.refresh()

    def refresh(self) -> None:
        """Find what is there by now: another process may be filling the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        counts = []
        for name, (stride, channels) in SHAPES.items():
            path, side = self.folder / f"{name}.f16", self.side_px // stride
            path.touch()
            count = path.stat().st_size // (2 * side * side * channels)
            counts.append(count)
            if count:
                self._maps[name] = np.memmap(path, np.float16, "r",
                                             shape=(count, side, side, channels))
        self.count = min(counts)

    def maps(self, numbers: Sequence[int]) -> FeatureMaps:
        """The maps of scenes that are there, float16."""
        rows = np.asarray(numbers)
        return FeatureMaps(*(torch.from_numpy(self._maps[name][rows]) for name in SHAPES))

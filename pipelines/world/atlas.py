"""The sprites of the world, read from ``assets/world`` as tensors ready to be placed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pipelines.world.paint import recolouring_masks
from pipelines.world.sprites import ATLAS_DIR, SpriteIndex, default_index

BASE_PX = 160
LEVELS_PX = (160, 80, 40)


class Atlas:
    """Sprites as premultiplied RGBA, in three sizes, with a mask of what a colour word paints.

    A sheet is decoded when one of its sprites is first asked for, and smaller sizes and masks are
    made then: a program that draws ten pictures does not wait for three thousand sprites.

    Args:
        index: which sprites there are.
        folder: where their sheets are.
    """

    def __init__(self, index: SpriteIndex, folder: Path = ATLAS_DIR) -> None:
        self.index, self.folder = index, folder
        count = len(index.sprites)
        # Memory that nobody has written to yet costs nothing.
        self._levels = {side: torch.empty((count, side, side, 4), dtype=torch.uint8)
                        for side in LEVELS_PX}
        self._masks = {side: torch.empty((count, side, side), dtype=torch.uint8)
                       for side in LEVELS_PX}
        self._means, self._colours = torch.empty(count), torch.empty(count, 3)
        self._sheets: set[str] = set()
        self._shrunk, self._masked = np.zeros(count, bool), np.zeros(count, bool)

    @classmethod
    def load(cls, folder: Path = ATLAS_DIR) -> Atlas:
        """The atlas of a folder."""
        return cls(SpriteIndex.load(folder), folder)

    def tiles(self, rows: Sequence[int], side: int) -> Tensor:
        """Premultiplied sprites (n, side, side, 4) uint8; ``side`` is one of ``LEVELS_PX``."""
        return torch.stack([self.tile(row, side) for row in rows])

    def tile(self, row: int, side: int) -> Tensor:
        """One premultiplied sprite (side, side, 4) uint8, not a copy."""
        self._read(self.index.sprites[row].sheet)
        if side != BASE_PX and not self._shrunk[row]:
            self._shrink(row)
        return self._levels[side][row]

    def masks(self, rows: Sequence[int], side: int) -> Tensor:
        """What a colour word paints of sprites, (n, side, side) uint8 in [0, 255]."""
        for row in rows:
            self._mask(row)
        return self._masks[side][list(rows)]

    def mean_luminance(self, rows: Sequence[int]) -> Tensor:
        """Mean luminance (n,) float in [0, 1] of sprites under their masks."""
        for row in rows:
            self._mask(row)
        return self._means[list(rows)]

    def mean_colour(self, row: int) -> Tensor:
        """Mean RGB (3,) float in [0, 1] of a sprite under its mask."""
        self._mask(row)
        return self._colours[row]

    def _read(self, sheet: str) -> None:
        if sheet in self._sheets:
            return
        side, columns = self.index.tile_px[sheet], self.index.columns[sheet]
        with Image.open(self.folder / f"{sheet}.webp") as image:
            pixels = torch.from_numpy(np.array(image.convert("RGBA")))
        rows = [row for row, sprite in enumerate(self.index.sprites) if sprite.sheet == sheet]
        for row in rows:
            y, x = (part * side for part in divmod(self.index.sprites[row].tile, columns))
            self._levels[BASE_PX][row] = _premultiplied(pixels[y : y + side, x : x + side])
        self._sheets.add(sheet)

    def _shrink(self, row: int) -> None:
        tile = self._levels[BASE_PX][row].permute(2, 0, 1)[None].float()
        for side in LEVELS_PX[1:]:
            small = F.interpolate(tile, (side, side), mode="area")[0].round().byte()
            self._levels[side][row] = small.permute(1, 2, 0)
        self._shrunk[row] = True

    def _mask(self, row: int) -> None:
        if self._masked[row]:
            return
        tile = self.tiles([row], BASE_PX).permute(0, 3, 1, 2)
        mask, self._means[row : row + 1] = recolouring_masks(tile)
        # Premultiplied, so that both sums weigh by alpha.
        weight = mask.float() / 255
        seen = (tile[:, :4].float() / 255 * weight).sum((0, 2, 3))
        self._colours[row] = seen[:3] / seen[3].clamp_min(1e-3)
        for side in LEVELS_PX:
            self._masks[side][row] = F.interpolate(mask.float(), (side, side), mode="area"
                                                   )[0, 0].round().byte()
        self._masked[row] = True


@lru_cache(maxsize=1)
def default_atlas() -> Atlas:
    """The atlas of ``assets/world``, one a process."""
    return Atlas(default_index())


def _premultiplied(tile: Tensor) -> Tensor:
    """(side, side, 4) straight RGBA uint8 to (BASE_PX, BASE_PX, 4) premultiplied."""
    tile = tile.permute(2, 0, 1).float()
    tile[:3] *= tile[3:] / 255
    if tile.shape[-1] != BASE_PX:
        tile = F.interpolate(tile[None], (BASE_PX, BASE_PX), mode="bicubic", align_corners=False)[0]
        tile = tile.clamp(0, 255)
        tile[:3] = torch.minimum(tile[:3], tile[3:])
    return tile.round().byte().permute(1, 2, 0)

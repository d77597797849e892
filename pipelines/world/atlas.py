"""The sprites of the world, loaded from ``assets/world`` as tensors ready to be placed."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

ATLAS_DIR = Path(__file__).resolve().parents[2] / "assets" / "world"
STYLES = ("noto", "twemoji", "fluent")
BASE_PX = 160
LEVELS_PX = (160, 80, 40)


class Atlas:
    """All sprites of all styles as premultiplied RGBA with a mask of what a colour word paints.

    Attributes:
        index: concept id -> row of the concept.
        levels: sprite side in px -> uint8 tensor (styles * concepts, 5, side, side); channels are
            premultiplied R, G, B, alpha, and the recolouring mask, all in [0, 255].
        mean_luminance: float tensor (styles * concepts,), mean luminance in [0, 1] under the mask.
    """

    def __init__(self, concept_ids: list[str], tiles: Tensor) -> None:
        self.concept_ids = concept_ids
        self.index = {concept: i for i, concept in enumerate(concept_ids)}
        masks, self.mean_luminance = _recolouring_masks(tiles)
        tiles = torch.cat([tiles, masks], dim=1)
        self.levels = {BASE_PX: tiles}
        for side in LEVELS_PX[1:]:
            shrunk = [
                F.interpolate(part.float(), (side, side), mode="area") for part in tiles.split(64)
            ]
            self.levels[side] = torch.cat([part.round().byte() for part in shrunk])

    def row(self, concept: str, style: str) -> int:
        """Row of a sprite in the tensors of ``levels``."""
        return STYLES.index(style) * len(self.concept_ids) + self.index[concept]

    @classmethod
    def load(cls, folder: Path = ATLAS_DIR) -> Atlas:
        """Read the sheets of ``folder``; about two seconds and 250 MB of host memory."""
        index = json.loads((folder / "index.json").read_text())
        concept_ids, columns = index["concepts"], index["columns"]
        tiles = []
        for style in STYLES:
            side = index["tile_px"][style]
            with Image.open(folder / f"{style}.webp") as sheet:
                pixels = np.asarray(sheet.convert("RGBA"))
            for i in range(len(concept_ids)):
                y, x = i // columns * side, i % columns * side
                tile = torch.from_numpy(pixels[y : y + side, x : x + side].copy()).permute(2, 0, 1)
                tiles.append(_premultiplied(tile))
        return cls(concept_ids, torch.stack(tiles))


@lru_cache(maxsize=1)
def default_atlas() -> Atlas:
    """The atlas shipped in ``assets/world``, loaded once a process."""
    return Atlas.load()


def _premultiplied(tile: Tensor) -> Tensor:
    tile = tile.float()
    tile[:3] *= tile[3:] / 255
    if tile.shape[-1] != BASE_PX:
        tile = F.interpolate(tile[None], (BASE_PX, BASE_PX), mode="bicubic", align_corners=False)[0]
        tile = tile.clamp(0, 255)
        tile[:3] = torch.minimum(tile[:3], tile[3:])
    return tile.round().byte()


def _recolouring_masks(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """What of each sprite takes a colour word, found by the hue that covers most of it.

    "A blue car" has blue paint and keeps its dark wheels and pale windows. The mask takes the
    saturated pixels within 35 degrees of the sprite's dominant hue. Where those are under a third
    of the sprite (white, black and grey things) everything but the darkest lines is painted.

    Args:
        tiles: (N, 4, H, W) uint8, premultiplied RGBA.

    Returns:
        Masks (N, 1, H, W) uint8 in [0, 255] and mean luminances (N,) float in [0, 1].
    """
    masks, means = [], []
    for part in tiles.split(32):
        pixels = part.float() / 255
        alpha = pixels[:, 3]
        rgb = pixels[:, :3] / alpha[:, None].clamp_min(1e-3)
        value, lowest = rgb.amax(1), rgb.amin(1)
        chroma = value - lowest
        saturation = chroma / value.clamp_min(1e-3)
        red, green, blue = rgb.unbind(1)
        angle = torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue)
        weight = alpha * (saturation > 0.2) * (value > 0.2) * chroma.sqrt()
        bins = ((angle / (2 * torch.pi)) % 1 * 36).long().clamp(0, 35)
        histogram = torch.zeros(len(part), 36)
        histogram.scatter_add_(1, bins.flatten(1), weight.flatten(1))
        smooth = histogram + 0.7 * (histogram.roll(1, 1) + histogram.roll(-1, 1))
        centre = (smooth.argmax(1).float() + 0.5) / 36 * 2 * torch.pi
        distance = (
            torch.remainder(angle - centre[:, None, None] + torch.pi, 2 * torch.pi) - torch.pi
        )
        near = ((35 / 180 * torch.pi * 1.3 - distance.abs()) / 0.15).clamp(0, 1)
        hue_mask = (
            near * ((saturation - 0.12) / 0.15).clamp(0, 1) * ((value - 0.12) / 0.1).clamp(0, 1)
        )
        share = (hue_mask * alpha).sum((1, 2)) / alpha.sum((1, 2)).clamp_min(1)
        body_mask = ((value - 0.22) / 0.12).clamp(0, 1)
        few = (share < 0.33)[:, None, None]
        mask = torch.where(few, body_mask, hue_mask)
        luminance = 0.299 * red + 0.587 * green + 0.114 * blue
        weight = mask * alpha
        means.append((luminance * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1))
        masks.append((mask * 255).round().byte()[:, None])
    return torch.cat(masks), torch.cat(means)

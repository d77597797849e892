"""Scenes to pictures: batched placement by ``grid_sample`` and alpha compositing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.world.atlas import LEVELS_PX, Atlas
from pipelines.world.backgrounds import PLAIN_RGB, background_bank
from pipelines.world.concepts import Concept
from pipelines.world.media import apply_media
from pipelines.world.scenes import Scene, SceneObject

# Paint is a little deeper than the plain backgrounds, so that a red apple shows on red.
PAINT_RGB = PLAIN_RGB | {
    "red": (214, 36, 40),
    "white": (244, 244, 246),
    "black": (44, 44, 50),
    "blue": (38, 98, 214),
    "green": (52, 158, 66),
    "gray": (140, 144, 150),
}


class Renderer:
    """Draws scenes.

    Args:
        atlas: the sprites.
        concepts: by id, for the colour that each thing has anyway (a red apple is not repainted).
        device: where to draw.
    """

    def __init__(
        self, atlas: Atlas, concepts: dict[str, Concept], device: torch.device | str = "cpu"
    ) -> None:
        self.atlas, self.concepts, self.device = atlas, concepts, torch.device(device)
        self.levels = {side: tiles.to(self.device) for side, tiles in atlas.levels.items()}
        self._banks: dict[int, tuple[dict[str, int], dict[str, int], Tensor]] = {}

    @torch.no_grad()
    def render(self, scenes: Sequence[Scene], size_px: int = 256) -> Tensor:
        """Draw a batch.

        Args:
            scenes: what to draw.
            size_px: side of the pictures in pixels.

        Returns:
            (B, 3, size_px, size_px) float32 in [0, 1] on the renderer's device.
        """
        first, count, bank = self._backgrounds(size_px)
        rows = [first[s.background] + s.seed % count[s.background] for s in scenes]
        canvas = bank[torch.tensor(rows, device=self.device)]
        for layer in range(max(len(scene.objects) for scene in scenes)):
            by_level: dict[int, list[int]] = {}
            for row, scene in enumerate(scenes):
                if layer < len(scene.objects):
                    by_level.setdefault(self._level(scene.objects[layer], size_px), []).append(row)
            for side, rows in by_level.items():
                objects = [scenes[row].objects[layer] for row in rows]
                outlined = [scenes[row].medium == "sticker" for row in rows]
                self._composite(canvas, rows, objects, side, outlined)
        return apply_media(canvas, [scene.medium for scene in scenes])

    def _backgrounds(self, size_px: int) -> tuple[dict[str, int], dict[str, int], Tensor]:
        """Of each background the first row and the number of variants, and all of them."""
        if size_px not in self._banks:
            bank = background_bank(size_px)
            count = {name: len(variants) for name, variants in bank.items()}
            first = dict(zip(count, itertools.accumulate(count.values(), initial=0), strict=False))
            self._banks[size_px] = first, count, torch.cat(list(bank.values())).to(self.device)
        return self._banks[size_px]

    def _level(self, thing: SceneObject, size_px: int) -> int:
        wanted = (thing.box[2] - thing.box[0]) * size_px
        return min((side for side in LEVELS_PX if side >= 0.9 * wanted), default=LEVELS_PX[0])

    def _composite(
        self,
        canvas: Tensor,
        rows: list[int],
        objects: Sequence[SceneObject],
        side: int,
        outlined: list[bool],
    ) -> None:
        """Place one object in each of the given rows of the canvas, in place."""
        sprites = self._sprites(objects, side)
        if any(outlined):
            chosen = torch.tensor(outlined, device=self.device)
            sprites[chosen] = _with_outline(sprites[chosen])
        size = canvas.shape[-1]
        box = torch.tensor([o.box for o in objects], device=self.device)
        centre, extent = (box[:, :2] + box[:, 2:]) - 1, box[:, 2:] - box[:, :2]
        flip = torch.tensor([-1.0 if o.flip else 1.0 for o in objects], device=self.device)
        theta = torch.zeros(len(objects), 2, 3, device=self.device)
        theta[:, 0, 0] = flip / extent[:, 0]
        theta[:, 1, 1] = 1 / extent[:, 1]
        theta[:, 0, 2] = -centre[:, 0] / extent[:, 0] * flip
        theta[:, 1, 2] = -centre[:, 1] / extent[:, 1]
        grid = F.affine_grid(theta, [len(objects), 4, size, size], align_corners=False)
        placed = F.grid_sample(sprites, grid, align_corners=False)
        canvas[rows] = placed[:, :3] + canvas[rows] * (1 - placed[:, 3:])

    def _sprites(self, objects: Sequence[SceneObject], side: int) -> Tensor:
        """Premultiplied RGBA (n, 4, side, side) in [0, 1], painted where a colour is stated."""
        atlas_rows = torch.tensor([self.atlas.row(o.concept, o.style) for o in objects])
        tiles = self.levels[side][atlas_rows.to(self.device)].float() / 255
        sprites, mask = tiles[:, :4].clone(), tiles[:, 4:]
        painted = [
            i
            for i, o in enumerate(objects)
            if o.colour and o.colour != self.concepts[o.concept].native_colour
        ]
        if painted:
            paint = torch.tensor(
                [PAINT_RGB[objects[i].colour or ""] for i in painted], device=self.device
            )
            mean = self.atlas.mean_luminance[atlas_rows[painted]].to(self.device)
            sprites[painted] = _painted(sprites[painted], mask[painted], paint / 255, mean)
        return sprites


def _painted(sprites: Tensor, mask: Tensor, paint: Tensor, mean_luminance: Tensor) -> Tensor:
    """Replace the hue under the mask by the paint, keeping the shading of the art."""
    alpha = sprites[:, 3:]
    rgb = sprites[:, :3] / alpha.clamp_min(1e-3)
    luminance = (rgb * rgb.new_tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)).sum(1, keepdim=True)
    ratio = luminance / mean_luminance.view(-1, 1, 1, 1).clamp_min(0.05)
    paint = paint[:, :, None, None]
    dark = paint * (0.25 + 0.75 * ratio.clamp(0, 1))
    light = paint + (1 - paint) * 0.45 * (ratio - 1).clamp(0, 1)
    colour = torch.where(ratio < 1, dark, light)
    return torch.cat([(rgb * (1 - mask) + colour * mask).clamp(0, 1) * alpha, alpha], dim=1)


def _with_outline(sprites: Tensor) -> Tensor:
    """Give sprites the white die-cut border of a sticker."""
    width = max(1, sprites.shape[-1] // 32)
    small = F.interpolate(
        F.pad(sprites, (2 * width,) * 4),
        sprites.shape[-2:],
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    border = F.max_pool2d(small[:, 3:], 2 * width + 1, 1, width)
    return torch.cat([small[:, :3] + border * (1 - small[:, 3:]), border], dim=1)

"""Scenes to pictures: sprites scaled to their boxes, painted, and laid over the background."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.world.atlas import LEVELS_PX, Atlas
from pipelines.world.backgrounds import PLAIN_RGB, background, variants
from pipelines.world.concepts import Concept
from pipelines.world.media import apply_media
from pipelines.world.paint import painted
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
PAINTS = torch.tensor(list(PAINT_RGB.values())) / 255
_CACHED_SPRITES = 4096


class Renderer:
    """Draws scenes.

    Each thing is scaled to its box and laid over that part of the canvas only: most of a picture
    is background, which costs nothing but a copy.

    Args:
        atlas: the sprites.
        concepts: by id, for the colour that each thing has anyway (a red apple is not repainted).
        device: where the pictures are wanted; media are applied there.
    """

    def __init__(
        self, atlas: Atlas, concepts: dict[str, Concept], device: torch.device | str = "cpu"
    ) -> None:
        self.atlas, self.concepts, self.device = atlas, concepts, torch.device(device)
        # Things of one look and size come again and again in training.
        self._sized = lru_cache(maxsize=_CACHED_SPRITES)(self._draw_sprite)

    @torch.no_grad()
    def render(self, scenes: Sequence[Scene], size_px: int = 256) -> Tensor:
        """Draw a batch.

        Args:
            scenes: what to draw.
            size_px: side of the pictures in pixels.

        Returns:
            (B, 3, size_px, size_px) float32 in [0, 1] on the renderer's device.
        """
        canvas = torch.empty((len(scenes), size_px, size_px, 3), dtype=torch.uint8)
        for picture, scene in zip(canvas, scenes, strict=True):
            variant = scene.seed % variants(scene.background)
            picture.copy_(background(scene.background, variant, size_px))
            for thing in scene.objects:
                self._lay(picture, thing, scene.medium == "sticker")
        pictures = canvas.to(self.device).permute(0, 3, 1, 2).to(torch.float32,
                                                                memory_format=torch.contiguous_format)
        return apply_media(pictures.mul_(1 / 255), [scene.medium for scene in scenes])

    @torch.no_grad()
    def mattes(self, scenes: Sequence[Scene], size_px: int = 256) -> Tensor:
        """How far the things of each scene cover each pixel, before any medium.

        Returns:
            (B, 1, size_px, size_px) float32 in [0, 1] on the renderer's device.
        """
        bare = torch.full((len(scenes), size_px, size_px), 255, dtype=torch.uint8)
        for picture, scene in zip(bare, scenes, strict=True):
            for thing in scene.objects:
                sprite, under, at = self._placed(thing, size_px, scene.medium == "sticker")
                picture[under] = torch.minimum(picture[under], sprite[*at, 3])
        return 1 - bare[:, None].to(self.device).float() / 255

    def _lay(self, picture: Tensor, thing: SceneObject, outlined: bool) -> None:
        """Lay one thing over a picture (size, size, 3) uint8, in place."""
        sprite, under, at = self._placed(thing, picture.shape[0], outlined)
        part, below = sprite[at].to(torch.int32), picture[under]
        # Integers: (a * b + 128) * 257 >> 16 is a * b / 255, rounded.
        behind = (below.to(torch.int32) * part[..., 3:] + 128) * 257 >> 16
        below.copy_(behind + part[..., :3])

    def _placed(self, thing: SceneObject, size: int, outlined: bool,
                ) -> tuple[Tensor, tuple[slice, slice], tuple[slice, slice]]:
        """The sprite of a thing, and rows and columns of the picture and of the sprite that it
        has within the picture."""
        x0, y0, x1, y1 = pixel_box(thing, size)
        row = self.atlas.index.row(thing.style, thing.concept, thing.look, thing.variant)
        colour, native = thing.colour, self.concepts[thing.concept].native_colour
        if colour and colour == native and self._is(row, colour):
            colour = None
        sprite = self._sized(row, x1 - x0, y1 - y0, colour, thing.flip, outlined)
        top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1, size), min(x1, size)
        return (sprite, (slice(top, bottom), slice(left, right)),
                (slice(top - y0, bottom - y0), slice(left - x0, right - x0)))

    def _is(self, row: int, colour: str) -> bool:
        """Whether a sprite has a colour by itself: apples of most art are red, cars of some."""
        away = (PAINTS - self.atlas.mean_colour(row)).square().sum(1)
        return list(PAINT_RGB).index(colour) in away.argsort()[:2].tolist()

    def _draw_sprite(self, row: int, width: int, height: int, colour: str | None, flip: bool,
                     outlined: bool) -> Tensor:
        """A sprite at its size: premultiplied RGB and 255 - alpha, (h, w, 4) uint8."""
        side = min((s for s in LEVELS_PX if s >= 0.9 * max(width, height)), default=LEVELS_PX[0])
        sprite = self.atlas.tile(row, side).permute(2, 0, 1)[None].float() / 255
        if colour:
            mask = self.atlas.masks([row], side)[:, None].float() / 255
            paint = torch.tensor([PAINT_RGB[colour]]) / 255
            sprite = painted(sprite, mask, paint, self.atlas.mean_luminance([row]))
        if outlined:
            sprite = _with_outline(sprite)
        if flip:
            sprite = sprite.flip(-1)
        if (height, width) != (side, side):
            sprite = F.interpolate(sprite, (height, width), mode="bilinear", align_corners=False,
                                   antialias=True)
        whole = (sprite[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
        alpha = whole[..., 3:]
        return torch.cat([torch.minimum(whole[..., :3], alpha), 255 - alpha], dim=2)


def pixel_box(thing: SceneObject, size_px: int) -> tuple[int, int, int, int]:
    """The square of a thing in whole pixels (x0, y0, x1, y1); it may reach out of the picture."""
    x0, y0 = round(thing.box[0] * size_px), round(thing.box[1] * size_px)
    side = max(1, round((thing.box[2] - thing.box[0]) * size_px))
    return x0, y0, x0 + side, y0 + side


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

"""Backgrounds of the world: eleven plain colours, and drawn variants of each place and backdrop."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from pipelines.world.backdrops import BACKDROPS, CANVAS_PX, RGB

PLACE_VARIANTS, BACKDROP_VARIANTS = 6, 16
PLAIN_RGB = {
    "red": (222, 58, 56),
    "orange": (245, 148, 52),
    "yellow": (250, 214, 75),
    "green": (86, 176, 92),
    "blue": (66, 126, 222),
    "purple": (141, 88, 190),
    "pink": (246, 158, 192),
    "brown": (140, 96, 66),
    "black": (26, 26, 30),
    "white": (255, 255, 255),
    "gray": (154, 158, 165),
}


def _gradient(*stops: tuple[float, RGB]) -> Image.Image:
    where = np.linspace(0, 1, CANVAS_PX)
    rows = [np.interp(where, [s[0] for s in stops], [s[1][c] for s in stops]) for c in range(3)]
    column = np.stack(rows, -1)[:, None].repeat(CANVAS_PX, 1)
    return Image.fromarray(column.round().astype(np.uint8))


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, fill: RGB) -> None:
    draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _hills(
    draw: ImageDraw.ImageDraw, y: float, height: float, fill: RGB, rng: random.Random
) -> None:
    phase, waves = rng.uniform(0, 6.3), rng.uniform(0.7, 1.4)
    line = [
        (x, y - height * math.sin(phase + waves * 6.3 * x / CANVAS_PX))
        for x in range(0, CANVAS_PX + 8, 8)
    ]
    draw.polygon([*line, (CANVAS_PX, CANVAS_PX), (0, CANVAS_PX)], fill=fill)


def _clouds(
    draw: ImageDraw.ImageDraw, rng: random.Random, number: int, fill: RGB, below: float = 0.45
) -> None:
    for _ in range(number):
        x, y = rng.uniform(0, CANVAS_PX), rng.uniform(0.05, below) * CANVAS_PX
        for dx, dy, r in ((-38, 6, 24), (0, -8, 34), (36, 4, 26), (8, 12, 28)):
            _disc(draw, x + dx, y + dy, r, fill)


def _sky(rng: random.Random) -> Image.Image:
    image = _gradient((0, (96, 170, 240)), (1, (200, 230, 252)))
    _clouds(ImageDraw.Draw(image), rng, 5, (255, 255, 255), 0.95)
    return image


def _grass(rng: random.Random) -> Image.Image:
    image = _gradient((0, (140, 202, 248)), (0.6, (214, 238, 250)))
    draw = ImageDraw.Draw(image)
    _clouds(draw, rng, 2, (255, 255, 255), 0.3)
    _hills(draw, 290, 18, (122, 196, 96), rng)
    _hills(draw, 350, 14, (92, 174, 74), rng)
    return image


def _beach(rng: random.Random) -> Image.Image:
    image = _gradient((0, (120, 196, 246)), (0.5, (206, 238, 252)))
    draw = ImageDraw.Draw(image)
    _disc(draw, rng.choice((90, 420)), 80, 40, (255, 226, 110))
    draw.rectangle((0, 256, CANVAS_PX, 352), fill=(44, 150, 200))
    draw.rectangle((0, 336, CANVAS_PX, 356), fill=(222, 244, 248))
    _hills(draw, 360, 6, (242, 216, 158), rng)
    return image


def _snow(rng: random.Random) -> Image.Image:
    image = _gradient((0, (150, 186, 222)), (0.7, (220, 233, 246)))
    draw = ImageDraw.Draw(image)
    _hills(draw, 300, 24, (232, 240, 250), rng)
    _hills(draw, 360, 16, (250, 252, 255), rng)
    for _ in range(46):
        _disc(
            draw, rng.uniform(0, CANVAS_PX), rng.uniform(0, 330), rng.uniform(4, 8), (255, 255, 255)
        )
    return image


def _night(rng: random.Random) -> Image.Image:
    image = _gradient((0, (12, 16, 48)), (1, (44, 56, 108)))
    draw = ImageDraw.Draw(image)
    for _ in range(36):
        _disc(
            draw,
            rng.uniform(0, CANVAS_PX),
            rng.uniform(0, 420),
            rng.uniform(2, 4.5),
            (250, 246, 214),
        )
    x = rng.choice((80, 430))
    _disc(draw, x, 84, 42, (250, 240, 190))
    _disc(draw, x + 20, 74, 36, (18, 24, 60))
    _hills(draw, 430, 14, (16, 22, 44), rng)
    return image


def _sunset(rng: random.Random) -> Image.Image:
    image = _gradient((0, (92, 60, 140)), (0.35, (226, 96, 110)), (0.7, (255, 188, 96)))
    draw = ImageDraw.Draw(image)
    _disc(draw, rng.choice((150, 360)), 340, 62, (255, 236, 150))
    _hills(draw, 372, 10, (84, 44, 80), rng)
    return image


def _desert(rng: random.Random) -> Image.Image:
    image = _gradient((0, (150, 208, 240)), (0.6, (252, 236, 200)))
    draw = ImageDraw.Draw(image)
    _disc(draw, rng.choice((96, 416)), 84, 38, (255, 238, 160))
    _hills(draw, 300, 34, (236, 184, 112), rng)
    _hills(draw, 370, 26, (222, 160, 86), rng)
    return image


def _space(rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (CANVAS_PX, CANVAS_PX), (8, 8, 24))
    draw = ImageDraw.Draw(image)
    for fill in ((60, 24, 96), (20, 40, 104)):
        _disc(draw, rng.uniform(100, 412), rng.uniform(100, 412), 120, fill)
    image = image.filter(ImageFilter.GaussianBlur(60))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        _disc(
            draw,
            rng.uniform(0, CANVAS_PX),
            rng.uniform(0, CANVAS_PX),
            rng.uniform(1.5, 4),
            (240, 240, 255),
        )
    _disc(draw, rng.choice((70, 440)), 80, 40, (206, 130, 90))
    return image


def _underwater(rng: random.Random) -> Image.Image:
    image = _gradient((0, (90, 206, 226)), (1, (12, 76, 140)))
    draw = ImageDraw.Draw(image)
    for _ in range(26):
        x, y, r = rng.uniform(0, CANVAS_PX), rng.uniform(0, 440), rng.uniform(5, 13)
        _disc(draw, x, y, r, (190, 238, 246))
        _disc(draw, x, y, r * 0.7, (90, 186, 214))
    _hills(draw, 456, 12, (206, 190, 140), rng)
    return image


def _forest(rng: random.Random) -> Image.Image:
    image = _gradient((0, (176, 216, 180)), (1, (96, 150, 96)))
    draw = ImageDraw.Draw(image)
    for i in range(7):
        x = 20 + i * 78 + rng.uniform(-16, 16)
        draw.rectangle((x - 9, 60, x + 9, 400), fill=(104, 74, 52))
        for dy, w in ((40, 60), (110, 70), (180, 80)):
            draw.polygon(
                [(x, dy - 60), (x - w / 1.6, dy + 50), (x + w / 1.6, dy + 50)], fill=(48, 112, 66)
            )
    _hills(draw, 400, 8, (74, 120, 58), rng)
    return image


def _city(rng: random.Random) -> Image.Image:
    image = _gradient((0, (150, 196, 232)), (0.8, (226, 236, 244)))
    draw = ImageDraw.Draw(image)
    x = 0
    while x < CANVAS_PX:
        width, top = rng.choice((64, 80, 96)), rng.uniform(110, 280)
        tone = rng.choice(((112, 124, 146), (134, 142, 160), (96, 108, 132)))
        draw.rectangle((x, top, x + width - 6, 420), fill=tone)
        for wy in range(int(top) + 16, 400, 32):
            for wx in range(int(x) + 12, int(x) + width - 20, 22):
                draw.rectangle((wx, wy, wx + 10, wy + 14), fill=(240, 226, 150))
        x += width
    draw.rectangle((0, 410, CANVAS_PX, CANVAS_PX), fill=(92, 94, 102))
    draw.rectangle((0, 404, CANVAS_PX, 418), fill=(190, 192, 196))
    return image


def _room(rng: random.Random) -> Image.Image:
    wall = rng.choice(((238, 220, 196), (214, 226, 214), (222, 214, 232)))
    image = Image.new("RGB", (CANVAS_PX, CANVAS_PX), wall)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 380, CANVAS_PX, CANVAS_PX), fill=(172, 124, 84))
    draw.rectangle((0, 370, CANVAS_PX, 384), fill=(250, 246, 240))
    x = rng.choice((60, 340))
    draw.rectangle((x - 8, 52, x + 128, 198), fill=(250, 246, 240))
    draw.rectangle((x, 60, x + 120, 190), fill=(158, 208, 242))
    draw.rectangle((x + 57, 60, x + 63, 190), fill=(250, 246, 240))
    return image


PAINTERS: dict[str, Callable[[random.Random], Image.Image]] = {
    "sky": _sky,
    "grass": _grass,
    "beach": _beach,
    "snow": _snow,
    "night": _night,
    "sunset": _sunset,
    "desert": _desert,
    "space": _space,
    "underwater": _underwater,
    "forest": _forest,
    "city": _city,
    "room": _room,
}


def variants(name: str) -> int:
    """How many pictures there are of a background; of a plain colour there is one."""
    if name in PLAIN_RGB:
        return 1
    return PLACE_VARIANTS if name in PAINTERS else BACKDROP_VARIANTS


@lru_cache(maxsize=1024)
def background(name: str, variant: int, size_px: int) -> Tensor:
    """One background.

    Args:
        name: a colour, a place or a backdrop.
        variant: which of its pictures, below ``variants(name)``.
        size_px: side of the picture in pixels.

    Returns:
        (size_px, size_px, 3) uint8.
    """
    if name in PLAIN_RGB:
        rgb = torch.tensor(PLAIN_RGB[name], dtype=torch.uint8)
        return rgb.expand(size_px, size_px, 3).clone()
    paint = PAINTERS.get(name) or BACKDROPS[name]
    drawn = paint(random.Random(f"{name}/{variant}"))
    small = drawn.resize((size_px, size_px), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small))

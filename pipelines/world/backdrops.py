"""What stands behind things where the caption says nothing: tints, gradients, patterns."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CANVAS_PX = 512
RGB = tuple[int, int, int]
_PASTELS: tuple[RGB, ...] = ((250, 236, 214), (214, 236, 224), (226, 218, 242), (250, 222, 212),
                             (210, 230, 246), (246, 240, 190), (236, 216, 226), (222, 226, 230))
_STRONG: tuple[RGB, ...] = ((232, 106, 88), (242, 176, 84), (108, 176, 150), (92, 140, 196),
                            (150, 118, 178), (92, 108, 128), (206, 130, 150), (136, 170, 92))


def _plain(rgb: RGB) -> Image.Image:
    return Image.new("RGB", (CANVAS_PX, CANVAS_PX), rgb)


def _slope(first: RGB, second: RGB, angle: float) -> Image.Image:
    at = np.linspace(-1, 1, CANVAS_PX)
    along = (at[None] * math.cos(angle) + at[:, None] * math.sin(angle)) / 2.8 + 0.5
    mixed = np.array(first) + along[..., None].clip(0, 1) * (np.array(second) - np.array(first))
    return Image.fromarray(mixed.round().astype(np.uint8))


def pastel(rng: random.Random) -> Image.Image:
    """A pale tint."""
    return _plain(rng.choice(_PASTELS))


def strong(rng: random.Random) -> Image.Image:
    """A soft full colour."""
    return _plain(rng.choice(_STRONG))


def dark(rng: random.Random) -> Image.Image:
    """A dark tint."""
    return _plain(rng.choice(((34, 44, 72), (44, 48, 54), (52, 36, 58), (28, 58, 60))))


def gradient(rng: random.Random) -> Image.Image:
    """One tint passing into another."""
    first, second = rng.sample(_PASTELS if rng.random() < 0.5 else _STRONG, 2)
    return _slope(first, second, rng.uniform(0, 6.28))


def studio(rng: random.Random) -> Image.Image:
    """Light from the middle, as behind portraits."""
    tint = np.array(rng.choice(_STRONG + _PASTELS), dtype=float)
    at = np.linspace(-1, 1, CANVAS_PX)
    far = (np.hypot(at[None] - rng.uniform(-0.3, 0.3), at[:, None] + 0.2) / 1.3).clip(0, 1)
    light = 0.35 * 255 + 0.65 * tint
    mixed = light + far[..., None] * (tint * 0.62 - light)
    return Image.fromarray(mixed.round().astype(np.uint8))


def stripes(rng: random.Random) -> Image.Image:
    """Broad stripes of two near tints."""
    first = rng.choice(_PASTELS)
    second = tuple(round(0.86 * c) for c in first)
    image, wide = _plain(first), rng.choice((32, 48, 64))
    draw = ImageDraw.Draw(image)
    for k in range(0, CANVAS_PX, 2 * wide):
        upright = (k, 0, k + wide - 1, CANVAS_PX)
        draw.rectangle(upright, fill=second)
    return image.transpose(Image.Transpose.ROTATE_90) if rng.random() < 0.4 else image


def dots(rng: random.Random) -> Image.Image:
    """Dots on a tint."""
    first, step = rng.choice(_PASTELS + _STRONG[:4]), rng.choice((48, 64))
    second = tuple(min(255, round(0.5 * c + 128)) for c in first)
    image = _plain(first)
    draw = ImageDraw.Draw(image)
    for row, y in enumerate(range(0, CANVAS_PX + step, step)):
        for x in range(step // 2 * (row % 2), CANVAS_PX + step, step):
            draw.ellipse((x - 9, y - 9, x + 9, y + 9), fill=second)
    return image


def checks(rng: random.Random) -> Image.Image:
    """A chequered cloth."""
    first, side = rng.choice(_PASTELS), rng.choice((64, 85, 128))
    image = _plain(first)
    draw = ImageDraw.Draw(image)
    second = tuple(round(0.84 * c) for c in first)
    for row in range(CANVAS_PX // side + 1):
        for column in range(row % 2, CANVAS_PX // side + 1, 2):
            x, y = column * side, row * side
            draw.rectangle((x, y, x + side - 1, y + side - 1), fill=second)
    return image


def paper(rng: random.Random) -> Image.Image:
    """Uneven paper, or a rough wall."""
    noise = np.random.default_rng(rng.randrange(2**32)).normal(0, 1, (24, 24, 1))
    tint = np.array(rng.choice(_PASTELS), dtype=float)
    rough = (tint + 5 * noise).clip(0, 255).astype(np.uint8)
    return Image.fromarray(rough).resize((CANVAS_PX, CANVAS_PX), Image.Resampling.BICUBIC)


def lights(rng: random.Random) -> Image.Image:
    """Lights out of focus."""
    image = _slope(rng.choice(_STRONG), (40, 44, 66), rng.uniform(0, 6.28))
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(18):
        x, y = rng.uniform(0, CANVAS_PX), rng.uniform(0, CANVAS_PX)
        r = rng.uniform(16, 46)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(*rng.choice(_PASTELS), 90))
    return image.filter(ImageFilter.GaussianBlur(5))


def table(rng: random.Random) -> Image.Image:
    """A wall and a table top."""
    wall, board = rng.choice(_PASTELS), rng.choice(((170, 122, 84), (206, 168, 122), (120, 88, 66)))
    red, green, blue = wall
    image = _slope(wall, (round(0.9 * red), round(0.9 * green), round(0.9 * blue)), 1.57)
    draw = ImageDraw.Draw(image)
    edge = rng.randint(300, 380)
    draw.rectangle((0, edge, CANVAS_PX, CANVAS_PX), fill=board)
    for y in range(edge + 12, CANVAS_PX, 26):
        draw.line((0, y, CANVAS_PX, y), fill=tuple(round(0.92 * c) for c in board), width=3)
    return image


BACKDROPS: dict[str, Callable[[random.Random], Image.Image]] = {
    "pastel": pastel, "strong": strong, "dark": dark, "gradient": gradient, "studio": studio,
    "stripes": stripes, "dots": dots, "checks": checks, "paper": paper, "lights": lights,
    "table": table,
}

"""Proportions of a picture as people write them, "16:9", and the sides that follow from them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from pipelines.core.errors import InvalidRequest

SQUARE = "1:1"
MAX_ASPECT = 4.0  # of the longer side to the shorter one
_ASPECT = re.compile(r"(\d{1,4}(?:\.\d{1,4})?)\s?[:x×/]\s?(\d{1,4}(?:\.\d{1,4})?)", re.ASCII)


def parse_aspect(text: str) -> float:
    """Width over height of "W:H", such as "3:2"; "×", "x" and "/" do as well.

    Raises:
        InvalidRequest: it is no such text, or one side is more than ``MAX_ASPECT`` times the other.
    """
    found = _ASPECT.fullmatch(text.strip())
    width, height = (float(side) for side in found.groups()) if found else (0.0, 0.0)
    if not width or not height:
        raise InvalidRequest("Proportions are written as width:height, such as 3:2, not {!r}.",
                             text[:20], field="aspect")
    if not 1 / MAX_ASPECT <= width / height <= MAX_ASPECT:
        raise InvalidRequest("Proportions of {} are too long: one side may be up to {:g} times the "
                             "other.", text.strip(), MAX_ASPECT, field="aspect")
    return width / height


def sides_px(size_px: int, aspect: float, multiple_px: int) -> tuple[int, int]:
    """Height and width of a picture with about as many pixels as a square.

    Args:
        size_px: side of the square.
        aspect: width over height.
        multiple_px: both sides are whole numbers of so many pixels.
    """
    root = math.sqrt(aspect)
    height, width = (max(1, round(side / multiple_px)) * multiple_px
                     for side in (size_px / root, size_px * root))
    return height, width


def oblongs_px(sizes_px: Iterable[int], multiple_px: int,
               ) -> dict[tuple[int, int], tuple[int, str]]:
    """Every picture but squares that ``sides_px`` makes.

    Args:
        sizes_px: sides of the squares that there are; of two that make the same, the first counts.
        multiple_px: both sides are whole numbers of so many pixels.

    Returns:
        The side of the square and proportions that make it, by width and height; proportions are
        the picture's own where these make it.
    """
    own: dict[tuple[int, int], tuple[int, str]] = {}
    others: dict[tuple[int, int], tuple[int, str]] = {}
    for size_px in sizes_px:
        side = size_px / multiple_px
        root = math.sqrt(MAX_ASPECT)
        for width in range(max(1, int(side / root)), round(side * root) + 1):
            # Heights that round to the same as those of a width between this and the next.
            heights = (side**2 / (width + 0.5), side**2 / (width - 0.5))
            for height in range(max(1, round(heights[0])), round(heights[1]) + 1):
                shape = width * multiple_px, height * multiple_px
                if width == height:
                    continue
                common = math.gcd(*shape)
                text = f"{shape[0] // common}:{shape[1] // common}"
                if _makes(size_px, text, shape, multiple_px):
                    own.setdefault(shape, (size_px, text))
                elif _makes(size_px, text := _between(side, width, height), shape, multiple_px):
                    others.setdefault(shape, (size_px, text))
    return own | {shape: made for shape, made in others.items() if shape not in own}


def _makes(size_px: int, text: str, shape: tuple[int, int], multiple_px: int) -> bool:
    try:
        return sides_px(size_px, parse_aspect(text), multiple_px) == (shape[1], shape[0])
    except InvalidRequest:
        return False


def _between(side: float, width: int, height: int) -> str:
    """Proportions in the middle of those whose sides round to these; others where there are none.

    Args:
        side: of the square, and so ``width`` and ``height``, in steps.
    """
    root = math.sqrt(MAX_ASPECT)
    low = max((width - 0.5) / side, side / (height + 0.5), 1 / root)
    high = min((width + 0.5) / side, side / (height - 0.5), root)
    aspect = ((low + high) / 2)**2
    return f"{aspect:.4f}:1" if aspect > 1 else f"1:{1 / aspect:.4f}"

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


def oblongs_px(sizes_px: Iterable[int], multiple_px: int) -> dict[tuple[int, int], int]:
    """Every picture but squares that ``sides_px`` makes of its own proportions exactly.

    Args:
        sizes_px: sides of the squares that there are; of two that make the same, the first counts.
        multiple_px: both sides are whole numbers of so many pixels.

    Returns:
        The side of the square by width and height.
    """
    found: dict[tuple[int, int], int] = {}
    for size_px in sizes_px:
        longest = int(size_px * math.sqrt(MAX_ASPECT)) // multiple_px + 1
        for width_px in range(multiple_px, (longest + 1) * multiple_px, multiple_px):
            # Rounding of both sides moves the area by less than one step of the shorter one.
            middle = round(size_px**2 / width_px / multiple_px)
            for steps in range(max(1, middle - 1), middle + 2):
                height_px = steps * multiple_px
                aspect = width_px / height_px
                if (aspect != 1 and 1 / MAX_ASPECT <= aspect <= MAX_ASPECT
                        and sides_px(size_px, aspect, multiple_px) == (height_px, width_px)):
                    found.setdefault((width_px, height_px), size_px)
    return found

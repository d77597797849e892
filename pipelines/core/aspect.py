"""Proportions of a picture as people write them, "16:9", and the sides that follow from them."""

from __future__ import annotations

import math
import re

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

"""A grid of pictures with its labels as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, BLANK = (255, 255, 255), (20, 19, 17), (242, 240, 235)
GAP_PX, MAX_LABEL_LINES = 8, 3

_FONT = Path("templates", "frontend", "static", "fonts", "IBMPlexSans", "IBMPlexSans-Regular.woff2")


@lru_cache(maxsize=8)
def label_font(size_px: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """IBM Plex Sans, the page's font, which comes with Gradio and knows accents.

    Pillow's own font, which draws "maçã" with boxes, stands in where that file cannot be read.
    """
    gradio = find_spec("gradio")
    for folder in (gradio.submodule_search_locations or () if gradio else ()):
        try:
            return ImageFont.truetype(str(Path(folder) / _FONT), size_px)
        except OSError:  # another Gradio, or a FreeType that cannot unpack it
            continue
    return ImageFont.load_default(size_px)


def _wrap(text: str, width_px: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
          lines: int = MAX_LABEL_LINES) -> list[str]:
    """A text in lines that fit a width; what does not fit the last one ends in an ellipsis."""
    found, words = [""], text.split()
    for word in words:
        longer = f"{found[-1]} {word}".strip()
        if font.getlength(longer) <= width_px or not found[-1]:
            found[-1] = longer
        else:
            found.append(word)
    cut = len(found) > lines
    found = found[:lines]
    for index, line in enumerate(found):
        last = cut and index == len(found) - 1
        while line and font.getlength(line + ("…" if last else "")) > width_px:
            line, last = line[:-1], True
        found[index] = line + ("…" if last else "")
    return found


def draw_grid(cells: Sequence[np.ndarray | None], columns: Sequence[str], rows: Sequence[str],
              title: str = "", cell_px: int = 256) -> np.ndarray:
    """One picture of all cells, with labels above the columns and beside the rows.

    Args:
        cells: (H, W, 3) uint8 RGB each, row by row; None leaves a cell blank.
        columns: a label for each column, empty for none.
        rows: a label for each row, empty for none.
        title: above everything; empty for none.
        cell_px: side of a cell.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: there are not as many cells as rows times columns.
    """
    if len(cells) != len(columns) * len(rows) or not cells:
        raise ValueError(f"{len(cells)} cells do not fill {len(rows)} rows of {len(columns)}")
    size_px = max(11, cell_px // 16)
    font, line_px = label_font(size_px), round(size_px * 1.35)
    label_px = round(cell_px * 0.6) if any(rows) else 0
    heads = [_wrap(label, cell_px, font) for label in columns]
    head_px = line_px * max(map(len, heads)) + GAP_PX if any(columns) else 0
    width = label_px + len(columns) * (cell_px + GAP_PX) + GAP_PX
    titles = _wrap(title, width - 2 * GAP_PX, font, 2) if title else []
    top = GAP_PX + line_px * len(titles) + (GAP_PX if titles else 0) + head_px
    canvas = Image.new("RGB", (width, top + len(rows) * (cell_px + GAP_PX)), PAPER)
    draw = ImageDraw.Draw(canvas)
    _write(draw, titles, GAP_PX, GAP_PX, font, line_px)
    for column, lines in enumerate(heads):
        _write(draw, lines, label_px + GAP_PX + column * (cell_px + GAP_PX), top - head_px, font,
               line_px)
    for row, label in enumerate(rows):
        y = top + row * (cell_px + GAP_PX)
        _write(draw, _wrap(label, label_px - GAP_PX, font, 6) if label else [], GAP_PX, y, font,
               line_px)
        for column in range(len(columns)):
            x = label_px + GAP_PX + column * (cell_px + GAP_PX)
            _paste(canvas, cells[row * len(columns) + column], x, y, cell_px)
    return np.array(canvas)


def _write(draw: ImageDraw.ImageDraw, lines: Sequence[str], x: int, y: int,
           font: ImageFont.ImageFont | ImageFont.FreeTypeFont, line_px: int) -> None:
    for number, line in enumerate(lines):
        draw.text((x, y + number * line_px), line, fill=INK, font=font)


def _paste(canvas: Image.Image, cell: np.ndarray | None, x: int, y: int, side_px: int) -> None:
    if cell is None:
        canvas.paste(BLANK, (x, y, x + side_px, y + side_px))
        return
    picture = Image.fromarray(cell)
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    if picture.width < side_px and picture.height < side_px:
        scale = side_px / max(picture.size)
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)),
                                 Image.Resampling.LANCZOS)
    canvas.paste(picture, (x + (side_px - picture.width) // 2, y + (side_px - picture.height) // 2))

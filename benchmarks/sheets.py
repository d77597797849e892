"""Contact sheets: what ``compose`` judged, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from easel.compare.grid import label_font

COLUMNS = 8
THUMB_PX = 160
LINE_PX, FONT_PX = 13, 11
TEXT_LINES = 3
CHARS = 27
FRAME = {True: (40, 160, 70), False: (205, 50, 50), None: (226, 226, 226)}


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > CHARS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines[:TEXT_LINES]


def contact_sheet(cells: Sequence[tuple[np.ndarray, str, bool | None]], path: Path) -> None:
    """Write a sheet of pictures with their prompts, framed green where right and red where not.

    Args:
        cells: picture (H, W, 3) uint8, prompt, and whether the judge holds it to be right, None
            where nobody judged.
        path: the file to write, PNG or WebP by its name.
    """
    height = THUMB_PX + LINE_PX * TEXT_LINES + 6
    rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * THUMB_PX, max(1, rows) * height), "white")
    draw, font = ImageDraw.Draw(sheet), label_font(FONT_PX)
    for i, (picture, text, right) in enumerate(cells):
        x, y = i % COLUMNS * THUMB_PX, i // COLUMNS * height
        draw.rectangle((x, y, x + THUMB_PX - 3, y + THUMB_PX - 3), fill=FRAME[right])
        inner = THUMB_PX - 9
        sheet.paste(Image.fromarray(picture).resize((inner, inner), Image.Resampling.LANCZOS),
                    (x + 3, y + 3))
        for line, words in enumerate(_wrapped(text)):
            draw.text((x + 2, y + THUMB_PX - 2 + line * LINE_PX), words, fill="black",
                      font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)

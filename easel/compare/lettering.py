"""The font of labels inside pictures."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

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

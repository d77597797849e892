"""Build the sprite atlas of the world from freely licensed emoji art.

Run once when the concepts change (needs ``resvg_py`` and the three art sources unpacked):

    python -m pipelines.world.build_atlas --twemoji DIR --fluent DIR --noto NotoColorEmoji.ttf

``--twemoji`` is the unpacked npm package ``@twemoji/svg`` 15.0.0, ``--fluent`` the folder ``icons``
of npm ``fluentui-emoji`` 1.3.0 and ``--noto`` the font of Debian's ``fonts-noto-color-emoji``.
Writes ``assets/world/{noto,twemoji,fluent}.webp`` (lossless sheets of square RGBA tiles) and
``assets/world/index.json``.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.world.atlas import ATLAS_DIR, STYLES
from pipelines.world.concepts import Concept, load_concepts

TILE_PX = {"noto": 128, "twemoji": 160, "fluent": 160}
# The only strike of the Noto bitmap font is 109 px per em; its glyphs are 136 by 128 px.
NOTO_EM_PX, NOTO_GLYPH_PX = 109, (136, 128)


def rasterise_svg(path: Path, size_px: int) -> Image.Image:
    """Rasterise one SVG file.

    Args:
        path: the SVG file.
        size_px: width and height of the result, in pixels.

    Returns:
        An RGBA image of ``size_px`` squared.
    """
    import resvg_py

    png = bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=size_px, height=size_px))
    return Image.open(io.BytesIO(png)).convert("RGBA")


def noto_glyph(hexcode: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Draw one emoji sequence, given as dashed hex code points, with the Noto bitmap font."""
    points = [chr(int(part, 16)) for part in hexcode.split("-")]
    for text in (
        "".join(points),
        "".join(points) + "\ufe0f",
        points[0] + "\ufe0f" + "".join(points[1:]),
    ):
        if font.getlength(text) <= NOTO_GLYPH_PX[0] + 1:
            glyph = Image.new("RGBA", NOTO_GLYPH_PX)
            ImageDraw.Draw(glyph).text((0, 0), text, font=font, embedded_color=True)
            box = glyph.getbbox()
            if box and box[2] > 40:
                return glyph
    raise ValueError(f"the Noto font has no single glyph for {hexcode}")


def normalise(sprite: Image.Image, tile_px: int) -> Image.Image:
    """Crop a sprite to its visible part, scale its longer side to the tile and centre it.

    Equal extents make "the same size" mean the same for every concept, whatever margins an art
    source leaves around its glyphs.
    """
    alpha = np.asarray(sprite)[..., 3] > 12
    rows, columns = np.where(alpha.any(1))[0], np.where(alpha.any(0))[0]
    sprite = sprite.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    scale = (tile_px - 2) / max(sprite.size)
    width, height = (max(1, round(side * scale)) for side in sprite.size)
    # Premultiplied resampling: transparent pixels must not bleed their colour into edges.
    sprite = (
        sprite.convert("RGBa").resize((width, height), Image.Resampling.LANCZOS).convert("RGBA")
    )
    tile = Image.new("RGBA", (tile_px, tile_px))
    tile.paste(sprite, ((tile_px - width) // 2, (tile_px - height) // 2))
    pixels = np.array(tile)
    pixels[pixels[..., 3] < 4] = 0  # invisible colours only cost bytes
    return Image.fromarray(pixels, "RGBA")


def find_twemoji(folder: Path, hexcode: str) -> Path:
    """The Twemoji file of an emoji: its names keep or drop the variation selector."""
    wanted = hexcode.replace("-fe0f", "")
    for path in (folder / f"{hexcode}.svg", folder / f"{wanted}.svg"):
        if path.exists():
            return path
    for path in folder.glob(f"{wanted.split('-')[0]}*.svg"):
        if path.stem.replace("-fe0f", "") == wanted:
            return path
    raise FileNotFoundError(f"Twemoji has no file for {hexcode}")


def sprite(concept: Concept, style: str, sources: dict[str, Path], font) -> Image.Image:
    """One concept in one style, as a normalised RGBA tile."""
    tile_px = TILE_PX[style]
    if style == "noto":
        return normalise(noto_glyph(concept.hex, font), tile_px)
    if style == "twemoji":
        path = find_twemoji(sources["twemoji"], concept.hex)
    else:
        path = sources["fluent"] / "modern" / f"{concept.fluent}.svg"
    return normalise(rasterise_svg(path, 2 * tile_px), tile_px)


def main() -> None:
    """Draw every concept in every style and write the sheets and their index."""
    parser = argparse.ArgumentParser(description=__doc__ and __doc__.splitlines()[0])
    parser.add_argument("--twemoji", type=Path, required=True)
    parser.add_argument("--fluent", type=Path, required=True)
    parser.add_argument("--noto", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ATLAS_DIR)
    arguments = parser.parse_args()
    concepts = load_concepts()
    font = ImageFont.truetype(str(arguments.noto), NOTO_EM_PX)
    sources = {"twemoji": arguments.twemoji, "fluent": arguments.fluent}
    columns = math.ceil(math.sqrt(len(concepts)))
    rows = math.ceil(len(concepts) / columns)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for style in STYLES:
        tile_px = TILE_PX[style]
        sheet = Image.new("RGBA", (columns * tile_px, rows * tile_px))
        for i, concept in enumerate(concepts):
            where = (i % columns * tile_px, i // columns * tile_px)
            sheet.paste(sprite(concept, style, sources, font), where)
        path = arguments.out / f"{style}.webp"
        sheet.save(path, lossless=True, quality=100, method=4, exact=True)
        print(f"{path}: {len(concepts)} sprites, {path.stat().st_size / 1e6:.1f} MB")
    index = {"columns": columns, "tile_px": TILE_PX, "concepts": [c.id for c in concepts]}
    (arguments.out / "index.json").write_text(json.dumps(index, indent=0) + "\n")


if __name__ == "__main__":
    main()

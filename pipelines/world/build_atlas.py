"""Build the sheets of the world's sprites from freely licensed art.

Run when the concepts or the chosen art change (needs ``resvg_py``, and ``dpkg-deb`` for two of the
sources), with a folder that holds the archives named in ``pipelines/world/art_sources.py`` as
``npm pack`` and ``apt-get download`` leave them, and the font of Debian's
``fonts-noto-color-emoji``:

    python -m pipelines.world.build_atlas ARCHIVES --noto NotoColorEmoji.ttf [--only photo clipart]

Writes ``assets/world/*.webp`` (sheets of square RGBA tiles) and ``assets/world/index.json``, which
says what each tile shows.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.world.art_sources import (
    IconSet,
    chosen_art,
    emoji_file,
    fx_names,
    rasterised,
    recoloured,
    sized,
    unpack,
    with_tone,
)
from pipelines.world.concepts import Concept, load_concepts
from pipelines.world.sprites import ATLAS_DIR, TONES

# The only strike of the Noto bitmap font is 109 px per em; its glyphs are 136 by 128 px.
NOTO_EM_PX, NOTO_GLYPH_PX = 109, (136, 128)
MODIFIERS = {"light": "1f3fb", "medium": "1f3fd", "dark": "1f3ff"}
# What stands for skin and hair in the SVGs of two sets, and what becomes of it.
TWEMOJI_SKIN = {
    "light": {"#ffdc5d": "#f7dece", "#ffdb5e": "#f7dece", "#f9ca55": "#eec2ad",
              "#f8c954": "#eec2ad", "#ffac33": "#292f33"},
    "medium": {"#ffdc5d": "#d5ab88", "#ffdb5e": "#d5ab88", "#f9ca55": "#cc9b7a",
               "#f8c954": "#cc9b7a", "#ffac33": "#963b22"},
    "dark": {"#ffdc5d": "#7c533e", "#ffdb5e": "#7c533e", "#f9ca55": "#664131",
             "#f8c954": "#664131", "#ffac33": "#0b0200", "#c1694f": "#3d2e24"},
}
TWEMOJI_GREY = {"#ffac33": "#ccd6dd", "#662113": "#99aab5"}
NOTO_GREY = {"#543930": "#c9c9c9", "#6d4c41": "#a6a6a6", "#1a1717": "#c9c9c9",
             "#444140": "#a6a6a6", "#3c2b24": "#8d8d8d", "#5d4037": "#b5b5b5",
             "#312d2d": "#b5b5b5", "#232020": "#c9c9c9"}
Drawn = tuple[str, str, Image.Image]


@dataclass(frozen=True)
class Sheet:
    """One file: the art style that its tiles belong to, the side of a tile, and how it is kept.

    Attributes:
        draw: yields (concept id, look, picture) of each tile.
        quality: of lossy WebP, or None for a lossless file.
    """

    style: str
    tile_px: int
    draw: Callable[[Path, Sequence[Concept]], Iterator[Drawn]]
    quality: int | None = None


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
    if not len(rows):
        raise ValueError("the sprite shows nothing")
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


def _people(concepts: Sequence[Concept]) -> list[Concept]:
    return [c for c in concepts if c.group == "person"]


@lru_cache(maxsize=8)
def _icons(folder: Path) -> IconSet:
    return IconSet(folder)


def _twemoji_svg(sources: Path, concept: Concept) -> str:
    path = emoji_file(sources / "twemoji" / "package", concept.hex, ".svg")
    if path is None:
        raise FileNotFoundError(f"Twemoji has no file for {concept.hex}")
    return path.read_text()


def _noto(sources: Path, concepts: Sequence[Concept]) -> Iterator[Drawn]:
    font = ImageFont.truetype(str(sources / "NotoColorEmoji.ttf"), NOTO_EM_PX)
    for c in concepts:
        yield c.id, "", noto_glyph(c.hex, font)


def _twemoji(sources: Path, concepts: Sequence[Concept]) -> Iterator[Drawn]:
    for c in concepts:
        yield c.id, "", rasterised(_twemoji_svg(sources, c), 320)


def _fluent(sources: Path, concepts: Sequence[Concept]) -> Iterator[Drawn]:
    for c in concepts:
        path = sources / "fluent" / "package" / "icons" / "modern" / f"{c.fluent}.svg"
        yield c.id, "", rasterised(path.read_text(), 320)


def _fluent3d(sources: Path, concepts: Sequence[Concept]) -> Iterator[Drawn]:
    folder = sources / "fluent3d" / "package" / "assets"
    for c in concepts:
        for look, modifier in {"": "", **(MODIFIERS if c.group == "person" else {})}.items():
            hexcode = with_tone(c.hex, modifier) if modifier else c.hex
            path = emoji_file(folder, hexcode, ".webp")
            if path is not None:
                yield c.id, look, Image.open(path).convert("RGBA")


def _icon_set(key: str) -> Callable[[Path, Sequence[Concept]], Iterator[Drawn]]:
    def draw(sources: Path, concepts: Sequence[Concept]) -> Iterator[Drawn]:
        icons, noto = _icons(sources / key), _icons(sources / "noto")
        aliases = chosen_art()["fxemoji"]
        for c in concepts:
            name = noto.by_hex[c.hex]
            names = fx_names(c, name, aliases) if key == "fxemoji" else [name]
            for svg in filter(None, map(icons.svg, names)):
                yield c.id, "", rasterised(svg, 320)

    return draw


def _fluent_people(sources: Path, concepts: Sequence[Concept]) -> Iterator[Drawn]:
    folder = sources / "fluent" / "package" / "icons" / "modern"
    for c in _people(concepts):
        for tone in TONES:
            path = folder / f"{c.fluent.removesuffix('-default')}-{tone}.svg"
            if path.exists():
                yield c.id, tone, rasterised(path.read_text(), 320)


def _twemoji_people(sources: Path, concepts: Sequence[Concept]) -> Iterator[Drawn]:
    for c in _people(concepts):
        svg = _twemoji_svg(sources, c)
        plain = rasterised(svg, 320)
        toned = {tone: rasterised(recoloured(svg, TWEMOJI_SKIN[tone]), 320) for tone in TONES}
        # Of a zombie no skin is seen.
        toned = {tone: im for tone, im in toned.items() if im.tobytes() != plain.tobytes()}
        for tone, picture in toned.items():
            yield c.id, tone, picture
        if c.role:
            for tone in ("", *toned):
                colours = {**TWEMOJI_SKIN.get(tone, {}), **TWEMOJI_GREY}
                old = rasterised(recoloured(svg, colours), 320)
                if old.tobytes() != plain.tobytes():
                    yield c.id, f"old-{tone}".rstrip("-"), old


def _noto_people(sources: Path, concepts: Sequence[Concept]) -> Iterator[Drawn]:
    icons = _icons(sources / "noto")
    for c in _people(concepts):
        for tone, modifier in {"": "", **MODIFIERS}.items():
            name = icons.by_hex.get(with_tone(c.hex, modifier) if modifier else c.hex)
            svg = icons.svg(name) if name else None
            if svg is None:
                continue
            plain = rasterised(svg, 320)
            if tone:
                yield c.id, tone, plain
            old = rasterised(recoloured(svg, NOTO_GREY), 320)
            if c.role and old.tobytes() != plain.tobytes():
                yield c.id, f"old-{tone}".rstrip("-"), old


def _photo(sources: Path, concepts: Sequence[Concept]) -> Iterator[Drawn]:
    folder = sources / "photo" / "usr" / "share" / "tuxpaint" / "stamps"
    for concept, names in chosen_art()["photo"].items():
        for name in names:
            yield concept, "", Image.open(folder / f"{name}.png").convert("RGBA")


def _clipart(sources: Path, concepts: Sequence[Concept]) -> Iterator[Drawn]:
    folder = next((sources / "clipart" / "usr").rglob("animals")).parent
    for concept, names in chosen_art()["clipart"].items():
        for name in names:
            svg = (folder / f"{name}.svg").read_text(errors="replace")
            yield concept, "", rasterised(sized(svg), 480)


SHEETS = {
    "noto": Sheet("noto", 128, _noto),
    "twemoji": Sheet("twemoji", 160, _twemoji),
    "fluent": Sheet("fluent", 160, _fluent),
    "fluent3d": Sheet("fluent3d", 160, _fluent3d, 80),
    "blob": Sheet("blob", 160, _icon_set("blob"), 85),
    "emojione": Sheet("emojione", 160, _icon_set("emojione"), 85),
    "fxemoji": Sheet("fxemoji", 160, _icon_set("fxemoji"), 85),
    "noto-people": Sheet("noto", 144, _noto_people, 80),
    "twemoji-people": Sheet("twemoji", 144, _twemoji_people, 80),
    "fluent-people": Sheet("fluent", 144, _fluent_people, 80),
    "clipart": Sheet("clipart", 160, _clipart, 85),
    "photo": Sheet("photo", 160, _photo, 88),
}
# A sheet is drawn with the art of these sources.
NEEDS = {
    "noto": [], "fluent-people": ["fluent"], "twemoji-people": ["twemoji"],
    "noto-people": ["noto"], "blob": ["blob", "noto"], "emojione": ["emojione", "noto"],
    "fxemoji": ["fxemoji", "noto"],
}


def write_sheet(name: str, tiles: Sequence[Drawn], out: Path) -> dict[str, object]:
    """Write one sheet; returns its entry of the index."""
    sheet = SHEETS[name]
    side, columns = sheet.tile_px, math.ceil(math.sqrt(len(tiles)))
    image = Image.new("RGBA", (columns * side, math.ceil(len(tiles) / columns) * side))
    for i, (_, _, picture) in enumerate(tiles):
        image.paste(normalise(picture, side), (i % columns * side, i // columns * side))
    path = out / f"{name}.webp"
    if sheet.quality is None:
        image.save(path, lossless=True, quality=100, method=4, exact=True)
    else:
        image.save(path, quality=sheet.quality, alpha_quality=90, method=6)
    print(f"{path}: {len(tiles)} sprites, {path.stat().st_size / 1e6:.1f} MB", flush=True)
    return {"style": sheet.style, "columns": columns, "tile_px": side,
            "sprites": [f"{concept}@{look}" if look else concept for concept, look, _ in tiles]}


def main() -> None:
    """Draw the sheets and write them with their index."""
    parser = argparse.ArgumentParser(description=__doc__ and __doc__.splitlines()[0])
    parser.add_argument("archives", type=Path)
    parser.add_argument("--noto", type=Path, help="NotoColorEmoji.ttf")
    parser.add_argument("--only", nargs="+", default=list(SHEETS), choices=list(SHEETS))
    parser.add_argument("--out", type=Path, default=ATLAS_DIR)
    arguments = parser.parse_args()
    concepts, index_path = load_concepts(), arguments.out / "index.json"
    arguments.out.mkdir(parents=True, exist_ok=True)
    index = json.loads(index_path.read_text())["sheets"] if index_path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder)
        if arguments.noto:
            (sources / "NotoColorEmoji.ttf").symlink_to(arguments.noto.resolve())
        for name in arguments.only:
            unpack(arguments.archives, sources, NEEDS.get(name, [name]))
            tiles = list(SHEETS[name].draw(sources, concepts))
            index[name] = write_sheet(name, tiles, arguments.out)
            ordered = {key: index[key] for key in SHEETS if key in index}
            index_path.write_text(json.dumps({"sheets": ordered}, indent=0) + "\n")


if __name__ == "__main__":
    main()

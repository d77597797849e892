"""One small picture of every concept, on one sheet: ``python -m pipelines.world.thumbnails``.

Run it again when concepts come or go; a test compares the sheet with what it would be.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from pipelines.world.atlas import default_atlas
from pipelines.world.concepts import load_concepts
from pipelines.world.sprites import ATLAS_DIR

SHEET = ATLAS_DIR / "things.webp"
SIDE_PX, COLUMNS = 40, 24
STYLE = "fluent"  # every concept is drawn in it
QUALITY = 70


def draw_sheet() -> Image.Image:
    """The concepts in their order, ``COLUMNS`` a row, RGBA on nothing."""
    atlas, concepts = default_atlas(), load_concepts()
    rows = -(-len(concepts) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * SIDE_PX, rows * SIDE_PX))
    for number, concept in enumerate(concepts):
        tile = atlas.tile(atlas.index.row(STYLE, concept.id), SIDE_PX).numpy()
        picture = Image.fromarray(tile, "RGBa").convert("RGBA")  # it is premultiplied
        row, column = divmod(number, COLUMNS)
        sheet.paste(picture, (column * SIDE_PX, row * SIDE_PX))
    return sheet


def main(path: Path = SHEET) -> None:
    """Write the sheet."""
    draw_sheet().save(path, quality=QUALITY, method=6)


if __name__ == "__main__":
    main()

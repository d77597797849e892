"""Which sprites there are: the index of the sheets in ``assets/world``, without their pixels."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

ATLAS_DIR = Path(__file__).resolve().parents[2] / "assets" / "world"
# Art styles: four sets of emoji that show every concept, and sources that show some of them.
STYLES = ("noto", "twemoji", "fluent", "fluent3d", "blob", "emojione", "fxemoji", "clipart",
          "photo")
# Skin tones that captions name; without one people are as yellow as emoji are.
TONES = ("light", "medium", "dark")
OLD = "old"


@dataclass(frozen=True)
class Sprite:
    """One tile of a sheet.

    Attributes:
        sheet: stem of the sheet's file.
        tile: number of the tile in reading order.
        style: one of ``STYLES``.
        concept: id of the concept that it shows.
        look: of people, an age and a skin tone ("old", "dark", "old-dark") where they are not as
            in the set's plain emoji; "" otherwise.
    """

    sheet: str
    tile: int
    style: str
    concept: str
    look: str = ""


class SpriteIndex:
    """All sprites, numbered, and the numbers of those that show one thing in one way.

    Attributes:
        sprites: by number.
        columns, tile_px: by sheet.
    """

    def __init__(self, sprites: list[Sprite], columns: dict[str, int], tile_px: dict[str, int]):
        self.sprites, self.columns, self.tile_px = sprites, columns, tile_px
        self._rows: dict[tuple[str, str, str], list[int]] = {}
        self._looks: dict[tuple[str, str], list[str]] = {}
        for row, sprite in enumerate(sprites):
            key = sprite.style, sprite.concept, sprite.look
            self._rows.setdefault(key, []).append(row)
            looks = self._looks.setdefault(key[:2], [])
            if sprite.look not in looks:
                looks.append(sprite.look)
        self._styles = {c: tuple(style for style in STYLES if (style, c, "") in self._rows)
                        for c in {sprite.concept for sprite in sprites}}

    @classmethod
    def load(cls, folder: Path = ATLAS_DIR) -> SpriteIndex:
        """Read ``index.json`` of a folder of sheets."""
        sprites: list[Sprite] = []
        columns, tile_px = {}, {}
        for sheet, entry in json.loads((folder / "index.json").read_text())["sheets"].items():
            columns[sheet], tile_px[sheet] = entry["columns"], entry["tile_px"]
            for tile, name in enumerate(entry["sprites"]):
                concept, _, look = name.partition("@")
                sprites.append(Sprite(sheet, tile, entry["style"], concept, look))
        return cls(sprites, columns, tile_px)

    def styles(self, concept: str) -> tuple[str, ...]:
        """Styles that show a concept, in the order of ``STYLES``."""
        return self._styles[concept]

    def looks(self, style: str, concept: str) -> tuple[str, ...]:
        """Looks in which a style shows a concept."""
        return tuple(self._looks.get((style, concept), ()))

    def count(self, style: str, concept: str, look: str = "") -> int:
        """How many pictures of a concept a style has."""
        return len(self._rows.get((style, concept, look), ()))

    def row(self, style: str, concept: str, look: str = "", variant: int = 0) -> int:
        """Number of a sprite; variants beyond the last begin anew.

        Raises:
            KeyError: the style has no such picture.
        """
        rows = self._rows[style, concept, look]
        return rows[variant % len(rows)]


@functools.cache
def default_index() -> SpriteIndex:
    """The index of ``assets/world``, read once a process."""
    return SpriteIndex.load()

"""What a search sees: the vectors and facts of an index as they stood at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from easel.search.database import SearchIndexError, reading
from easel.search.paths import data_folder, found_path


@dataclass(frozen=True)
class Item:
    """A picture of an index; see ``easel.search.files.PictureFile`` for the fields."""

    key: str
    path: str
    size_bytes: int
    mtime_ns: int
    created_s: float
    pipeline: str
    prompt: str


@dataclass(frozen=True)
class Snapshot:
    """An index as it stood at one moment; later changes do not show.

    Attributes:
        folder: of the index.
        generation: number of the vectors' file.
        change: counts the commits of the index.
        vectors: (R, D) float32 memory map, unit length; some rows may belong to removed pictures.
        rows: (N,) int64, the rows of the pictures, ascending.
        created_s: (N,) float64.
        pipelines: (N,) int32, indices into ``pipeline_names``.
        pipeline_names: who drew the pictures.
    """

    folder: Path
    generation: int
    change: int
    vectors: np.ndarray
    rows: np.ndarray
    created_s: np.ndarray
    pipelines: np.ndarray
    pipeline_names: tuple[str, ...]

    @classmethod
    def empty(cls, folder: Path, dim: int) -> Snapshot:
        """A snapshot without pictures."""
        return cls(folder, 0, 0, np.zeros((0, dim), np.float32), np.zeros(0, np.int64),
                   np.zeros(0, np.float64), np.zeros(0, np.int32), ())

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dense(self) -> bool:
        """Whether every row of ``vectors`` is a picture."""
        return len(self.rows) == len(self.vectors)

    def features(self, picks: np.ndarray | None = None) -> np.ndarray:
        """Vectors of pictures, all of them or those at positions ``picks``: (n, D) float32."""
        if picks is None:
            return self.vectors if self.dense else self.vectors[self.rows]
        return self.vectors[self.rows[picks]]

    def positions_of(self, rows: np.ndarray) -> np.ndarray:
        """Positions of the pictures among some rows of ``vectors``, both ascending: (n,) int64.

        Both are in order, so each row is looked up instead of all pictures being looked at.
        """
        places = np.searchsorted(self.rows, rows)
        there = places < len(self.rows)
        there[there] = self.rows[places[there]] == rows[there]
        return places[there]

    def items(self, picks: Sequence[int]) -> list[Item]:
        """Facts of the pictures at some positions, in that order.

        Raises:
            SearchIndexError: one of them was removed meanwhile.
        """
        rows, root = [int(self.rows[pick]) for pick in picks], data_folder(self.folder)
        found: dict[int, Item] = {}
        with reading(self.folder) as database:
            database.execute("BEGIN")
            now, = database.execute("SELECT value FROM facts WHERE name = 'generation'").fetchone()
            for start in range(0, len(rows), 500):
                part = rows[start:start + 500]
                marks = ",".join("?" * len(part))
                for row, *fields in database.execute(
                        "SELECT row, key, path, size_bytes, mtime_ns, created_s, pipeline, prompt "
                        f"FROM pictures WHERE row IN ({marks})", part):
                    key, path, *rest = fields
                    found[row] = Item(key, found_path(path, root), *rest)
        # Another generation numbers its rows afresh.
        if int(now) != self.generation or any(row not in found for row in rows):
            raise SearchIndexError("The pictures changed in this moment: try again.")
        return [found[row] for row in rows]


def grown(before: Snapshot, generation: int, change: int, vectors: np.ndarray,
          table: Sequence[tuple[int, float, str]]) -> Snapshot:
    """A snapshot with further pictures.

    Args:
        before: what was there.
        generation: number of the vectors' file.
        change: counts the commits of the index.
        vectors: (R, D) float32 of all rows, the old ones too.
        table: row, time and generator of each new picture, ascending.
    """
    names = tuple(sorted({*before.pipeline_names, *(pipeline for _, _, pipeline in table)}))
    codes = {name: code for code, name in enumerate(names)}
    old = np.array([codes[name] for name in before.pipeline_names], np.int32)
    return Snapshot(
        before.folder, generation, change, vectors,
        np.concatenate([before.rows, np.array([row for row, _, _ in table], np.int64)]),
        np.concatenate([before.created_s, np.array([made for _, made, _ in table], np.float64)]),
        np.concatenate([old[before.pipelines] if len(old) else before.pipelines,
                        np.array([codes[name] for _, _, name in table], np.int32)]), names)

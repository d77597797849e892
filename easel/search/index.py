"""A search index on disk: vectors in one memory-mapped file, everything else in SQLite.

A folder holds ``index.sqlite`` and ``vectors-G.f32``, where G is the generation that the database
names. Vectors are appended and synced first; the transaction that names them commits second. A
crash between the two leaves bytes that nobody refers to and that the next append overwrites, so
whatever is committed is whole. Removed rows are skipped and squeezed out by a new generation.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from easel.search.database import (
    DAMAGED,
    DATABASE,
    SCHEMA,
    IndexOutdated,
    SearchIndexError,
    connect,
    reading,
)
from easel.search.files import PictureFile
from easel.search.paths import data_folder, kept_path
from easel.search.snapshot import Item, Snapshot, grown
from pipelines.core.errors import reason
from pipelines.core.sentences import Sentence

VERSION = 1
SQUEEZE_SHARE = 0.25  # of dead rows among all, from which a new generation pays


class VectorIndex:
    """An index that exists on disk; make one with ``open_index``.

    Args:
        folder: of the index.

    Raises:
        IndexOutdated: it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        facts = self._facts()
        self.model_id, self.fingerprint = facts["model_id"], facts["fingerprint"]
        self.version, self.dim = int(facts["version"]), int(facts["dim"])

    @classmethod
    def create(cls, folder: Path, model_id: str, fingerprint: str, dim: int) -> VectorIndex:
        """An empty index in a folder that holds none, whole or not at all."""
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # what a killed process left
        part.mkdir(parents=True)
        with closing(connect(part)) as database:
            facts = {"version": VERSION, "model_id": model_id, "fingerprint": fingerprint,
                     "dim": dim, "generation": 1, "rows": 0, "change": 0}
            script = [f"BEGIN;{SCHEMA}"]
            script += [f"INSERT INTO facts VALUES ('{name}', {_quoted(value)});"
                       for name, value in facts.items()]
            database.executescript("".join([*script, "COMMIT;"]))
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()
        part.replace(folder)
        return cls(folder)

    def _facts(self) -> dict[str, str]:
        if not (self.folder / DATABASE).is_file():  # opening it would make it
            raise IndexOutdated(DAMAGED)
        with reading(self.folder) as database:
            facts = dict(database.execute("SELECT name, value FROM facts"))
        if {"version", "model_id", "fingerprint", "dim", "generation", "rows"} <= facts.keys():
            return facts
        raise IndexOutdated(DAMAGED)

    def _mapped(self, facts: dict[str, str]) -> np.ndarray:
        """The vectors that the facts name: (rows, D) float32."""
        rows, generation = int(facts["rows"]), int(facts["generation"])
        if not rows:
            return np.zeros((0, self.dim), np.float32)
        try:
            return np.memmap(self._vectors_path(generation), np.float32, "r",
                             shape=(rows, self.dim))
        except (OSError, ValueError):
            raise IndexOutdated(DAMAGED) from None

    def _vectors_path(self, generation: int) -> Path:
        return self.folder / f"vectors-{generation}.f32"

    def check(self) -> None:
        """See that the vectors are there.

        Raises:
            IndexOutdated: their file is missing or shorter than the database says.
        """
        self._mapped(self._facts())

    def change(self) -> int:
        """How many commits there were; a snapshot of another number is out of date."""
        return int(self._facts()["change"])

    def known(self) -> dict[str, tuple[int, int]]:
        """Size and time of every picture by key, the unreadable ones too."""
        with reading(self.folder) as database:
            rows = database.execute("SELECT key, size_bytes, mtime_ns FROM pictures UNION ALL "
                                    "SELECT key, size_bytes, mtime_ns FROM unreadable")
            return {key: (size, mtime) for key, size, mtime in rows}

    def unreadable(self) -> list[tuple[str, Sentence]]:
        """Key and reason of every file that could not be read."""
        with reading(self.folder) as database:
            rows = database.execute("SELECT key, reason FROM unreadable ORDER BY key").fetchall()
        return [(key, Sentence.from_text(why)) for key, why in rows]

    def __len__(self) -> int:
        with reading(self.folder) as database:
            return int(database.execute("SELECT count(*) FROM pictures").fetchone()[0])

    def add(self, items: Sequence[Item], vectors: np.ndarray,
            unreadable: Iterable[tuple[str, int, int, Sentence]] = ()) -> None:
        """Commit pictures, in place of those of the same keys.

        Args:
            items: n pictures.
            vectors: (n, D) float32, unit length.
            unreadable: key, size, time and reason of files that could not be read.

        Raises:
            SearchIndexError: the disk is full or the index cannot be written; what was committed
                before stays.
        """
        if vectors.shape != (len(items), self.dim) and len(items):
            raise ValueError(f"vectors are {vectors.shape}, not ({len(items)}, {self.dim})")
        root = data_folder(self.folder)
        with self._writing() as database:
            facts = dict(database.execute("SELECT name, value FROM facts"))
            start = int(facts["rows"])
            self._append(self._vectors_path(int(facts["generation"])), start, vectors)
            self._forget(database, [item.key for item in items])
            database.executemany(
                "INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(start + n, i.key, kept_path(i.path, root), i.size_bytes, i.mtime_ns,
                  i.created_s, i.pipeline, i.prompt) for n, i in enumerate(items)])
            faults = [(*file, why.to_text()) for *file, why in unreadable]
            self._forget(database, [str(key) for key, *_ in faults])
            database.executemany("INSERT INTO unreadable VALUES (?, ?, ?, ?)", faults)
            database.execute("UPDATE facts SET value = ? WHERE name = 'rows'",
                             (str(start + len(items)),))

    def move(self, files: Iterable[PictureFile]) -> None:
        """Commit where pictures lie now, of those that the index knows by another path.

        Raises:
            SearchIndexError: as ``add``.
        """
        root = data_folder(self.folder)
        with reading(self.folder) as database:
            known = dict(database.execute("SELECT key, path FROM pictures"))
        now = {file.key: kept_path(file.path, root) for file in files if file.key in known}
        moved = [(path, key) for key, path in now.items() if known[key] != path]
        if moved:
            with self._writing() as database:
                database.executemany("UPDATE pictures SET path = ? WHERE key = ?", moved)

    def remove(self, keys: Iterable[str]) -> None:
        """Commit that pictures are gone, and squeeze them out once they are many.

        Raises:
            SearchIndexError: as ``add``.
        """
        gone = list(keys)
        if gone:
            with self._writing() as database:
                self._forget(database, gone)
        rows = int(self._facts()["rows"])
        if rows and (rows - len(self)) / rows > SQUEEZE_SHARE:
            self._squeeze()

    def snapshot(self, before: Snapshot | None = None) -> Snapshot:
        """The index as it stands.

        Args:
            before: how it stood earlier; where pictures only came since, theirs alone are read.

        Raises:
            IndexOutdated: a file is missing or shorter than the database says.
        """
        with reading(self.folder) as database:
            database.execute("BEGIN")
            facts = dict(database.execute("SELECT name, value FROM facts"))
            if before is not None and not self._only_grew(database, facts, before):
                before = None
            first = 0 if before is None else len(before.vectors)
            table = database.execute("SELECT row, created_s, pipeline FROM pictures "
                                     "WHERE row >= ? ORDER BY row", (first,)).fetchall()
        try:
            vectors = self._mapped(facts)
        except SearchIndexError:  # or another process squeezed the index since the facts were read
            if self._facts()["generation"] == facts["generation"]:
                raise
            return self.snapshot()
        if before is None:
            before = Snapshot.empty(self.folder, self.dim)
        return grown(before, int(facts["generation"]), int(facts["change"]), vectors, table)

    @staticmethod
    def _only_grew(database: sqlite3.Connection, facts: dict[str, str], before: Snapshot) -> bool:
        """Whether nothing that a snapshot shows was removed.

        Rows are appended and never taken again, so as many below the old end are the same ones.
        """
        if int(facts["generation"]) != before.generation:
            return False
        left, = database.execute("SELECT count(*) FROM pictures WHERE row < ?",
                                 (len(before.vectors),)).fetchone()
        return left == len(before)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; what goes wrong with the disk is said in a sentence."""
        try:
            with closing(connect(self.folder)) as database:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("UPDATE facts SET value = CAST(value AS INTEGER) + 1 "
                                 "WHERE name = 'change'")
                database.execute("COMMIT")
        except (OSError, UnicodeError, sqlite3.Error) as error:
            raise SearchIndexError("The search index could not be written: {}; what was indexed "
                                   "before is kept.", reason(error)) from error

    @staticmethod
    def _forget(database: sqlite3.Connection, keys: Sequence[str]) -> None:
        database.executemany("DELETE FROM pictures WHERE key = ?", [(key,) for key in keys])
        database.executemany("DELETE FROM unreadable WHERE key = ?", [(key,) for key in keys])

    def _append(self, path: Path, start: int, vectors: np.ndarray) -> None:
        if not len(vectors):
            return
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(start * self.dim * 4)
            file.write(np.ascontiguousarray(vectors, np.float32).tobytes())
            file.truncate()
            file.flush()
            os.fsync(file.fileno())

    def _squeeze(self) -> None:
        """Write the living rows as the next generation, then remove the old file."""
        live = self.snapshot()
        self._remove_generations_but(live.generation)  # a killed process may have left others
        path = self._vectors_path(live.generation + 1)
        with self._writing() as database:
            for start in range(0, len(live), 4096):
                picks = np.arange(start, min(start + 4096, len(live)))
                self._append(path, start, live.features(picks))
            # Rows only move down, in ascending order, so no number is taken twice.
            database.executemany("UPDATE pictures SET row = ? WHERE row = ?",
                                 [(new, int(old)) for new, old in enumerate(live.rows)])
            database.executemany("UPDATE facts SET value = ? WHERE name = ?",
                                 [(str(live.generation + 1), "generation"),
                                  (str(len(live)), "rows")])
        self._remove_generations_but(live.generation + 1)

    def _remove_generations_but(self, generation: int) -> None:
        for path in self.folder.glob("*-[0-9]*.*"):
            if not path.stem.endswith(f"-{generation}"):
                path.unlink(missing_ok=True)


def _quoted(value: str | int) -> str:
    return "'" + str(value).replace("'", "''") + "'"

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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.errors import IndexOutdated, SearchIndexError
from pipelines.files import safe_stem

VERSION = 1
DATABASE = "index.sqlite"
LOCK = "lock.sqlite"
SQUEEZE_SHARE = 0.25  # of dead rows among all, from which a new generation pays
DAMAGED = ("The search index is damaged: make it again with rebuild; the pictures themselves are "
           "not touched.")
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE pictures (row INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, path TEXT NOT NULL,
  size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, created_s REAL NOT NULL,
  pipeline TEXT NOT NULL, prompt TEXT NOT NULL);
CREATE TABLE unreadable (key TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL, reason TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Item:
    """A picture of an index; see ``search.files.PictureFile`` for the fields."""

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

    def items(self, picks: Sequence[int]) -> list[Item]:
        """Facts of the pictures at some positions, in that order."""
        rows = [int(self.rows[pick]) for pick in picks]
        found: dict[int, Item] = {}
        with closing(_connect(self.folder)) as database:
            for start in range(0, len(rows), 500):
                part = rows[start:start + 500]
                marks = ",".join("?" * len(part))
                for row, *fields in database.execute(
                        "SELECT row, key, path, size_bytes, mtime_ns, created_s, pipeline, prompt "
                        f"FROM pictures WHERE row IN ({marks})", part):
                    found[row] = Item(*fields)
        return [found[row] for row in rows if row in found]


def _connect(folder: Path) -> sqlite3.Connection:
    database = sqlite3.connect(folder / DATABASE, timeout=10, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    return database


class VectorIndex:
    """An index that exists on disk; make one with ``open_index``.

    Args:
        folder: of the index.

    Raises:
        SearchIndexError: it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        facts = self._facts()
        self.model_id, self.fingerprint = facts["model_id"], facts["fingerprint"]
        self.version, self.dim = int(facts["version"]), int(facts["dim"])

    @classmethod
    def create(cls, folder: Path, model_id: str, fingerprint: str, dim: int) -> VectorIndex:
        """An empty index in a folder that holds none, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        with closing(_connect(folder)) as database:
            facts = {"version": VERSION, "model_id": model_id, "fingerprint": fingerprint,
                     "dim": dim, "generation": 1, "rows": 0, "change": 0}
            script = [f"BEGIN;{_SCHEMA}"]
            script += [f"INSERT INTO facts VALUES ('{name}', {_quoted(value)});"
                       for name, value in facts.items()]
            database.executescript("".join([*script, "COMMIT;"]))
        return cls(folder)

    def _facts(self) -> dict[str, str]:
        try:
            if not (self.folder / DATABASE).is_file():
                raise FileNotFoundError
            with closing(_connect(self.folder)) as database:
                facts = dict(database.execute("SELECT name, value FROM facts"))
            if {"version", "model_id", "fingerprint", "dim", "generation", "rows"} <= facts.keys():
                return facts
        except (OSError, sqlite3.Error):
            pass
        raise SearchIndexError(DAMAGED)

    def _mapped(self, facts: dict[str, str]) -> np.ndarray:
        """The vectors that the facts name: (rows, D) float32."""
        rows, generation = int(facts["rows"]), int(facts["generation"])
        if not rows:
            return np.zeros((0, self.dim), np.float32)
        try:
            return np.memmap(self._vectors_path(generation), np.float32, "r",
                             shape=(rows, self.dim))
        except (OSError, ValueError):
            raise SearchIndexError(DAMAGED) from None

    def _vectors_path(self, generation: int) -> Path:
        return self.folder / f"vectors-{generation}.f32"

    def change(self) -> int:
        """How many commits there were; a snapshot of another number is out of date."""
        return int(self._facts()["change"])

    def known(self) -> dict[str, tuple[int, int]]:
        """Size and time of every picture by key, the unreadable ones too."""
        with closing(_connect(self.folder)) as database:
            rows = database.execute("SELECT key, size_bytes, mtime_ns FROM pictures UNION ALL "
                                    "SELECT key, size_bytes, mtime_ns FROM unreadable")
            return {key: (size, mtime) for key, size, mtime in rows}

    def unreadable(self) -> list[tuple[str, str]]:
        """Key and reason of every file that could not be read."""
        with closing(_connect(self.folder)) as database:
            return database.execute("SELECT key, reason FROM unreadable ORDER BY key").fetchall()

    def __len__(self) -> int:
        with closing(_connect(self.folder)) as database:
            return int(database.execute("SELECT count(*) FROM pictures").fetchone()[0])

    def add(self, items: Sequence[Item], vectors: np.ndarray,
            unreadable: Iterable[tuple[str, int, int, str]] = ()) -> None:
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
        with self._writing() as database:
            facts = dict(database.execute("SELECT name, value FROM facts"))
            start = int(facts["rows"])
            self._append(self._vectors_path(int(facts["generation"])), start, vectors)
            self._forget(database, [item.key for item in items])
            database.executemany(
                "INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(start + n, i.key, i.path, i.size_bytes, i.mtime_ns, i.created_s, i.pipeline,
                  i.prompt) for n, i in enumerate(items)])
            faults = list(unreadable)
            self._forget(database, [fault[0] for fault in faults])
            database.executemany("INSERT INTO unreadable VALUES (?, ?, ?, ?)", faults)
            database.execute("UPDATE facts SET value = ? WHERE name = 'rows'",
                             (str(start + len(items)),))

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

    def snapshot(self) -> Snapshot:
        """The index as it stands.

        Raises:
            SearchIndexError: a file is missing or shorter than the database says.
        """
        with closing(_connect(self.folder)) as database:
            database.execute("BEGIN")
            facts = dict(database.execute("SELECT name, value FROM facts"))
            table = database.execute(
                "SELECT row, created_s, pipeline FROM pictures ORDER BY row").fetchall()
        try:
            vectors = self._mapped(facts)
        except SearchIndexError:  # or another process squeezed the index since the facts were read
            if self._facts()["generation"] == facts["generation"]:
                raise
            return self.snapshot()
        names = sorted({pipeline for _, _, pipeline in table})
        codes = {name: code for code, name in enumerate(names)}
        return Snapshot(
            self.folder, int(facts["generation"]), int(facts["change"]), vectors,
            np.array([row for row, _, _ in table], np.int64),
            np.array([created for _, created, _ in table], np.float64),
            np.array([codes[pipeline] for _, _, pipeline in table], np.int32), tuple(names))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; what goes wrong with the disk is said in a sentence."""
        try:
            with closing(_connect(self.folder)) as database:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("UPDATE facts SET value = CAST(value AS INTEGER) + 1 "
                                 "WHERE name = 'change'")
                database.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise SearchIndexError(f"The search index could not be written: {reason}; what was "
                                   "indexed before is kept.") from error

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
        path = self._vectors_path(live.generation + 1)
        path.unlink(missing_ok=True)
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
        for old in self.folder.glob(f"*-{live.generation}.*"):
            old.unlink(missing_ok=True)


def _quoted(value: str | int) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def index_folder(collection: Path, model_id: str, fingerprint: str) -> Path:
    """Where a collection keeps the index of a CLIP with certain weights."""
    return collection / f"{safe_stem(model_id)}-{safe_stem(fingerprint)[:12]}"


def outdated(collection: Path, model_id: str, fingerprint: str) -> list[Path]:
    """Folders of a collection's indexes that the same CLIP made with other weights."""
    current = index_folder(collection, model_id, fingerprint)
    stem = safe_stem(model_id)
    return [path for path in sorted(collection.glob(f"{stem}-*"))
            if path != current and len(path.name.removeprefix(f"{stem}-")) <= 12]


def find_index(collection: Path, model_id: str, fingerprint: str) -> VectorIndex | None:
    """The index of a collection by a CLIP as it is now, None where there is none yet.

    Raises:
        IndexOutdated: there is one, of other weights or another version.
        SearchIndexError: there is one, damaged.
    """
    folder = index_folder(collection, model_id, fingerprint)
    if not (folder / DATABASE).exists():
        if outdated(collection, model_id, fingerprint):
            raise IndexOutdated("The index of these pictures was made with other weights of this "
                                "CLIP: allow a rebuild to make it again.")
        return None
    index = VectorIndex(folder)
    if index.version != VERSION or index.fingerprint != fingerprint:
        raise IndexOutdated("The index of these pictures was made by another version of Easel: "
                            "allow a rebuild to make it again.")
    return index


def open_index(collection: Path, model_id: str, fingerprint: str, dim: int,
               rebuild: bool = False) -> VectorIndex:
    """The index of a collection by a CLIP, a new one where there is none.

    Args:
        collection: folder of the collection's indexes.
        model_id: id of the CLIP.
        fingerprint: of its weights.
        dim: length of its features.
        rebuild: whether an index that cannot be used may be replaced. Those of other weights stay
            until ``drop_outdated``, so that nothing is lost if the new one is not finished.

    Raises:
        IndexOutdated: as ``find_index``, without ``rebuild``.
        SearchIndexError: it is damaged, without ``rebuild``, or cannot be made.
    """
    folder = index_folder(collection, model_id, fingerprint)
    try:
        index = find_index(collection, model_id, fingerprint)
        if index is not None and index.dim == dim:
            index.snapshot()  # whether its vectors are there
            return index
        if index is not None and not rebuild:
            raise IndexOutdated("The index of these pictures has vectors of another length: allow "
                                "a rebuild to make it again.")
    except SearchIndexError:
        if not rebuild:
            raise
    try:
        shutil.rmtree(folder, ignore_errors=True)
        return VectorIndex.create(folder, model_id, fingerprint, dim)
    except (OSError, sqlite3.Error) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise SearchIndexError(f"The search index could not be made: {reason}.") from error


def drop_outdated(collection: Path, model_id: str, fingerprint: str) -> None:
    """Remove the indexes that the same CLIP made with other weights, once a new one is whole."""
    for folder in outdated(collection, model_id, fingerprint):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def only_writer(collection: Path) -> Iterator[None]:
    """Hold a collection against a second run of indexing; a crash lets it go.

    Raises:
        SearchIndexError: another run holds it, or the folder cannot be made.
    """
    try:
        collection.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(collection / LOCK, timeout=0, isolation_level=None,
                               check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise SearchIndexError(f"The search index could not be made: {reason}.") from error
    with closing(lock):
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error:
            raise SearchIndexError("These pictures are being indexed already: try again when "
                                   "that is done.") from None
        yield

"""The database of a search index: its tables, how it is opened, and one writer at a time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pipelines.core.errors import EaselError, reason

DATABASE = "index.sqlite"
LOCK = "lock.sqlite"
DAMAGED = ("The search index is damaged: make it again with rebuild; the pictures themselves are "
           "not touched.")
SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE pictures (row INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, path TEXT NOT NULL,
  size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, created_s REAL NOT NULL,
  pipeline TEXT NOT NULL, prompt TEXT NOT NULL);
CREATE TABLE unreadable (key TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL, reason TEXT NOT NULL);
"""


class SearchIndexError(EaselError):
    """A search index that is missing, damaged, or in use."""


class IndexOutdated(SearchIndexError):
    """A search index of other weights, of another version or damaged: made anew once allowed."""


class IndexInUse(SearchIndexError):
    """A search index that another run is bringing up to date."""


def connect(folder: Path) -> sqlite3.Connection:
    """Open the database of an index; statements commit by themselves outside of a transaction."""
    database = sqlite3.connect(folder / DATABASE, timeout=10, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("PRAGMA secure_delete=ON")  # a prompt that is removed is overwritten
    return database


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database of an index for a query; what goes wrong is said in a sentence.

    Raises:
        SearchIndexError: another program holds it.
        IndexOutdated: it is damaged or gone.
    """
    try:
        with closing(connect(folder)) as database:
            yield database
    except (OSError, sqlite3.Error) as error:
        if "locked" in str(error):
            raise SearchIndexError("The search index is in use by another program: try again in a "
                                   "moment.") from error
        raise IndexOutdated(DAMAGED) from error


@contextlib.contextmanager
def only_writer(collection: Path) -> Iterator[None]:
    """Hold a collection against a second run of indexing; a crash lets it go.

    Raises:
        IndexInUse: another run holds it.
        SearchIndexError: the folder cannot be made.
    """
    try:
        collection.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(collection / LOCK, timeout=0, isolation_level=None,
                               check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise SearchIndexError("The search index could not be made: {}.",
                               reason(error)) from error
    with closing(lock):
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error:
            raise IndexInUse("These pictures are being indexed already: try again when that is "
                             "done.") from None
        yield

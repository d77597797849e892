"""Where files of the history lie: a shelf with a key for each, whatever it is made of."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pipelines.core.files import atomic_write


class Shelf(Protocol):
    """Files that never change, by keys of letters, digits, dots and slashes."""

    def put(self, key: str, data: bytes) -> None:
        """Keep a file, whole or not at all; one that is there already counts as new.

        Once this returns, it survives a crash.

        Raises:
            OSError: it cannot be written.
        """
        ...

    def read(self, key: str) -> bytes:
        """The file of a key.

        Raises:
            OSError: it is not there, or cannot be read.
        """
        ...

    def has(self, key: str) -> bool:
        """Whether there is such a file."""
        ...

    def remove(self, key: str) -> None:
        """Remove a file; one that is gone already is no error."""
        ...

    def old(self, kind: str, age_s: float) -> Iterator[str]:
        """Keys that begin with ``kind`` and a slash, half written files' too, of all files that are
        older than ``age_s`` seconds."""
        ...

    def path(self, key: str) -> Path | None:
        """Where the file is or would be on this machine; None where it is elsewhere."""
        ...

    def where(self, key: str) -> str:
        """Where the file is, for a person: a path or an address."""
        ...


class FolderShelf:
    """A folder of this machine, or one that it shares with others.

    Args:
        folder: made when the first file is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, key: str, data: bytes) -> None:
        """Keep a file; see ``Shelf.put``."""
        path = self.path(key)
        if path.is_file() and path.stat().st_size == len(data):
            os.utime(path)  # as good as new for those who remove what nobody needs
        else:
            atomic_write(path, data)
            _sync_folder(path.parent)

    def read(self, key: str) -> bytes:
        """The file of a key; see ``Shelf.read``."""
        return self.path(key).read_bytes()

    def has(self, key: str) -> bool:
        """Whether there is such a file."""
        return self.path(key).is_file()

    def remove(self, key: str) -> None:
        """Remove a file; one that is gone already is no error."""
        self.path(key).unlink(missing_ok=True)

    def old(self, kind: str, age_s: float) -> Iterator[str]:
        """Keys of old files; see ``Shelf.old``."""
        newest = time.time() - age_s
        for path in self.folder.glob(f"{kind}/**/*"):
            try:
                if path.is_file() and path.stat().st_mtime < newest:
                    yield path.relative_to(self.folder).as_posix()
            except FileNotFoundError:
                continue

    def path(self, key: str) -> Path:
        """Where the file is or would be."""
        return self.folder / key

    def where(self, key: str) -> str:
        """The file's path."""
        return str(self.path(key))


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a loss of power, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

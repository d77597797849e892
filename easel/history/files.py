"""Files by the SHA-256 of their content, and a small copy of each picture."""

from __future__ import annotations

import hashlib
import io
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from PIL import Image

from easel.history.records import HistoryError
from easel.history.shelves import FolderShelf, Shelf
from pipelines.core.errors import reason
from pipelines.core.files import atomic_write
from pipelines.core.images import load_image

KINDS = ("files", "thumbnails")
THUMBNAIL_PX = 320
THUMBNAIL_QUALITY = 82
COPIES_S = 86400.0  # how long copies of files that lie elsewhere stay on this machine
GONE = "The picture's file is no longer in the data folder."
_DIGEST = re.compile(r"[0-9a-f]{64}")


class FileStore:
    """Pictures and their thumbnails, wherever they lie.

    A file's name is the hash of what is in it, so that a file is never written twice or changed.

    Args:
        folder: of this machine, made when the first file is kept.
        shelf: where the files lie; that folder where None.
    """

    def __init__(self, folder: Path, shelf: Shelf | None = None) -> None:
        self.folder, self.shelf = folder, shelf or FolderShelf(folder)

    def put(self, data: bytes) -> str:
        """Keep a PNG file; returns its hash once it will survive a crash.

        Raises:
            HistoryError: it cannot be written.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            self.shelf.put(_picture(sha256), data)
        except OSError as error:
            raise _not_written(error) from error
        return sha256

    def has(self, sha256: str) -> bool:
        """Whether the picture of that hash is there."""
        return self.shelf.has(_picture(sha256))

    def read(self, sha256: str) -> bytes:
        """The file of that hash.

        Raises:
            HistoryError: it is gone.
        """
        try:
            return self.shelf.read(_picture(sha256))
        except OSError:
            raise HistoryError(GONE) from None

    def where(self, sha256: str) -> str:
        """Where the file of that hash is, for a person: a path or an address."""
        return self.shelf.where(_picture(sha256))

    def path(self, sha256: str) -> Path:
        """Where ``local`` has the picture of that hash on this machine, there already or not.

        Raises:
            ValueError: it is no hash.
        """
        return self._path(_picture(sha256))

    def local(self, sha256: str) -> Path:
        """The picture as a file of this machine, to be read only; a copy where it lies elsewhere.

        Raises:
            HistoryError: it is gone, or there is no room for a copy.
        """
        path = self.path(sha256)
        if not path.is_file():
            self._copy(path, self.read(sha256))
        return path

    def thumbnail(self, sha256: str) -> Path:
        """A WebP of at most THUMBNAIL_PX a side, made when it is first asked for.

        Raises:
            HistoryError: the picture is gone, or there is no room for the thumbnail.
        """
        key = _thumbnail(sha256)
        path = self._path(key)
        if path.is_file():
            return path
        if self.elsewhere:
            with suppress(OSError):  # another machine has made it
                self._copy(path, self.shelf.read(key))
                return path
        picture = Image.fromarray(load_image(self.read(sha256)))
        picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=THUMBNAIL_QUALITY, method=4)
        self._copy(path, buffer.getvalue())
        if self.elsewhere:
            with suppress(OSError):  # the next machine makes it itself then
                self.shelf.put(key, buffer.getvalue())
        return path

    def remove(self, sha256: str) -> None:
        """Remove a picture and its thumbnail; one that is gone already is no error."""
        for key in (_picture(sha256), _thumbnail(sha256)):
            self.shelf.remove(key)
            self._path(key).unlink(missing_ok=True)

    def remove_copies(self, sha256: str) -> None:
        """Remove this machine's copies of a picture that lies elsewhere, or lay there."""
        if self.elsewhere:
            for key in (_picture(sha256), _thumbnail(sha256)):
                with suppress(OSError):  # the next sweep comes
                    self._path(key).unlink(missing_ok=True)

    def old_files(self, age_s: float) -> Iterator[tuple[str, str]]:
        """Hash and key of every file that is older than ``age_s`` seconds; the hash of what a
        killed process left half written is empty."""
        for kind in KINDS:
            for key in self.shelf.old(kind, age_s):
                stem = PurePosixPath(key).stem
                yield (stem if _DIGEST.fullmatch(stem) else ""), key

    def drop(self, key: str) -> None:
        """Remove a file that ``old_files`` named."""
        self.shelf.remove(key)

    def sweep_copies(self) -> None:
        """Remove the copies that have lain here for long of files that lie elsewhere."""
        newest = time.time() - COPIES_S
        for path in self._copies.glob("*/??/*"):
            with suppress(OSError):
                if path.stat().st_mtime < newest:
                    path.unlink()

    @property
    def elsewhere(self) -> bool:
        """Whether the files lie on another machine, so that ``local`` has to fetch them."""
        return self.shelf.path("files") is None

    @property
    def _copies(self) -> Path:
        return self.folder / "copies"

    def _path(self, key: str) -> Path:
        return self.shelf.path(key) or self._copies / key

    def _copy(self, path: Path, data: bytes) -> None:
        try:
            atomic_write(path, data)
        except OSError as error:
            raise _not_written(error) from error


def _picture(sha256: str) -> str:
    return _key(KINDS[0], sha256, ".png")


def _thumbnail(sha256: str) -> str:
    return _key(KINDS[1], sha256, ".webp")


def _key(kind: str, sha256: str, suffix: str) -> str:
    if not _DIGEST.fullmatch(sha256):
        raise ValueError(f"{sha256!r} is not a SHA-256")
    return f"{kind}/{sha256[:2]}/{sha256}{suffix}"


def _not_written(error: OSError) -> HistoryError:
    return HistoryError("The picture could not be kept in the history: {}.", reason(error))

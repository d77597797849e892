"""Files by the SHA-256 of their content, and a small copy of each picture."""

from __future__ import annotations

import hashlib
import io
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from easel.history.records import HistoryError
from pipelines.core.errors import reason
from pipelines.core.files import atomic_write
from pipelines.core.images import load_image

THUMBNAIL_PX = 320
THUMBNAIL_QUALITY = 82
_DIGEST = re.compile(r"[0-9a-f]{64}")


class FileStore:
    """Pictures and their thumbnails below one folder.

    A file's name is the hash of what is in it, so that a file is never written twice or changed.

    Args:
        folder: made when the first file is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where the picture of that hash is or would be.

        Raises:
            ValueError: it is no hash.
        """
        return self._path("files", sha256, ".png")

    def put(self, data: bytes) -> str:
        """Keep a PNG file; returns its hash once it will survive a crash.

        Raises:
            HistoryError: it cannot be written.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        try:
            if path.is_file() and path.stat().st_size == len(data):
                os.utime(path)  # as good as new for those who remove what nobody needs
            else:
                atomic_write(path, data)
                _sync_folder(path.parent)
        except OSError as error:
            raise _not_written(error) from error
        return sha256

    def read(self, sha256: str) -> bytes:
        """The file of that hash.

        Raises:
            HistoryError: it is gone.
        """
        try:
            return self.path(sha256).read_bytes()
        except OSError:
            raise HistoryError("The picture's file is no longer in the data folder.") from None

    def thumbnail(self, sha256: str) -> Path:
        """A WebP of at most THUMBNAIL_PX a side, made when it is first asked for.

        Raises:
            HistoryError: the picture is gone, or there is no room for the thumbnail.
        """
        path = self._path("thumbnails", sha256, ".webp")
        if not path.is_file():
            picture = Image.fromarray(load_image(self.read(sha256)))
            picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            picture.save(buffer, "WEBP", quality=THUMBNAIL_QUALITY, method=4)
            try:
                atomic_write(path, buffer.getvalue())
            except OSError as error:
                raise _not_written(error) from error
        return path

    def remove(self, sha256: str) -> None:
        """Remove a picture and its thumbnail; one that is gone already is no error."""
        for path in (self.path(sha256), self._path("thumbnails", sha256, ".webp")):
            path.unlink(missing_ok=True)

    def old_files(self, age_s: float) -> Iterator[tuple[str, Path]]:
        """Hash and path of every file that is older than ``age_s`` seconds; the hash of what a
        killed process left half written is empty."""
        newest = time.time() - age_s
        for path in self.folder.glob("*/??/*"):
            try:
                if path.stat().st_mtime < newest:
                    yield (path.stem if _DIGEST.fullmatch(path.stem) else ""), path
            except FileNotFoundError:
                continue

    def _path(self, kind: str, sha256: str, suffix: str) -> Path:
        if not _DIGEST.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is not a SHA-256")
        return self.folder / kind / sha256[:2] / f"{sha256}{suffix}"


def _not_written(error: OSError) -> HistoryError:
    return HistoryError("The picture could not be kept in the history: {}.", reason(error))


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a loss of power, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

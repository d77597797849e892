"""Files out of a stranger's zip: how many and how large is counted here, and no name is trusted."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator

from pipelines.core.errors import EaselError

CHUNK_BYTES = 2**16
ENTRY = b"PK\x01\x02"  # before each file's entry in a zip's directory
# What zipfile raises on what is no zip, or is damaged.
FAULTS = (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, OSError,
          EOFError, ValueError, OverflowError, zlib.error)


def unpacked(data: bytes, max_files: int, max_file_bytes: int, max_bytes: int,
             error: type[EaselError] = EaselError,
             wanted: Callable[[str], bool] = lambda name: True) -> Iterator[tuple[str, bytes]]:
    """The files of a zip, one after the other, without folders and what file managers add.

    Args:
        data: the zip.
        max_files: entries of its directory at most, which are counted before one is read: each
            takes time.
        max_file_bytes: of one file, counted while it is unpacked and not as the zip claims.
        max_bytes: of all of them.
        error: what is raised.
        wanted: by its name, whether a file is unpacked.

    Yields:
        Name, with slashes between its parts, and contents; a name comes once.

    Raises:
        EaselError: as ``error``, one sentence about a limit, or a name that leads elsewhere.
        OSError: and the others of ``FAULTS``: it is no zip, or damaged.
    """
    if (count := data.count(ENTRY)) > max_files:
        raise error("The zip file holds {:,} files; {:,} is the most.", count, max_files)
    seen: set[str] = set()
    left = max_bytes
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            name = info.filename
            if info.is_dir() or is_of_the_system(name) or not wanted(name):
                continue
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise error("The zip file is packed in a way that Easel does not read.")
            if ("\\" in name or ".." in name.split("/") or name.startswith("/") or name in seen):
                raise error("The zip file names a file {!r}, which leads elsewhere or comes twice.",
                            name[:60])
            seen.add(name)
            found = _limited(archive, info, min(left, max_file_bytes))
            if found is None:
                raise error("The zip file unpacks to more than {} MB, or one of its files to more "
                            "than {} MB.", max_bytes // 2**20, max_file_bytes // 2**20)
            left -= len(found)
            yield name, found


def is_of_the_system(name: str) -> bool:
    """Whether a file manager added a file to those that it packed."""
    first, last = name.split("/")[0], name.split("/")[-1]
    return first == "__MACOSX" or last in (".DS_Store", "Thumbs.db", "desktop.ini")


def _limited(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes | None:
    """Unpack one file, giving up as soon as it grows larger than a limit."""
    buffer = io.BytesIO()
    with archive.open(info) as file:
        while chunk := file.read(CHUNK_BYTES):
            buffer.write(chunk)
            if buffer.tell() > limit:
                return None
    return buffer.getvalue()

"""Pictures as one zip: the PNG files as they are, and what is known of them as JSON.

The zip is written as it is sent, so that neither memory nor disk limits how much is exported.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from easel.history.files import FileStore
from easel.history.records import Filters, HistoryError, HistoryInUse, KeptPicture
from easel.history.store import History
from pipelines.core.errors import reason
from pipelines.core.metadata import picture_name
from pipelines.core.new_files import place_new

INDEX = "history.json"
MOST = 1_000_000  # pictures in one zip


class _Sink(io.RawIOBase):
    """Takes what the zip writes and hands it on; it cannot be wound back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """It can be written to."""
        return True

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Take a part of the zip."""
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """What came since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def pictures_of(history: History, owner: str, filters: Filters) -> Iterator[KeptPicture]:
    """All pictures that pass at this moment, the newest first, each read when its turn comes."""
    for picture_id in history.ids(owner, filters, MOST):
        try:
            yield history.get(owner, picture_id)
        except HistoryError:  # removed for good meanwhile
            continue


def stream_zip(history: History, owner: str, filters: Filters) -> Iterator[bytes]:
    """The zip of all pictures that pass, in parts."""
    return zip_parts(history.files, pictures_of(history, owner, filters))


def zip_parts(files: FileStore, pictures: Iterable[KeptPicture]) -> Iterator[bytes]:
    """A zip in parts; a picture whose file is gone is in the index alone.

    Args:
        files: where the pictures' files are.
        pictures: what it holds; each is read when its turn comes.
    """
    sink = _Sink()
    index, taken = [], set[str]()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for picture in pictures:
            name = f"pictures/{_free_name(picture, taken)}"
            try:
                data = files.read(picture.sha256)
            except HistoryInUse:  # it is there all the same: no zip without it
                raise
            except HistoryError:
                index.append({**picture.public(), "file": None})
                continue
            archive.writestr(name, data)
            index.append({**picture.public(), "file": name})
            yield sink.take()
        archive.writestr(INDEX, json.dumps({"pictures": index}, ensure_ascii=False, indent=1))
    yield sink.take()


def write_zip(files: FileStore, pictures: Iterable[KeptPicture], path: Path) -> Path:
    """Write a zip, whole or not at all, and over no other file.

    Returns:
        Its path; with a number where there was a file of that name.

    Raises:
        HistoryError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                for part in zip_parts(files, pictures):
                    file.write(part)
            return place_new(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise HistoryError("The export {} could not be written: {}.", path.name,
                           reason(error)) from error


def zip_name() -> str:
    """A name for an export of this moment."""
    return time.strftime("easel-history-%Y-%m-%d-%H%M%S.zip", time.gmtime())


def _free_name(picture: KeptPicture, taken: set[str]) -> str:
    name = picture_name(picture.facts)
    stem, number = f"{Path(name).stem}-{picture.id[:8]}", 1
    while name in taken:  # ids may begin alike, and a picture may be asked for twice
        name = f"{stem}.png" if number == 1 else f"{stem}-{number}.png"
        number += 1
    taken.add(name)
    return name

"""Pictures with known labels from a zip file: a folder for each label."""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path, PurePosixPath

from easel.guard.cache_room import take_room
from easel.ui.lab.lab import MAX_UPLOADS
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_upload
from easel.zip_files import FAULTS, unpacked
from pipelines.core.errors import EaselError, InvalidRequest, reason
from pipelines.core.images import MAX_BYTES
from pipelines.zero_shot import check_labels

MAX_ZIP_BYTES = 256 * 2**20
MAX_ENTRIES = 2 * MAX_UPLOADS  # folders have an entry of their own
MAX_NAME_BYTES = 200  # of a label, of which the file's name is made

_BETWEEN = re.compile(r"[\s,;]+")  # labels have commas between them where they are typed


def unpack_labelled(path: str | Path, folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Write the pictures of a zip's folders as files that are named by their labels.

    Args:
        path: of the uploaded zip.
        folder: where they go, one of ``new_folder``, which is made, and is not there in the end
            where something is refused.

    Returns:
        The files, and the labels in their order.

    Raises:
        InvalidRequest: it is no zip or has too much in it, there are no pictures in folders, fewer
            than two labels, or one that names no file.
        EaselError: they cannot be written, or there is no room for them.
    """
    folder.mkdir(parents=True)
    try:
        pictures, labels = _unpacked(read_upload(path), folder)
        if not pictures:
            raise InvalidRequest("The zip file has no pictures in folders, a folder for each "
                                 "label.", field="images")
        if len(pictures) > MAX_UPLOADS:
            raise InvalidRequest("{:,} pictures are too many at once: {:,} is the most.",
                                 len(pictures), MAX_UPLOADS, field="images")
        return pictures, check_labels(sorted(set(labels), key=str.casefold))
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, EaselError) or not isinstance(error, FAULTS):
            raise
        raise InvalidRequest("The file is no zip file, or it is damaged.", field="images") from None


def _unpacked(data: bytes, folder: Path) -> tuple[list[Path], list[str]]:
    """The files that were written, and the label of each; errors are those of ``unpacked``."""
    pictures: list[Path] = []
    labels: list[str] = []
    cache = folder.parent.parent
    for name, picture in unpacked(data, MAX_ENTRIES, MAX_BYTES, MAX_ZIP_BYTES, InvalidRequest,
                                  _is_labelled):
        label = _BETWEEN.sub(" ", PurePosixPath(name).parent.name).strip()
        if len(label.encode("utf-8", "replace")) > MAX_NAME_BYTES:
            raise InvalidRequest("The folder {!r}… of the zip file has too long a name.",
                                 label[:40], field="images")
        labels.append(label)
        take_room(cache, len(picture))
        suffix = PurePosixPath(name).suffix.lower()
        pictures.append(folder / f"{label}-{len(pictures) + 1:04d}{suffix}")
        _write(pictures[-1], picture)
    return pictures, labels


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:  # of this disk, not of the zip
        raise EaselError("The pictures of the zip file could not be written: {}.",
                         reason(error)) from None


def new_folder(cache: str | Path) -> Path:
    """A folder of the page's cache that nobody can guess."""
    return Path(cache) / "lab" / secrets.token_urlsafe(16)


def _is_labelled(name: str) -> bool:
    """Whether a zip's file is a picture in a folder."""
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and path.parent.name not in ("", ".")

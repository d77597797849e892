"""What files of the cache were made of, so that they go when a picture of theirs goes for good.

A copy of a picture is known by its bytes; a grid, a video or a zip is not. Beside each of those
lies a note with the SHA-256 of every picture within, and whoever removes a picture reads the notes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pipelines.core.events import Candidate, Result
from pipelines.core.files import atomic_write
from pipelines.core.metadata import png_of

NOTE = ".made-of"


def note(path: Path, digests: Iterable[str]) -> None:
    """Say what a file is made of, before it is written.

    Args:
        path: of the file.
        digests: SHA-256 of pictures' files in hex; none for a file that holds no picture.

    Raises:
        OSError: the note cannot be written.
    """
    if found := sorted(set(digests)):
        atomic_write(note_of(path), "\n".join(found).encode(), durable=False)


def note_of(path: Path) -> Path:
    """Where the note of a file is, there or not."""
    return path.with_name(path.name + NOTE)


def noted(path: Path) -> list[str]:
    """SHA-256 of the pictures that a file is said to be made of."""
    with suppress(OSError, ValueError):
        return note_of(path).read_text(encoding="ascii").split()
    return []


def origins(path: Path, data: bytes) -> list[str]:
    """SHA-256 of a file and of what it is made of itself, for a note on what is made of it.

    Args:
        path: of the file.
        data: what is in it.
    """
    return [digest_of(data), *noted(path)]


def twin_of(result: Result, candidate: Candidate) -> list[str]:
    """SHA-256 of the kept picture that has the same pixels under another seed.

    The history keeps such pictures once, see ``easel.history.recorder``; the others' files differ
    from its file in what they say of themselves.

    Args:
        result: with its pictures as they were kept.
        candidate: one of them.

    Returns:
        One digest; none for a picture that is kept itself.
    """
    if "equal_to_seed" not in candidate.metadata:
        return []
    name = candidate.metadata.get("picture_id")
    return [digest_of(png_of(result, each)) for each in (*result.candidates, *result.rejected)
            if each.metadata.get("picture_id") == name and "equal_to_seed" not in each.metadata]


def digest_of(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()

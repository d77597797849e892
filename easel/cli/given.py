"""What people give a command, read: numbers and files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import typer

from pipelines.core.errors import InvalidRequest, reason
from pipelines.core.given_files import given_name, read_given
from pipelines.core.images import MAX_BYTES
from pipelines.core.sentences import Sentence

LETTERS_FOR_GOOD = 4


def finite(value: Any) -> float:
    """A number of an option, as its parser.

    Raises:
        typer.BadParameter: it is none, or not finite.
    """
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise typer.BadParameter(str(Sentence("{!r} is not a number", str(value)[:40])))
    return found


def first_letters(text: str, least: int = 1) -> str:
    """The first letters of an id, as they name one thing.

    Args:
        text: as it was given.
        least: letters that it must have; ``LETTERS_FOR_GOOD`` where what it names is deleted for
            good, which a slip of the hand is not to do.

    Raises:
        InvalidRequest: it is blank, with which every id begins, or too short.
    """
    if not text.strip():
        raise InvalidRequest("An id is empty: give its first letters at least.", field="id")
    if len(text.strip()) < least:
        raise InvalidRequest("{!r} is too short an id to delete for good: give {} letters of it "
                             "or more.", text, least, field="id")
    return text


def read_file(path: Path, what: str, most_bytes: int = MAX_BYTES, field: str | None = None,
              ) -> bytes:
    """A file, one byte more of it at most than is of use.

    Args:
        path: of the file.
        what: the beginning of the sentence, as in "The picture".
        most_bytes: that are of use; those of a picture unless something else is read.
        field: of the request.

    Raises:
        InvalidRequest: it cannot be read, or is no file.
    """
    try:
        return read_given(path, most_bytes)
    except OSError as error:
        raise InvalidRequest("{} {} cannot be read: {}.", what, given_name(path), reason(error),
                             field=field) from None

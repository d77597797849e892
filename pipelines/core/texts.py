"""Texts from outside, made such that every file, database and answer can hold them.

Python's strings can hold what UTF-8 cannot say: halves of characters, which JSON may escape
(``"\\ud83d"``), and bytes of file names and arguments in another encoding. Texts that people type
are refused in a sentence (``check_text``), those that come with a file are cleaned (``clean_text``,
``clean_json``), and names of files show a mark in their place (``shown_name``).
"""

from __future__ import annotations

import math
from typing import Any

from pipelines.core.errors import InvalidRequest
from pipelines.core.sentences import Sentence

# Of lists and objects in each other: what writes JSON fast gives up at 254, and Python's own limit
# is what all frames share.
MAX_DEPTH = 64
MAX_FILE_BYTES = 2**20  # of text that people write: labels, prompts, words
MARK = "\N{REPLACEMENT CHARACTER}"
HALF = "{} holds half a character, which no file can store."
NUL = "{} holds a NUL character, which no text has."


def _halves(text: str, errors: str) -> str:
    """The text with pairs of halves joined, and what is left of halves as ``errors`` says."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", errors)


def clean_text(text: str) -> str:
    """A text without NUL and half characters; two halves that belong together become one."""
    text = text.replace("\0", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        return _halves(text, "ignore")
    return text


def shown_name(name: str) -> str:
    """The name of a file with a mark for everything that is not text in it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        name = _halves(name, "replace")
    return name.replace("\0", MARK)


def fault_of(text: str, what: str = "The text") -> Sentence | None:
    """One sentence about what no text may hold, None where there is nothing of the kind."""
    if "\0" in text:
        return Sentence(NUL, what)
    try:
        text.encode()
    except UnicodeEncodeError:
        return Sentence(HALF, what)
    return None


def check_text(text: str, what: str = "The text", field: str | None = None) -> str:
    """The text itself, where every file and database can hold it.

    Args:
        text: as it was typed.
        what: the beginning of the sentence, as in "The label".
        field: name of the request's field.

    Raises:
        InvalidRequest: it holds NUL or half a character.
    """
    if (fault := fault_of(text, what)) is not None:
        raise InvalidRequest(fault, field=field)
    return text


def clean_json(value: Any, depth: int = 0) -> Any:
    """A JSON value whose texts, and the names in whose objects, are clean.

    Args:
        value: as ``json.loads`` gives it.
        depth: of lists and objects around it.

    Raises:
        ValueError: a number is not finite or has more than 64 bits, or lists and objects lie too
            deep in each other; others could not read it again.
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list | dict):
        if depth == MAX_DEPTH:
            raise ValueError("too deep")
        if isinstance(value, list):
            return [clean_json(each, depth + 1) for each in value]
        return {clean_text(str(key)): clean_json(each, depth + 1) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    if isinstance(value, int) and not is_short(value):
        raise ValueError("too large")
    return value


def is_short(number: int) -> bool:
    """Whether databases, other languages and fast JSON writers can hold a whole number."""
    return -2**63 <= number < 2**63


def decode_file(name: str, data: bytes, field: str | None = None) -> str:
    """The text of a file that somebody wrote with an editor.

    Args:
        name: of the file, as it is to be told.
        data: the file.
        field: name of the request's field.

    Raises:
        InvalidRequest: it is not UTF-8 text, or larger than ``MAX_FILE_BYTES``.
    """
    name = shown_name(name)
    if len(data) > MAX_FILE_BYTES:
        raise InvalidRequest("The file {} is larger than {} MB.", name, MAX_FILE_BYTES >> 20,
                             field=field)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("The file {} is not text in UTF-8.", name, field=field) from None
    if "\0" in text:
        raise InvalidRequest("The file {} is not a text file.", name, field=field)
    return text


def decoded(data: bytes) -> str:
    """Text of a file whose standard says Latin-1, in which many tools write UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")

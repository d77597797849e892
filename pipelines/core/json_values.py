"""JSON of strangers, bounded in the number of its values before any of them is made.

Three bytes make an empty list, which takes twenty times as much memory and a microsecond of
everybody's time wherever it is looked at: a bound on bytes alone does not bound that.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

MAX_VALUES = 50_000  # the largest call, a thousand uploads, has a fifth of them


class TooManyValues(ValueError):
    """JSON with more values than may be."""


def read_json(data: bytes | str, most: int = MAX_VALUES,
              parse_int: Callable[[str], Any] | None = None) -> Any:
    """A JSON value.

    Args:
        data: its text, in UTF-8, UTF-16 or UTF-32.
        most: values that it may have; lists and objects count twice, names in objects not at all.
        parse_int: what makes a whole number of its digits; ``int`` where None.

    Raises:
        TooManyValues: it has more.
        ValueError: it is no JSON.
        RecursionError: lists and objects lie too deep in each other.
    """
    if isinstance(data, bytes):
        data = data.decode(json.detect_encoding(data), "surrogatepass")
    if not isinstance(data, str):  # whatever a program sent in its place
        raise ValueError("no text")
    if _marks(data) >= most and _marks(_without_texts(data, most)) >= most:
        raise TooManyValues
    return json.loads(data, parse_int=parse_int)


def _marks(text: str) -> int:
    """Every value but the first stands behind one of these."""
    return text.count(",") + text.count("[") + text.count("{")


def _without_texts(text: str, most: int) -> str:
    """What stands outside of JSON's texts; a mark for each of them where there are too many."""
    text = text.replace("\\\\", "").replace('\\"', "")
    if text.count('"') > 4 * most:  # of values and names
        return "," * most
    return "".join(text.split('"')[::2])

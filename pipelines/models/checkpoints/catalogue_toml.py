"""A catalogue as TOML: its entries from a file, and as the text of one."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.core.errors import WeightsError, reason
from pipelines.core.given_files import given_name, read_given
from pipelines.core.sentences import Sentence
from pipelines.models.checkpoints.entries import CatalogueEntry

MAX_BYTES = 4 * 2**20
MAX_SAID_CHARS = 200  # of what a file says, in a sentence about it
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def read_tables(path: Path) -> list[Any]:
    """The tables of a catalogue's models, unchecked.

    Raises:
        WeightsError: the file cannot be read, or is no catalogue.
    """
    try:
        data = read_given(path, MAX_BYTES)
        if len(data) > MAX_BYTES:
            raise WeightsError("The catalogue {} is larger than {} MB.", given_name(path),
                               MAX_BYTES >> 20)
        tables = tomllib.loads(data.decode()).get("models", [])
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError("The catalogue {} cannot be read: {}.", given_name(path),
                           _said(error)) from None
    if not isinstance(tables, list):
        raise WeightsError("The catalogue {} cannot be read: its models are not [[models]].",
                           given_name(path))
    return tables


def _said(error: Exception) -> str | Sentence:
    """What is wrong, to end a sentence with."""
    if isinstance(error, OSError):
        return reason(error)
    if isinstance(error, UnicodeDecodeError | tomllib.TOMLDecodeError):
        return str(error)[:MAX_SAID_CHARS]
    if isinstance(error, RecursionError):
        return Sentence("it is nested too deeply")
    return Sentence("a number in it has thousands of digits")  # which Python refuses to read


def parse_entry(raw: Any, path: Path) -> CatalogueEntry:
    """A table of the catalogue at ``path`` as an entry.

    Raises:
        WeightsError: one sentence about its first fault.
    """
    try:
        return CatalogueEntry.model_validate(raw)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = str(raw.get("id", ""))[:60] if isinstance(raw, dict) else ""
        where = ".".join([*([repr(name)] if name else []),
                          *(str(part)[:60] for part in fault["loc"])])
        said = fault["msg"].removeprefix("Value error, ")[:MAX_SAID_CHARS]
        if fault["type"] == "string_pattern_mismatch":
            said = Sentence("{!r} is not of the form that is needed there",
                            str(fault["input"])[:60])
        raise WeightsError("The catalogue {} has a wrong entry: {}: {}.", path.name, where,
                           said) from None


def _toml_value(value: Any) -> str:
    """A value as TOML; a JSON string or number is a TOML one too."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml_value(v)}"
                               for key, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text.replace("\x7f", "\\u007f")  # which JSON takes as it is


def _toml_key(key: str) -> str:
    """A name as TOML, in quotes where it needs them."""
    return key if _BARE_KEY.fullmatch(key) else _toml_value(key)


def entry_text(entry: CatalogueEntry) -> str:
    """An entry as TOML; ``parse_entry`` reads the same from it."""
    def lines(table: Mapping[str, Any]) -> list[str]:
        return [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in table.items()
                if value is not None and value is not False and value not in ({}, "")]

    fields = entry.model_dump(exclude_none=True)
    files = fields.pop("files")
    text = ["[[models]]", *lines(fields), *([] if files else ["files = []"])]
    for file in files:
        text += ["[[models.files]]", *lines(file)]
    return "\n".join(text)

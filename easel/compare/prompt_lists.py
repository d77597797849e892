"""Prompts from a list or a table, for a grid: a line each, or a row each with its own options."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from easel.compare.sweeps import MAX_PROMPTS
from pipelines.core.errors import InvalidRequest
from pipelines.zero_shot import decode_labels

PROMPT_COLUMN = "prompt"


@dataclass(frozen=True)
class Line:
    """One row of a grid.

    Attributes:
        prompt: what it draws.
        options: of the generator, as text; those that its row names.
    """

    prompt: str
    options: Mapping[str, str] = field(default_factory=dict)


def read_prompts(name: str, data: bytes) -> list[Line]:
    """The prompts of a file.

    Args:
        name: of the file; one that ends in .csv is a table whose column "prompt", or whose only
            column, holds them, and whose other columns are options. Another has one a line; empty
            lines and those that begin with # are left out.
        data: the file.

    Raises:
        InvalidRequest: it is no text, has no prompts, or too many.
    """
    text = decode_labels(data)
    lines = _rows(text) if Path(name).suffix.lower() == ".csv" else [
        Line(line.strip()) for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise InvalidRequest("The file {} holds no prompts.", Path(name).name, field="prompt")
    if len(lines) > MAX_PROMPTS:
        raise InvalidRequest("{} prompts are too many for a grid; {} is the most.", len(lines),
                             MAX_PROMPTS, field="prompt")
    return lines


def _rows(text: str) -> list[Line]:
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        raise InvalidRequest("The file of prompts is not a CSV table.", field="prompt") from None
    table = [row for row in table if any(cell.strip() for cell in row)]
    if not table:
        return []
    heads = [head.strip().lower() for head in table[0]]
    if PROMPT_COLUMN not in heads:
        if len(heads) > 1:
            raise InvalidRequest('The table of prompts has no column called "prompt".',
                                 field="prompt")
        return [Line(row[0].strip()) for row in table]
    place, found = heads.index(PROMPT_COLUMN), []
    for row in table[1:]:
        cells = dict(zip(heads, (cell.strip() for cell in row), strict=False))
        prompt = row[place].strip() if place < len(row) else ""
        if prompt:
            found.append(Line(prompt, {head: cell for head, cell in cells.items()
                                       if head and head != PROMPT_COLUMN and cell}))
    return found

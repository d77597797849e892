"""Prompts from a list or a table, for a grid: a line each, or a row each with its own options."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from easel.compare.sweeps import MAX_PROMPTS, PROMPT, Axis, Sweep, expand_matrix, plan_sweep
from pipelines.core.errors import InvalidRequest
from pipelines.core.options import parse_options
from pipelines.core.texts import decode_file
from pipelines.registry import Registry

PROMPT_COLUMN = "prompt"


@dataclass(frozen=True)
class Line:
    """One row of a grid.

    Attributes:
        prompt: what it draws.
        options: of the generator; those that its row names, out of a table as text.
    """

    prompt: str
    options: Mapping[str, Any] = field(default_factory=dict)


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
    text = decode_file(Path(name).name, data, "prompt")
    lines = _rows(text) if Path(name).suffix.lower() == ".csv" else [
        Line(line.strip()) for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise InvalidRequest("The file {} holds no prompts.", Path(name).name, field="prompt")
    return _not_too_many(lines)


def given_prompts(prompts: Any) -> list[Line]:
    """The prompts that a program gives, each a text or an object with "prompt" and "options".

    Raises:
        InvalidRequest: they are something else, none, or too many.
    """
    if not isinstance(prompts, list) or not prompts:
        raise InvalidRequest("The prompts of a grid are a list with one at least.", field="prompt")
    lines = []
    for each in prompts:
        fields: Any = {"prompt": each} if isinstance(each, str) else each
        if (not isinstance(fields, Mapping) or set(fields) - {"prompt", "options"}
                or not isinstance(fields.get("prompt"), str)
                or not isinstance(fields.get("options") or {}, Mapping)):
            raise InvalidRequest('A prompt of a grid is text, or an object as in {"prompt": "a '
                                 'cat", "options": {}}.', field="prompt")
        lines.append(Line(fields["prompt"].strip(), fields.get("options") or {}))
    return _not_too_many(lines)


def plan_prompts(registry: Registry, base: Mapping[str, Any], lines: Sequence[Line], x: Axis,
                 words: Mapping[str, Sequence[str]], most: int | None = None) -> Sweep:
    """A grid with a row for each prompt, and for each that one with braces stands for.

    Args:
        registry: the pipelines.
        base: fields of a request with a seed; a row's own options outweigh its.
        lines: of the file or the list.
        x: columns, over anything but prompts.
        words: what wildcards may become.
        most: cells; None for as many as there are.

    Raises:
        InvalidRequest: one sentence about the first fault.
    """
    lines = _not_too_many([Line(prompt, line.options) for line in lines
                           for prompt in expand_matrix(line.prompt)])
    cells = len(lines) * len(x.values)
    if most is not None and cells > most:
        raise InvalidRequest("The grid has {} cells; {} is the most.", cells, most, field="axis")
    for line in lines:  # what the grid's own generator does not have is a slip, and told
        parse_options(registry.get(str(base["pipeline"])).Options, line.options)
    options = dict(base.get("options") or {})
    rows = [plan_sweep(registry, {**base, "options": options | dict(line.options)}, x,
                       Axis(PROMPT, (line.prompt,)), words) for line in lines]
    return Sweep(x, Axis(PROMPT, tuple(line.prompt for line in lines)),
                 tuple(request for row in rows for request in row.requests))


def _not_too_many(lines: list[Line]) -> list[Line]:
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

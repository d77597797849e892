"""What the commands' arguments mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer


def names_in(text: str) -> tuple[str, ...]:
    """The names in a text with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def options_in(pairs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``pipeline.option=value`` pairs, by pipeline.

    Raises:
        typer.BadParameter: one of them has another form.
    """
    found: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        pipeline, dot, option = name.partition(".")
        if not (equals and dot):
            raise typer.BadParameter(f"an option is pipeline.name=value, not {pair!r}")
        found.setdefault(pipeline, {})[option] = value
    return found

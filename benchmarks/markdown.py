"""Figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def share(value: float | None) -> str:
    """A share with two decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.2f}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def cell(value: Any) -> str:
    """A value of any kind: a number with as many decimals as it has, two at least."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2f}" if round(value, 2) == value else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)

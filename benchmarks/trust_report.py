"""What kills and generated inputs found, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def kills_line(results: Mapping[str, Any]) -> str:
    """How many kills lost what, as sentences."""
    kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(results["kinds"].items()))
    return (f"{results['kills']} processes were killed while they wrote ({kinds}), "
            f"{results['in_the_middle']} of them in the middle of a writing; "
            f"{len(results['faults'])} times something that was finished was lost, or files and "
            "database disagreed.")


def fuzz_table(results: Mapping[str, Any]) -> str:
    """How many inputs each reader of strangers' data was tried with, and what broke it."""
    rows = [f"| {name} | {row['inputs']:,} | {row['seconds'] / 60:.1f} | "
            f"{', '.join(row['broken']) or 'nothing'} |" for name, row in sorted(results.items())]
    return "\n".join(["| reader | inputs | minutes | what broke it |", "| --- | --- | --- | --- |",
                      *rows])

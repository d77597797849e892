"""What commands print for machines: one JSON value, alone on the standard output."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for machines.")]


def print_json(value: Any) -> None:
    """Print a value of plain JSON; paths become texts."""
    typer.echo(json.dumps(value, indent=1, default=str))

"""Easel without a browser: ``easel "a red apple" --num-images 4 --out DIR``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from easel.cli.start import run_command

if TYPE_CHECKING:
    from easel.serving.interface import Backend


def main(args: list[str] | None = None, backend: Backend | None = None) -> int:
    """Run the command line.

    Args:
        args: arguments, those of the process where None.
        backend: where to run, closed afterwards; this machine as the settings say where None.

    Returns:
        Exit code: 0, 1 for a failure, 2 for bad input, 130 after Ctrl+C.
    """
    return run_command("easel.cli.app", "python -m pipelines", args, backend)


if __name__ == "__main__":
    sys.exit(main())

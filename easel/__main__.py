"""``python -m easel``, and the script ``easel``: the command line."""

import sys


def console() -> int:
    """Run the command line as ``easel``, the script that ``pip install .`` makes."""
    try:  # Ctrl+C is minded from the first line on
        from easel.cli.start import run_command
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        return 130
    return run_command("easel.cli.app", "easel")


if __name__ == "__main__":
    sys.exit(console())

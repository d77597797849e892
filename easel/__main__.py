"""``python -m easel``: the command line."""

import sys

from easel.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

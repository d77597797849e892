"""A front end in a process of its own, which a test kills: one long run, and a word when it draws.

Called as ``python -m tests.front_process FOLDER OWNER``, the data folder of a cluster on this
machine and whose run it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.core.events import Preview
from tests.asking import stream
from tests.clusters import LONG_RUN, Cluster


def main(folder: Path, owner: str) -> None:
    """Run until somebody ends it."""
    backend = Cluster(folder).front()
    for event in stream(backend, LONG_RUN, owner=owner):
        if isinstance(event, Preview):
            print("it draws", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

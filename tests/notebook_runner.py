"""Runs notebooks in one kernel, in a process of its own, and writes what they became.

What a kernel's channels leave in a process may stop it for good at a later collection of garbage
(a ZeroMQ context waits for its sockets), so none of that happens in the process of the tests:
``python -m tests.notebook_runner FOLDER NAME…``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

NOTEBOOKS_FOLDER = REPOSITORY / "notebooks"
PATIENCE_S = 300


def run(folder: Path, names: Sequence[str]) -> None:
    """Write each notebook with its outputs, errors among them, into a folder."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(NOTEBOOKS_FOLDER))
    for name in names:
        notebook = nbformat.read(NOTEBOOKS_FOLDER / f"{name}.ipynb", as_version=4)
        # What one leaves is no help to the next.
        notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
        NotebookClient(notebook, km=manager, timeout=PATIENCE_S,
                       allow_errors=True).execute(reset_kc=True)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
    sys.stdout.flush()
    os._exit(0)  # without waiting for those sockets

"""The notebooks of the path: short, without outputs, and every one runs and draws its figures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from easel.ui.inside.path import NOTEBOOKS
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "notebooks"
MOST_CELLS, MOST_LINES, PATIENCE_S = 12, 25, 1800


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_each_lesson_has_its_notebook() -> None:
    assert [path.stem for path in sorted(FOLDER.glob("*.ipynb"))] == sorted(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_short_and_committed_without_outputs(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert len(notebook.cells) <= MOST_CELLS
    assert notebook.cells[0].source.startswith(f"# {name[0]}. ")
    assert f"?lesson={name[0]}" in notebook.cells[0].source
    assert "Source: " in notebook.cells[-1].source
    for cell in notebook.cells:
        assert len(cell.source.splitlines()) <= MOST_LINES
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them after they ran in one kernel: libraries and models are loaded once."""
    folder = tmp_path_factory.mktemp("notebooks")
    own = {"EASEL_DATA_DIR": folder / "data", "EASEL_DEVICE": "cpu", "IPYTHONDIR": folder,
           "JUPYTER_RUNTIME_DIR": folder}
    environment = {**os.environ, **{name: str(value) for name, value in own.items()}}
    environment.pop("MPLBACKEND", None)
    done = subprocess.run([sys.executable, "-m", "tests.notebook_runner", str(folder), *NOTEBOOKS],
                          cwd=REPOSITORY, env=environment, capture_output=True, text=True,
                          timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.weights("dalle", "vqgan", "upscaler", "unclip-prior", "unclip-decoder", "clip-guide",
                     "clip-ranker", "discriminator")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_runs_and_draws_figures(name: str, outcomes: Path) -> None:
    notebook = nbformat.read(outcomes / f"{name}.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output for output in outputs if output.output_type == "error"] == []
    assert len([each for each in outputs if "image/png" in each.get("data", {})]) >= 2

"""CONTRIBUTING's walk "Add a generator", followed to its end with ``tests/sketch.py``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client

from pipelines.core.metadata import read_png
from tests.conftest import PATIENCE_S, REPOSITORY
from tests.served import free_port

FOLDERS = ("easel", "pipelines")
MOST_FILES = 3


def files(root: Path) -> dict[str, bytes]:
    """What the product's own files hold, by their path."""
    return {path.relative_to(root).as_posix(): path.read_bytes()
            for folder in FOLDERS for path in sorted((root / folder).rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product to which the sketch was added as CONTRIBUTING says."""
    root = tmp_path_factory.mktemp("walk")
    for folder in FOLDERS:
        shutil.copytree(REPOSITORY / folder, root / folder,
                        ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "app.py", root)
    (root / "assets").symlink_to(REPOSITORY / "assets")
    # 1. Its own file.
    shutil.copy(REPOSITORY / "tests" / "sketch.py", root / "pipelines" / "sketch.py")
    # 2. Its line in the list, with the import of its class. 3. It has no models of its own.
    registry = root / "pipelines" / "registry.py"
    text, count = re.subn(
        r"^(from pipelines\.unclip\.pipeline import .*\n)((?:.*\n)*?GENERATORS = \([^)]*)\)",
        r"from pipelines.sketch import SketchPipeline\n\1\2, SketchPipeline)",
        registry.read_text("utf-8"), flags=re.MULTILINE)
    assert count == 1
    registry.write_text(text, "utf-8")
    return root


def environment(folder: Path) -> dict[str, str]:
    more = {"DATA_DIR": str(folder), "DEVICE": "cpu", "THREADS": "1", "PORT": str(free_port())}
    return os.environ | {f"EASEL_{name}": value for name, value in more.items()}


def test_a_generator_takes_three_files_at_most(walked: Path) -> None:
    before, after = files(REPOSITORY), files(walked)
    touched = {name for name in before.keys() | after.keys()
               if before.get(name) != after.get(name)}
    assert touched == {"pipelines/sketch.py", "pipelines/registry.py"}
    assert len(touched) <= MOST_FILES
    contributing = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    assert "`tests/sketch.py`" in contributing
    assert "`GENERATORS`" in contributing


def test_the_command_line_lists_it_and_draws_with_it(walked: Path, tmp_path: Path) -> None:
    def easel(*arguments: str | Path) -> str:
        return subprocess.run(
            [sys.executable, "-m", "pipelines", *arguments], cwd=walked, check=True,
            env=environment(tmp_path / "data"), capture_output=True, text=True).stdout

    listed = easel("options")
    assert "sketch" in listed
    assert all(option in listed for option in ("steps", "pause_s", "blur"))
    easel("a red apple", "--pipeline", "sketch", "--num-images", "2", "--seed", "5",
          "--option", "steps=3", "--out", tmp_path / "out")
    kept = [read_png(path.read_bytes())["easel"] for path in (tmp_path / "out").glob("*.png")]
    assert {(each["pipeline"], each["seed"], each["options"]["steps"]) for each in kept} == {
        ("sketch", 5, 3), ("sketch", 6, 3)}


@pytest.fixture(scope="module")
def address(walked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where ``python app.py`` of the copy answers."""
    env = environment(tmp_path_factory.mktemp("data"))
    process = subprocess.Popen([sys.executable, "app.py"], cwd=walked, env=env, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("Easel is at"):
                break
        assert process.poll() is None, "".join(said)
        yield f"http://127.0.0.1:{env['EASEL_PORT']}/"
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def test_the_page_offers_it_and_the_api_draws_with_it(address: str) -> None:
    client = Client(address, verbose=False, analytics_enabled=False,
                    httpx_kwargs={"timeout": PATIENCE_S})
    page = json.dumps(client.config)
    assert '["Sketch", "sketch"]' in page, "among the generators to tick"
    assert "How a sketch is drawn" in page, "its lesson"
    assert 'data-option=\\"pause_s\\"' in page, "its options"
    pictures, details = client.predict("a red apple", ["sketch"], 2, 5, {"sketch": {"steps": 3}},
                                       api_name="/generate")
    assert len(pictures) == 2
    assert {picture["pipeline"] for picture in details["pictures"]} == {"sketch"}

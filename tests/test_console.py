"""The command ``easel``: installed, and read by machines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer

from easel.cli.app import app
from easel.cli.main import main
from easel.cli.start import run_weights
from easel.cli.weights import app as weights_app
from easel.history.build import open_history
from easel.history.recorder import Recorder
from easel.serving.backend import LocalBackend
from easel.settings import load_settings
from pipelines.registry import Registry
from pipelines.unclip.pipeline import UnclipPipeline
from tests.conftest import REPOSITORY
from tests.lab import lab_backend, write_pictures
from tests.noise import linear_cache, noise_registry
from tests.small_models import small_cache

BUILD = """
import sys
from setuptools import build_meta
print(build_meta.build_wheel(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def commands(group: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of a command line, those of groups in groups too."""
    for each, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {each}")
        else:
            yield f"{name} {each}".strip(), command


def said(capsys: pytest.CaptureFixture[str], code: int, wanted: int = 0) -> Any:
    """What a command printed, which is one JSON value and nothing else."""
    shown = capsys.readouterr()
    assert code == wanted, shown.err
    return json.loads(shown.out)


@pytest.mark.parametrize(("args", "code", "says"), [
    (["a red apple", "--pipeline", "nobody"], 2, "There is no generator called 'nobody'"),
    (["a red apple", "--pipeline", "noise", "--option", "fault=error"], 1, "went wrong"),
    (["generate"], 2, "Missing argument 'prompt'; try --help."),
    (["a red apple", "--colour", "red"], 2, "--colour"),
    (["history", "show", "0"], 1, "has no picture called"),
    (["grid", "nowhere.csv"], 2, "cannot be read")])
def test_a_failure_is_json_too(args: list[str], code: int, says: str,
                               capsys: pytest.CaptureFixture[str]) -> None:
    ended = main([*args, "--json"], LocalBackend(noise_registry(), linear_cache()))
    shown = capsys.readouterr()
    assert ended == code
    found = json.loads(shown.out)
    assert list(found) == ["error"]
    assert says in found["error"]
    assert shown.err.rstrip().endswith(found["error"]), "and people read the same"


def test_what_follows_two_dashes_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    """A prompt may look like one."""
    assert main(["generate", "--pipeline", "nobody", "--", "--json"],
                LocalBackend(noise_registry(), linear_cache())) == 2
    assert capsys.readouterr().out == ""



def test_every_command_speaks_json() -> None:
    found = {name: {option for param in command.params for option in param.opts}
             for group in (app, weights_app)
             for name, command in commands(typer.main.get_command(group))}
    assert {"generate", "history list", "runs resume", "compare", "walk", "download"} <= set(found)
    assert [name for name, options in found.items() if "--json" not in options] == []


def test_drawing_and_history_for_machines(capsys: pytest.CaptureFixture[str],
                                          tmp_path: Path) -> None:
    def draw(*args: str) -> int:
        with closing(open_history(load_settings())) as history:
            return main([*args, "--json"], LocalBackend(
                noise_registry(), linear_cache(), record=Recorder(history)))

    drawn = said(capsys, draw("a red apple", "--pipeline", "noise", "--num-images", "2",
                              "--seed", "7", "--option", "steps=2"))
    assert sorted(each["seed"] for each in drawn["pictures"]) == [7, 8]
    assert all(Path(each["path"]).is_file() for each in drawn["pictures"])
    assert drawn["pictures"][0]["facts"]["prompt"] == "a red apple"
    assert (drawn["stopped"], drawn["paused"], drawn["video"]) == (False, None, None)
    assert "noise" in said(capsys, draw("options"))
    panes = said(capsys, draw("compare", "a cat", "--pane", "noise", "--pane", "noise:steps=2"))
    assert [pane["error"] for pane in panes["panes"]] == [None, None]
    assert Path(panes["written"]).is_file()

    listed = said(capsys, main(["history", "list", "--json"]))
    assert (listed["total"], listed["page"]) == (4, 1)
    first = listed["pictures"][0]["id"]
    assert said(capsys, main(["history", "show", first, "--json"]))["id"] == first
    assert said(capsys, main(["history", "list", "--owners", "--json"])) == {"local": 4}
    written = said(capsys, main(["history", "export", first, "--out", "a.zip", "--json"]))
    assert written == {"written": "a.zip", "pictures": [first]}
    assert said(capsys, main(["history", "delete", first, "--json"]))["deleted"] == 1
    assert said(capsys, main(["history", "restore", first, "--json"])) == {"restored": 1}
    assert said(capsys, main(["runs", "list", "--json"])) == []


def test_the_lab_and_the_models_for_machines(capsys: pytest.CaptureFixture[str],
                                             tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    first = write_pictures(folder, 2)[0]
    found = said(capsys, main(["classify", str(folder), "--labels", "cat, dog", "--json"],
                              lab_backend()))
    assert [sum(each["probabilities"].values()) for each in found["pictures"]] == pytest.approx(
        [1, 1], abs=1e-5)
    assert said(capsys, main(["index", str(folder), "--json"], lab_backend())) == {
        "new": 2, "known": 0, "removed": 0, "unreadable": {}}
    hits = said(capsys, main(["search", str(folder), "--picture", str(first), "--json"],
                             lab_backend()))["hits"]
    assert hits[0]["path"] == str(first)
    groups = said(capsys, main(["search", str(folder), "--duplicates", "--json"], lab_backend()))
    assert groups == {"groups": []}
    assert said(capsys, main(["rerank", str(first), "--prompt", "a cat", "--json"],
                             lab_backend()))["order"] == [0]
    registry = Registry()
    registry.register(UnclipPipeline())
    walked = said(capsys, main(["walk", "a cat", "a dog", "--frames", "3", "--json"],
                               LocalBackend(registry, small_cache())))
    assert len(walked["frames"]) == 3
    assert Path(walked["video"]).is_file()
    models = said(capsys, run_weights(["list", "--json"]))
    assert {"id", "family", "licence", "is_here"} <= set(models[0])


def test_pip_installs_a_command_that_finds_its_files(tmp_path: Path) -> None:
    """A wheel of the packages and of a part of the assets, used where there is no checkout."""
    source, out = tmp_path / "source", tmp_path / "out"
    for name in ("easel", "pipelines"):
        shutil.copytree(REPOSITORY / name, source / name,
                        ignore=shutil.ignore_patterns("__pycache__"))
    (source / "assets" / "lab").mkdir(parents=True)
    for name in ("pyproject.toml", "LICENSE", "requirements.txt", "README.md",
                 "assets/catalogue.toml"):
        shutil.copy(REPOSITORY / name, source / name)
    (source / "assets" / "lab" / "x.txt").write_text("x")
    out.mkdir()
    built = subprocess.run([sys.executable, "-c", BUILD, str(out)], cwd=source, timeout=600,
                           capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = out.glob("easel-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(name for name in names if name.endswith("entry_points.txt"))
        assert "easel = easel.__main__:console" in archive.read(info).decode()
        facts = archive.read(info.replace("entry_points.txt", "METADATA")).decode()
        archive.extractall(tmp_path / "site")
    assert "Requires-Dist: torch==" in facts
    assert {"assets/catalogue.toml", "assets/lab/x.txt", "easel/ui/style.css",
            "easel/words/translations/pt.toml"} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "training"))]
    done = subprocess.run(
        [sys.executable, "-c", "from easel.__main__ import console; import sys; "
         "from easel.settings import load_settings; print(load_settings().data_dir); "
         "sys.argv[1:] = ['history', 'list', '--json']; sys.exit(console())"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
        env={name: value for name, value in os.environ.items() if not name.startswith("EASEL_")}
        | {"PYTHONPATH": str(tmp_path / "site"), "XDG_DATA_HOME": str(tmp_path / "share")})
    assert done.returncode == 0, done.stderr
    first, _, rest = done.stdout.partition("\n")
    assert first == str(tmp_path / "share" / "easel" / "data")
    assert json.loads(rest)["total"] == 0

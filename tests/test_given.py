"""What people give the console: numbers that are finite, and files that have an end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import typer

from easel.cli.app import app
from easel.cli.given import finite
from easel.cli.main import main
from easel.cli.start import run_weights
from easel.cli.weights import app as weights_app
from easel.serving.backend import LocalBackend
from pipelines.core.given_files import read_given
from tests.lab import lab_backend, write_pictures
from tests.noise import linear_cache, noise_registry
from tests.test_console import commands


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_every_number_of_the_console_is_read_in_one_place() -> None:
    """NaN passes every bound, and what is computed with it says nothing."""
    found = {}
    for group in (app, weights_app):
        for name, command in commands(typer.main.get_command(group)):
            for param in command.params:
                if "float" in str(param.type_descriptor.annotation):
                    found[f"{name} {param.name}"] = param.type_descriptor.parameter_info.parser
    assert {"search picture_weight", "search threshold", "compare seconds",
            "runs branch noise"} <= set(found)
    assert {*found.values()} == {finite}


@pytest.mark.parametrize("odd", ["nan", "inf", "-Infinity", "1e999", "much"])
def test_a_weight_that_is_no_number_is_refused(odd: str, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = write_pictures(tmp_path / "pictures", 1)
    code = main(["search", str(path.parent), "--picture", str(path), f"--picture-weight={odd}"],
                lab_backend())
    said = capsys.readouterr().err
    assert code == 2
    assert f"{odd!r} is not a number" in said
    assert said.count("\n") == 1


NO_FILES = ["pipe", "device", "folder"]


@pytest.fixture
def no_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A path under the name of a picture that is no file."""
    path = tmp_path / "odd.png"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
@pytest.mark.parametrize("no_file", NO_FILES, indirect=True)
@pytest.mark.parametrize("args", [
    ["a cat", "--pipeline", "noise", "--init-image", "ODD"],
    ["a cat", "--pipeline", "noise", "--image-prompt", "ODD"],
    ["a cat", "--pipeline", "noise", "--mask", "ODD"], ["grid", "ODD"],
    ["presets", "import", "ODD"],
    ["compare", "a", "--pane", "noise", "--pane", "noise", "--mask", "ODD"],
    ["rerank", "--prompt", "a", "ODD"], ["walk", "a cat", "ODD"],
    ["classify", "PICTURES", "--labels-file", "ODD"], ["search", "PICTURES", "--picture", "ODD"]],
    ids=" ".join)
def test_what_is_no_file_is_not_waited_for(args: list[str], no_file: Path, tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe was waited for without end, and a device filled the memory."""
    write_pictures(tmp_path / "pictures", 1)
    places: dict[str, Any] = {"ODD": no_file, "PICTURES": tmp_path / "pictures"}
    code = main([str(places.get(arg, arg)) for arg in args],
                LocalBackend(noise_registry(), linear_cache()))
    said = capsys.readouterr().err.splitlines()
    assert code == 2
    assert said[-1].endswith(("odd.png cannot be read: it is no file.",
                              "odd.png cannot be read: is a directory."))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
@pytest.mark.parametrize("no_file", NO_FILES, indirect=True)
def test_a_catalogue_that_is_no_file_is_one_sentence(no_file: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    assert run_weights(["list", "--catalogue", str(no_file)]) == 1
    assert capsys.readouterr().err in ("The catalogue odd.png cannot be read: it is no file.\n",
                                       "The catalogue odd.png cannot be read: is a directory.\n")


def test_of_a_file_no_more_is_read_than_is_of_use(tmp_path: Path) -> None:
    path = tmp_path / "endless.png"
    with path.open("wb") as file:
        file.truncate(2**40)  # of which the disk holds nothing
    assert read_given(path, 1000) == bytes(1001)
    (tmp_path / "small").write_bytes(b"a")
    assert read_given(tmp_path / "small", 1000) == b"a"
    with pytest.raises(FileNotFoundError):
        read_given(tmp_path / "nowhere", 1000)


def test_a_catalogue_without_an_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                               ) -> None:
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(2**40)
    assert run_weights(["list", "--catalogue", str(tmp_path / "large.toml")]) == 1
    assert capsys.readouterr().err == "The catalogue large.toml is larger than 4 MB.\n"


def test_no_bar_is_drawn_where_there_is_no_terminal(tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    """A log has plain lines."""
    code = main(["a cat", "--pipeline", "noise", "--num-images", "1", "--option", "steps=2",
                 "--out", str(tmp_path / "out")], LocalBackend(noise_registry(), linear_cache()))
    assert code == 0
    said = capsys.readouterr().err
    assert "Drawing 100% 2/2\n" in said
    assert not set(said) & set("\r\x1b█|")


@pytest.mark.parametrize("option", ["--text", "--pipeline", "--model"])
def test_filters_of_the_history_are_bounded(option: str, capsys: pytest.CaptureFixture[str],
                                            ) -> None:
    """A thousand words were a query that the database gave up."""
    assert main(["history", "list", option, "a " * 251]) == 2
    assert capsys.readouterr().err == (f"The filter {option[2:]} must be text of at most 500 "
                                       "characters.\n")

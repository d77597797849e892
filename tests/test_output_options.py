"""Every option that says where files go, given ``.``, ``..``, ``/`` and nothing at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from easel.cli.app import app
from easel.cli.main import main
from easel.compare.bundle import write_folder
from easel.history.build import open_history
from easel.serving.backend import LocalBackend
from easel.settings import load_settings
from pipelines.core.errors import EaselError
from pipelines.core.new_files import check_file, check_place, free_folder, write_new
from pipelines.unclip.pipeline import UnclipOptions
from pipelines.unclip.walk import Walk
from pipelines.unclip.walk_files import WALK_FILES, write_walk
from tests.bundle_folder import read_folder
from tests.kept import new_picture
from tests.lab import lab_backend, write_pictures
from tests.noise import linear_cache, noise_registry
from tests.test_bundle import bundle

# Options whose files are read.
INPUTS = {"init_image", "image_prompt", "mask", "labels_file", "picture"}
# Of each command with an option for a file, arguments with which it would write one.
TO_FILES = {
    ("classify", "csv"): ["classify", "pictures", "--labels", "cat,dog", "--csv"],
    ("history export", "out"): ["history", "export", "--out"],
    ("presets export", "out"): ["presets", "export", "--out"]}
# Of each command with an option for a folder, arguments that end before anything is written: the
# root of the disk may be the tests' to write to.
TO_FOLDERS = {
    ("generate", "out"): ["generate", "a cat", "--pipeline", "nobody", "--out"],
    ("grid", "out"): ["grid", "prompts.txt", "--pipeline", "nobody", "--out"],
    ("walk", "out"): ["walk", "a cat", "a dog", "--out"],
    ("compare", "out"): ["compare", "a cat", "--pane", "nobody", "--pane", "noise", "--out"],
    ("runs resume", "out"): ["runs", "resume", "0123", "--out"],
    ("runs branch", "out"): ["runs", "branch", "0123", "--out"]}
NAMELESS = [".", "..", "/", ""]


def path_options(command: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Of every command, those options that are a path and not read."""
    for below, each in getattr(command, "commands", {}).items():
        yield from path_options(each, f"{name} {below}".strip())
    for option in command.params:
        annotation = option.type_descriptor.annotation
        if option.opts[0].startswith("-") and annotation is Path and option.name not in INPUTS:
            yield name, option.name


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    write_pictures(Path("pictures"), 1)
    Path("prompts.txt").write_text("a cat")


def test_every_output_option_is_known_here() -> None:
    found = set(path_options(typer.main.get_command(app)))
    assert found == set(TO_FILES) | set(TO_FOLDERS)


@pytest.mark.parametrize("path", NAMELESS)
@pytest.mark.parametrize("args", TO_FILES.values(), ids=" ".join)
def test_a_folder_is_refused_for_a_file_before_anything_is_done(
        args: list[str], path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(open_history(load_settings())) as history:
        history.add("local", [new_picture()])
    before = set(Path("..").rglob("*"))
    assert main([*args, path], lab_backend()) == 1
    said = capsys.readouterr()
    assert said.out == "", "nothing was worked out"
    assert said.err.splitlines() == [said.err.strip()], "no bar, no second line"
    assert said.err.endswith("is a folder.\n")
    assert set(Path("..").rglob("*")) == before


@pytest.mark.parametrize("path", NAMELESS)
@pytest.mark.parametrize("args", TO_FOLDERS.values(), ids=" ".join)
def test_a_folder_without_a_name_ends_in_no_traceback(
        args: list[str], path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*args, path], LocalBackend(noise_registry(), linear_cache())) in (1, 2)
    said = capsys.readouterr()
    assert said.err.splitlines() == [said.err.strip()]


def test_a_comparison_goes_beside_the_folder_that_is_here(tmp_path: Path) -> None:
    for path, named in ((".", "b-2"), ("..", "../a-2"), ("", "b-3"), (".", "b-4")):
        assert main(["compare", "a cat", "--pane", "noise", "--pane", "noise", "--out", path],
                    LocalBackend(noise_registry(), linear_cache())) == 0
        assert len(read_folder(tmp_path / "a" / named).files) == 2
    assert not list(Path().glob("*.html")), "nothing of it among what was here"


def test_a_walk_and_a_comparison_in_a_folder_by_another_name(tmp_path: Path) -> None:
    plan = Walk("a cat", "a dog", 2, 0, UnclipOptions())
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    for where in (tmp_path / "a" / "b", tmp_path / "a" / "b-2"):
        check_place(Path(), "The walk", WALK_FILES)
        assert {file.resolve().parent for file in write_walk(Path(), plan, frames)} == {where}
    assert write_folder(bundle(), Path("..")) == tmp_path / "a-2"


def test_the_root_of_the_disk_has_no_place_beside_it() -> None:
    root = Path("/")
    for refused in (lambda: free_folder(root), lambda: check_place(root, "It", ("*",))):
        with pytest.raises(EaselError, match=r"^The folder / holds files already, and "):
            refused()


def test_what_names_no_file_is_not_written(tmp_path: Path) -> None:
    for path in (Path(), Path(".."), Path("/"), Path("pictures/..")):
        with pytest.raises(IsADirectoryError):
            write_new(path, b"x")
        with pytest.raises(EaselError, match=r"^It could not be written: .* is a folder\.$"):
            check_file(path, "It")
    with pytest.raises(EaselError, match="file name too long"):
        check_file(tmp_path / ("x" * 5000), "It")
    if Path("/dev/null").exists():
        check_file(Path("/dev/null"), "It")
    check_file(tmp_path / "new" / "x.csv", "It")
    assert not (tmp_path / "new").exists()

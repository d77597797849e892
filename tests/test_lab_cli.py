"""The lab on the command line: the same answers as the page, one sentence for what goes wrong."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from easel.cli.main import main
from tests.lab import lab_backend, write_pictures


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    write_pictures(tmp_path / "pictures", 3)
    return tmp_path / "pictures"


def run(*args: str, name: str = "a" * 64) -> int:
    return main(list(args), lab_backend(name))


def test_pictures_are_classified_and_written_as_csv(folder: Path, tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.txt").write_text("fire engine\ncat\n", encoding="utf-8")
    (folder / "bad.png").write_bytes(b"no picture")
    code = run("classify", str(folder), "--labels", "cat, dog", "--labels-file",
               str(tmp_path / "labels.txt"), "--template", "a photo of a {}", "--template", "{}",
               "--csv", str(tmp_path / "out.csv"))
    said = capsys.readouterr()
    assert code == 0
    assert said.out.splitlines()[0].endswith("2 templates")
    assert "logit scale" in said.out
    assert "bad.png: The file is not a PNG, JPEG or WebP picture." in said.err
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["picture"]).name for row in rows] == [
        "picture-000.png", "picture-001.png", "picture-002.png"]
    for row, line in zip(rows, said.out.splitlines()[1:], strict=True):
        shares = {label: float(row[label]) for label in ("cat", "dog", "fire engine")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert row["label"] == max(shares, key=lambda label: shares[label])
        assert line.startswith(f"{row['picture']}: {row['label']} ")


def test_a_folder_is_indexed_and_searched(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("search", str(folder), "a cat") == 1
    assert capsys.readouterr().err == ("pictures was not indexed with this CLIP yet: index it "
                                       "first.\n")
    assert run("index", str(folder)) == 0
    assert capsys.readouterr().out == "The index is up to date: 3 new, 0 known already.\n"
    picture = folder / "picture-001.png"
    assert run("search", str(folder), "--picture", str(picture), "--limit", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(rf" +1 +1\.000 +{picture}", lines[0])
    assert run("search", str(folder), "a cat", "--until", "1999-12-31") == 0
    assert capsys.readouterr().out == "No picture fits.\n"
    (folder / "copy.png").write_bytes(picture.read_bytes())
    assert run("index", str(folder)) == 0
    capsys.readouterr()
    assert run("search", str(folder), "--duplicates", "--threshold", "0.9999") == 0
    assert capsys.readouterr().out.splitlines() == [
        "1:", f"  {picture}", f"  {folder / 'copy.png'}"]


def test_other_weights_are_said_and_replaced_when_told_to(
        folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert run("index", str(folder)) == 0
    capsys.readouterr()
    assert run("index", str(folder), name="b" * 64) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "The index of these pictures was made with other weights of this CLIP: allow a rebuild to "
        "make it again.")
    assert run("index", str(folder), "--rebuild", name="b" * 64) == 0
    assert "3 new" in capsys.readouterr().out


@pytest.mark.parametrize(("args", "sentence"), [
    (["classify", "PICTURES"], "There are no labels: type two or more, with commas between them."),
    (["classify", "nowhere.png", "--labels", "a,b"], "There is no file or folder nowhere.png."),
    (["classify", "EMPTY", "--labels", "a,b"],
     "There are no pictures (.png, .jpg, .jpeg, .webp) to look at."),
    (["classify", "PICTURES", "--labels", "a,b", "--template", "a photo"],
     "The template 'a photo' must hold {} once, where the label goes."),
    (["classify", "PICTURES", "--labels-file", "gone.txt"],
     "The file of labels gone.txt cannot be read: no such file or directory."),
    (["index", "nowhere"], "The folder nowhere cannot be read: no such file or directory."),
    (["search", "PICTURES"], "There is nothing to look for: give a text or a picture."),
    (["search", "PICTURES", "cat", "--since", "yesterday"],
     "'yesterday' is not a day: write it as 2026-11-24."),
    (["search", "PICTURES", "--picture", "gone.png"],
     "The picture gone.png cannot be read: no such file or directory."),
])
def test_what_cannot_be_done_is_one_sentence(args: list[str], sentence: str, folder: Path,
                                             tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    places = {"PICTURES": str(folder), "EMPTY": str(tmp_path / "empty")}
    assert run(*(places.get(arg, arg) for arg in args)) == 2
    assert capsys.readouterr().err.strip() == sentence


def test_pictures_that_were_removed_are_not_listed(folder: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert run("index", str(folder)) == 0
    (folder / "picture-001.png").unlink()
    capsys.readouterr()
    assert run("search", str(folder), "a cat") == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    assert "picture-001.png" not in said.out
    assert said.err == ("Pictures that were removed since the folder was indexed: 1. Index it "
                        "again to leave them out.\n")

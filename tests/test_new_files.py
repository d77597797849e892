"""Nothing on disk is lost to a file of the same name, whatever wrote either of them."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel.cli.main import main
from easel.compare.bundle import write_folder
from easel.history.export import write_zip
from easel.serving.backend import LocalBackend
from pipelines.core.errors import EaselError
from pipelines.core.metadata import read_png
from pipelines.core.new_files import check_place, free_folder, write_new
from pipelines.unclip.pipeline import UnclipOptions
from pipelines.unclip.walk import Walk
from pipelines.unclip.walk_files import write_walk
from tests.bundle_folder import read_folder
from tests.kept import new_picture, opened
from tests.lab import lab_backend, write_pictures
from tests.noise import linear_cache, noise_registry
from tests.test_bundle import bundle


@given(st.lists(st.tuples(st.sampled_from(["a.png", "a-2.png", "a", "b.tar.gz", ".c"]),
                          st.binary(max_size=3)), max_size=12))
def test_every_file_stays(files: list[tuple[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written = {write_new(Path(folder, name), data): data for name, data in files}
        assert len(written) == len(files)
        assert {path: path.read_bytes() for path in Path(folder).iterdir()} == written


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.EOPNOTSUPP])
def test_disks_without_links_keep_files_as_well(refusal: int, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "link", no_link)
    assert [write_new(tmp_path / "a.png", b"%d" % n).name for n in range(3)] == [
        "a.png", "a-2.png", "a-3.png"]
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"0", b"1", b"2"]


def test_two_at_once_get_a_name_each(tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda n=n: found.append(
        write_new(tmp_path / "a.png", b"%d" % n))) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 12
    assert {path.read_bytes() for path in found} == {b"%d" % n for n in range(12)}


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    assert write_new(Path("/dev/null"), b"x") == Path("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert write_new(tmp_path / "link", b"x").name == "link-2"


def test_places_are_looked_at_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    check_place(tmp_path / "new" / "folder", "It")
    assert not (tmp_path / "new").exists()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(EaselError, match=r"^It could not be written: file is not a folder\.$"):
            check_place(folder, "It")
    with pytest.raises(EaselError, match="dangling is not a folder"):
        check_place(tmp_path / "dangling", "It")
    with pytest.raises(EaselError, match="could not be written: file name too long"):
        check_place(tmp_path / ("x" * 5000), "It")
    if Path("/proc/self").exists():  # whose folders are root's to write to, and take no files
        with pytest.raises(EaselError, match=r"^It could not be written: "):
            check_place(Path("/proc/pictures"), "It")
    check_place(tmp_path, "It")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(EaselError, match="is not yours to write to"):
        check_place(tmp_path, "It")


def draw(folder: Path, prompt: str, *more: str) -> None:
    assert main([prompt, "--pipeline", "noise", "--seed", "5", "--num-images", "1", "--out",
                 str(folder), *more], LocalBackend(noise_registry(), linear_cache())) == 0


def test_pictures_whose_names_are_alike_are_all_kept(tmp_path: Path) -> None:
    out, long = tmp_path / "o", "word " * 20
    prompts = ["яблоко", "日本", f"{long} one", f"{long} two", "a cat", "a cat"]
    for prompt in prompts:
        draw(out, prompt, "--video")
    draw(out, "a cat", "--option", "contrast=0.5", "--video")
    pictures = sorted(out.glob("*.png"))
    assert len(pictures) == len(prompts) + 1 == len(list(out.glob("*.mp4")))
    told = [read_png(path.read_bytes())["easel"]["prompt"] for path in pictures]
    assert sorted(told) == sorted(prompt.strip() for prompt in [*prompts, "a cat"])
    assert {"picture-noise-5.png", "picture-noise-5-2.png", "a-cat-noise-5-3.png",
            "a-cat-noise-5-3.mp4"} <= {path.name for path in out.iterdir()}


def test_a_place_that_cannot_be_written_to_is_told_before_drawing(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    for args in (["a cat", "--pipeline", "noise", "--out"],
                 ["compare", "a cat", "--pane", "noise", "--pane", "noise", "--out"],
                 ["walk", "a cat", "a dog", "--out"],
                 ["classify", str(tmp_path), "--labels", "a,b", "--csv"]):
        below = "x.csv" if "--csv" in args else "below"
        assert main([*args, str(tmp_path / "file" / below)],
                    LocalBackend(noise_registry(), linear_cache())) == 1
        said = capsys.readouterr()
        assert said.err.splitlines() == [said.err.strip()], "no bar, no second line"
        assert "could not be written: file is not a folder." in said.err
    assert (tmp_path / "file").read_text() == "x"


def test_walks_and_comparisons_go_into_folders_of_their_own(tmp_path: Path) -> None:
    plan = Walk("a cat", "a dog", 3, 0, UnclipOptions())
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a-cat-dalle-5.png").write_bytes(b"a picture of another kind")
    for name in ("out", "out-2"):
        files = write_walk(tmp_path / "out", plan, frames)
        assert {file.parent for file in files} == {tmp_path / name}
        assert [file.name for file in files] == [
            "strip.png", "walk.mp4", *(f"frame-{n:02}.png" for n in range(len(frames)))]
        assert all(file.stat().st_size for file in files)
        frames = frames[:2] + 255
    assert len(list((tmp_path / "out").iterdir())) == 6
    for name in ("c", "c-2", "c-3"):
        assert write_folder(bundle(), tmp_path / "c") == tmp_path / name
        assert read_folder(tmp_path / name).facts == bundle().facts
    assert free_folder(tmp_path / "c", ("*.mp4",)) == tmp_path / "c"


def test_a_picture_exported_twice_is_there_twice(tmp_path: Path) -> None:
    with opened(tmp_path / "history") as history:
        [kept] = history.add("me", [new_picture()])
        path = write_zip(history.files, [kept] * 4, tmp_path / "x.zip")
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.startswith("pictures/")]
        assert len(names) == len(set(names)) == 4
        listed = json.loads(archive.read("history.json"))["pictures"]
        assert [picture["file"] for picture in listed] == names


def test_exports_and_tables_leave_others_alone(tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    with opened(tmp_path / "history") as history:
        kept = history.add("me", [new_picture()])
        assert [write_zip(history.files, kept, tmp_path / "x.zip").name for _ in range(2)] == [
            "x.zip", "x-2.zip"]
    write_pictures(tmp_path / "pictures", 1)
    table = tmp_path / "x.csv"
    table.write_text("mine")
    assert main(["classify", str(tmp_path / "pictures"), "--labels", "cat,dog", "--csv",
                 str(table)], lab_backend()) == 0
    assert table.read_text() == "mine"
    assert (tmp_path / "x-2.csv").read_text().startswith("picture,")
    assert capsys.readouterr().err == (
        f"There was a file x.csv already, so the table is in {tmp_path / 'x-2.csv'}.\n")

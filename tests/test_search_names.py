"""Pictures of any name, from anywhere, in a data folder that was moved: all are searched."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel.cli.main import main
from easel.search.collections import Collection, folder_collection, upload_collection
from easel.search.database import DATABASE
from easel.search.duplicates import near_duplicates
from easel.search.files import PictureFile, list_folder, with_own_keys
from easel.search.opening import find_index, index_folder
from easel.search.paths import found_path, kept_path
from easel.search.query import search
from easel.search.searcher import Searcher
from easel.search.update import UpdateProgress, update_index
from easel.serving.backend import LocalBackend
from pipelines.core.errors import InvalidRequest
from pipelines.core.texts import fault_of
from pipelines.unclip.walk import Walk
from pipelines.weighted_prompts import parse_prompts
from pipelines.zero_shot import check_labels, check_templates
from tests.kept import new_picture, opened
from tests.lab import CLIP, lab_backend, write_pictures
from tests.test_foreign_pictures import CASES

CAFE = os.fsdecode(b"caf\xe9.png")
only_bytes = pytest.mark.skipif(os.name != "posix", reason="file names are text here")


@pytest.fixture(scope="module")
def backend() -> Iterator[LocalBackend]:
    made = lab_backend()
    yield made
    made.close()


def indexed(collection: Collection, backend: LocalBackend) -> UpdateProgress:
    *_, last = update_index(collection.folder, collection.files, backend, CLIP)
    return last


def paths_of(collection: Collection, backend: LocalBackend) -> dict[str, str]:
    """Path of every picture by its key, as a search finds them."""
    searcher = Searcher(backend)
    clip, direction = searcher.direction(CLIP, [("a cat", 1.0)])
    hits = search(searcher.snapshot(collection, clip), direction, 1000)
    return {hit.item.key: hit.item.path for hit in hits}


def test_half_a_character_in_a_picture_does_not_end_the_index(
        tmp_path: Path, backend: LocalBackend) -> None:
    folder = tmp_path / "pictures"
    write_pictures(folder, 2)
    (folder / "surrogate.png").write_bytes((CASES / "surrogate.png").read_bytes())
    collection = folder_collection(folder, tmp_path / "data")
    assert indexed(collection, backend).message().startswith("The index is up to date: 3 new")
    snapshot = Searcher(backend).snapshot(collection, backend.embed(CLIP))
    assert {item.prompt for item in snapshot.items(range(3))} == {"", "a  cat"}


@only_bytes
def test_names_that_are_no_text_are_indexed_and_classified(
        tmp_path: Path, backend: LocalBackend, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "pictures"
    [picture, *_] = write_pictures(folder, 2)
    for name in (CAFE, "caf\udcea.png"):  # both look the same
        (folder / name).write_bytes(picture.read_bytes())
    (folder / "caf\udceb.png").write_bytes(b"no picture")
    collection = folder_collection(folder, tmp_path / "data")
    last = indexed(collection, backend)
    assert last.message().startswith("The index is up to date: 5 new")
    assert [name for name, _ in last.unreadable] == ["caf\ufffd.png (3)"]
    paths = paths_of(collection, backend)
    assert {Path(paths[key]).name for key in ("caf\ufffd.png", "caf\ufffd.png (2)")} == {
        CAFE, "caf\udcea.png"}
    assert all(Path(path).is_file() for path in paths.values())
    assert indexed(collection, backend).kept == 5
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    assert main(["classify", str(folder), "--labels", "cat,dog", "--csv",
                 str(tmp_path / "x.csv")], lab_backend()) == 0
    assert capsys.readouterr().out.count("caf\ufffd.png: ") == 2
    assert (tmp_path / "x.csv").read_bytes().decode().count("caf\ufffd.png") == 2


def test_the_same_upload_twice_is_two_pictures_that_are_alike(
        tmp_path: Path, backend: LocalBackend) -> None:
    [picture] = write_pictures(tmp_path / "hash", 1)
    [other] = write_pictures(tmp_path / "elsewhere" / "hash", 1)
    collection = upload_collection([picture, picture, other], "anna", tmp_path / "data")
    assert indexed(collection, backend).message().startswith("The index is up to date: 3 new")
    assert paths_of(collection, backend) == {
        "hash/picture-000.png": str(picture), "hash/picture-000.png (2)": str(picture),
        "hash/picture-000.png (3)": str(other)}
    snapshot = Searcher(backend).snapshot(collection, backend.embed(CLIP))
    *_, told = near_duplicates(snapshot, 0.999)
    assert [sorted(group) for group in told.groups] == [[0, 1, 2]]


def test_a_moved_data_folder_shows_its_pictures(tmp_path: Path, backend: LocalBackend) -> None:
    from easel.search.collections import history_collection

    def collection(data: Path) -> Collection:
        return history_collection(history, "anna", data)

    before, after = tmp_path / "a", tmp_path / "b"
    with opened(before / "history") as history:
        history.add("anna", [new_picture(seed=n) for n in range(3)])
        indexed(collection(before), backend)
        paths = paths_of(collection(before), backend)
        assert all(Path(path).is_relative_to(before) for path in paths.values())
        folder = collection(before).folder
    before.rename(after)
    with opened(after / "history") as history:
        for _ in range(2):
            moved = paths_of(collection(after), backend)
            assert moved.keys() == paths.keys()
            assert all(Path(path).is_file() for path in moved.values())
            # An index of an earlier Easel holds whole paths: the next look at it mends them.
            index = index_folder(after / folder.relative_to(before), CLIP, "a" * 64)
            with closing(sqlite3.connect(index / DATABASE)) as database:
                database.executemany("UPDATE pictures SET path = ? WHERE key = ?",
                                     [(path, key) for key, path in paths.items()])
                database.commit()
            assert paths_of(collection(after), backend) == paths, "the old ones"
            assert indexed(collection(after), backend).message() == (
                "The index is up to date: nothing new, 3 known already.")
        found = find_index(collection(after).folder, CLIP, "a" * 64)
        assert found is not None
        change = found.change()
        indexed(collection(after), backend)
        assert found.change() == change, "nothing is written where nothing moved"


NAMES = st.text(st.characters(codec=None, exclude_characters="/\0"), min_size=1, max_size=8)


@only_bytes
@given(st.lists(st.binary(min_size=1, max_size=6).filter(lambda name: b"\0" not in name)), NAMES)
def test_paths_come_back(parts: list[bytes], name: str) -> None:
    roots = Path("/data/a"), Path("/data/b")
    below = Path("/data/a", *(os.fsdecode(part).lstrip("/") for part in parts))
    kept = kept_path(below, roots[0])
    assert isinstance(kept, bytes) or fault_of(kept) is None
    assert found_path(kept, roots[0]) == str(below)
    assert found_path(kept, roots[1]) == str(roots[1] / below.relative_to(roots[0]))
    assert found_path(kept_path("/elsewhere/x", roots[0]), roots[1]) == "/elsewhere/x"


@given(st.lists(st.tuples(st.sampled_from(["a", "a (2)", "a (3)", "b"]), st.integers(0, 9))))
def test_keys_are_made_different(pairs: list[tuple[str, int]]) -> None:
    files = [PictureFile(key, Path(f"/{key}/{n}"), 1, 2) for key, n in pairs]
    own = with_own_keys(files)
    assert len({file.key for file in own}) == len(own) == len(files)
    assert {file.key for file in files} <= {file.key for file in own}
    assert with_own_keys(own) == own


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    with pytest.raises(InvalidRequest, match=r"^The folder pictures cannot be read: no such file"):
        folder_collection(Path("pictures"), tmp_path)
    with pytest.raises(InvalidRequest, match=r"cannot be read"):
        list_folder(tmp_path / "missing")


def test_typed_texts_with_half_a_character_are_refused(backend: LocalBackend,
                                                       tmp_path: Path) -> None:
    half = "a \ud800 cat"
    for ask in (lambda: check_labels(["cat", half]), lambda: check_templates([half + "{}"]),
                lambda: parse_prompts(half), lambda: Walk.checked("a cat", half),
                lambda: Searcher(backend).direction(CLIP, [(half, 1.0)])):
        with pytest.raises(InvalidRequest, match="half a character, which no file can store"):
            ask()
    with opened(tmp_path) as history:
        for ask in (lambda: history.get("anna", half), lambda: history.delete("anna", [half]),
                    lambda: history.starting_with(half, "a")):
            with pytest.raises(InvalidRequest, match="half a character"):
                ask()

"""Collections of real files: indexed in batches, resumed, searched, grouped, mapped."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from easel.history.days import parse_day
from easel.search import update as update_module
from easel.search.collections import (
    Collection,
    allowed_folder,
    folder_collection,
    upload_collection,
)
from easel.search.database import IndexOutdated, SearchIndexError
from easel.search.duplicates import near_duplicates
from easel.search.files import list_folder
from easel.search.projection import principal_components
from easel.search.query import combine, search
from easel.search.searcher import Searcher
from easel.search.snapshot import Snapshot
from easel.search.update import UpdateProgress, update_index
from easel.serving.backend import LocalBackend
from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.images import load_image
from pipelines.core.metadata import save_png
from pipelines.models.clip_features import Features
from tests.lab import CLIP, lab_backend, write_pictures


@pytest.fixture(scope="module")
def backend() -> Iterator[LocalBackend]:
    made = lab_backend()
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "pictures", 5)
    return tmp_path / "pictures"


def collection_of(folder: Path, tmp_path: Path) -> Collection:
    return folder_collection(folder, tmp_path / "data")


def indexed(collection: Collection, backend: LocalBackend, rebuild: bool = False,
            ) -> UpdateProgress:
    *_, last = update_index(collection.folder, collection.files, backend, CLIP, rebuild)
    assert last.finished
    return last


def found_by(searcher: Searcher, collection: Collection, **query) -> list[str]:
    clip, direction = searcher.direction(CLIP, **query)
    return [hit.item.key for hit in search(searcher.snapshot(collection, clip), direction)]


def test_a_picture_finds_itself_first(folder: Path, tmp_path: Path, backend: LocalBackend) -> None:
    collection = collection_of(folder, tmp_path)
    assert indexed(collection, backend).message() == (
        "The index is up to date: 5 new, 0 known already.")
    searcher = Searcher(backend)
    for path in sorted(folder.iterdir()):
        image = load_image(path.read_bytes())
        assert found_by(searcher, collection, images=[(image, 1.0)])[0] == path.name


def test_texts_and_pictures_are_added_and_subtracted(folder: Path, tmp_path: Path,
                                                     backend: LocalBackend) -> None:
    collection = collection_of(folder, tmp_path)
    indexed(collection, backend)
    searcher = Searcher(backend)
    clip = searcher.features(CLIP, ["a red apple", "a worm"])
    snapshot = searcher.snapshot(collection, clip)
    image = load_image((folder / "picture-003.png").read_bytes())
    own = searcher.features(CLIP, images=[image]).images[0]
    similar = snapshot.features() @ np.stack([*clip.texts, own]).T
    wanted = {
        "text": similar[:, 0], "minus": similar[:, 0] - similar[:, 1],
        "both": similar[:, 0] + 0.5 * similar[:, 2],
    }
    got = {
        "text": found_by(searcher, collection, texts=[("a red apple", 1.0), ("  ", -1.0)]),
        "minus": found_by(searcher, collection, texts=[("a red apple", 1.0), ("a worm", -1.0)]),
        "both": found_by(searcher, collection, texts=[("a red apple", 1.0)],
                         images=[(image, 0.5)]),
    }
    for name, scores in wanted.items():
        order = [snapshot.items([int(i)])[0].key for i in np.argsort(-scores)]
        assert got[name] == order, name


@pytest.mark.parametrize(("query", "sentence"), [
    ({}, "There is nothing to look for: give a text or a picture."),
    ({"texts": [("a worm", -1.0)]},
     "There is only something to leave out: say also what to look for."),
    ({"texts": [("a cat", 1.0), ("a cat", -1.0)]},
     "The parts of the query cancel each other out: change one of them."),
    ({"texts": [("x" * 2001, 1.0)]}, "A text has more than 2,000 characters."),
])
def test_queries_that_ask_for_nothing(query: dict, sentence: str, backend: LocalBackend) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Searcher(backend).direction(CLIP, **query)
    assert str(caught.value) == sentence


def test_only_what_is_new_is_embedded(folder: Path, tmp_path: Path, backend: LocalBackend) -> None:
    collection = collection_of(folder, tmp_path)
    indexed(collection, backend)
    again = indexed(collection, backend)
    assert (again.done, again.kept) == (0, 5)
    (folder / "picture-000.png").unlink()
    write_pictures(folder / "below", 2, start=20)
    changed = write_pictures(folder, 1, start=1, side_px=24)[0]
    os.utime(changed, ns=(1, 1))
    last = indexed(collection, backend)
    assert (last.done, last.kept, last.removed) == (3, 3, 1)
    snapshot = Searcher(backend).snapshot(collection, backend.embed(CLIP))
    keys = {item.key for item in snapshot.items(range(len(snapshot)))}
    assert keys == {"below/picture-020.png", "below/picture-021.png", *(
        f"picture-00{n}.png" for n in (1, 2, 3, 4))}


def test_unreadable_files_are_listed_and_the_others_indexed(folder: Path, tmp_path: Path,
                                                            backend: LocalBackend) -> None:
    whole = (folder / "picture-000.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.webp").write_text("no picture")
    (folder / "notes.txt").write_text("not looked at")
    (folder / ".hidden.png").write_bytes(whole)
    Image.new("RGB", (8, 8)).save(folder / "film.png", format="GIF")
    (tmp_path / "outside.png").write_bytes(whole)
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    last = indexed(collection_of(folder, tmp_path), backend)
    assert dict(last.unreadable) == {
        "cut.png": "The picture is damaged or cut short.",
        "empty.jpg": "The picture is an empty file.",
        "film.png": "The file is not a PNG, JPEG or WebP picture.",
        "text.webp": "The file is not a PNG, JPEG or WebP picture."}
    assert last.message() == ("The index is up to date: 9 new, 0 known already, "
                              "4 that cannot be read.")
    assert len(Searcher(backend).snapshot(collection_of(folder, tmp_path),
                                          backend.embed(CLIP))) == 5


def test_what_the_disk_refused_is_tried_again(folder: Path, tmp_path: Path,
                                              backend: LocalBackend) -> None:
    listed, collection = list_folder(folder), collection_of(folder, tmp_path)
    (folder / "picture-002.png").rename(tmp_path / "away.png")
    (folder / "picture-003.png").write_bytes(b"no picture")
    *_, last = update_index(collection.folder, lambda: listed, backend, CLIP)
    assert dict(last.unreadable) == {
        "picture-002.png": "The file cannot be read: no such file or directory.",
        "picture-003.png": "The file is not a PNG, JPEG or WebP picture."}
    (tmp_path / "away.png").rename(folder / "picture-002.png")  # the same file with the same time
    *_, last = update_index(collection.folder, lambda: listed, backend, CLIP)
    assert (last.done, last.kept) == (1, 4), "a file that is no picture is not read twice"
    assert [name for name, _ in last.unreadable] == ["picture-003.png"]


class Failing:
    """A backend that is stopped at its third batch; the others are real."""

    def __init__(self, backend: LocalBackend) -> None:
        self.backend, self.batches = backend, 0

    def embed(self, model_id: str, images: Sequence[np.ndarray] = (), texts: Sequence[str] = (),
              job_id: str | None = None) -> Features:
        self.batches += bool(len(images))
        if self.batches > 2:
            raise Cancelled
        return self.backend.embed(model_id, images, texts, job_id)


def test_a_run_that_was_cut_off_goes_on_where_it_was(
        folder: Path, tmp_path: Path, backend: LocalBackend,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_module, "BATCH_SIZE", 2)
    collection = collection_of(folder, tmp_path)
    write_pictures(folder, 3, start=5)
    with pytest.raises(Cancelled):
        list(update_index(collection.folder, collection.files, Failing(backend),  # type: ignore[arg-type]
                          CLIP))
    run = update_index(collection.folder, collection.files, backend, CLIP)
    assert (next(run).kept, next(run).done) == (4, 2)
    run.close()  # a person stops it, or leaves the page
    last = indexed(collection, backend)
    assert (last.kept, last.done) == (6, 2)


def test_a_folder_that_vanishes_keeps_its_index(folder: Path, tmp_path: Path,
                                                backend: LocalBackend) -> None:
    collection = collection_of(folder, tmp_path)
    indexed(collection, backend)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(InvalidRequest) as caught:
        indexed(collection, backend)
    assert str(caught.value) == "The folder pictures cannot be read: no such file or directory."
    assert len(Searcher(backend).snapshot(collection, backend.embed(CLIP))) == 5


def test_other_weights_need_a_rebuild(folder: Path, tmp_path: Path, backend: LocalBackend) -> None:
    collection = collection_of(folder, tmp_path)
    with pytest.raises(SearchIndexError, match="pictures was not indexed with this CLIP yet"):
        Searcher(backend).snapshot(collection, backend.embed(CLIP))
    indexed(collection, backend)
    retrained = lab_backend("b" * 64)
    try:
        with pytest.raises(IndexOutdated):
            indexed(collection, retrained)
        with pytest.raises(IndexOutdated):
            Searcher(retrained).snapshot(collection, retrained.embed(CLIP))
        assert indexed(collection, backend).kept == 5
        assert indexed(collection, retrained, rebuild=True).done == 5
        assert len(Searcher(retrained).snapshot(collection, retrained.embed(CLIP))) == 5
    finally:
        retrained.close()
    with pytest.raises(IndexOutdated):
        Searcher(backend).snapshot(collection, backend.embed(CLIP))


def test_a_search_sees_what_was_indexed_meanwhile(folder: Path, tmp_path: Path,
                                                  backend: LocalBackend) -> None:
    collection, searcher = collection_of(folder, tmp_path), Searcher(backend)
    indexed(collection, backend)
    clip = backend.embed(CLIP)
    first = searcher.snapshot(collection, clip)
    assert searcher.snapshot(collection, clip) is first
    write_pictures(folder, 1, start=9)
    indexed(collection, backend)
    assert len(searcher.snapshot(collection, clip)) == 6


def test_generator_and_prompt_are_read_from_easels_own_files(tmp_path: Path,
                                                             backend: LocalBackend) -> None:
    (tmp_path / "mine").mkdir()
    image = np.full((16, 16, 3), 200, np.uint8)
    save_png(tmp_path / "mine" / "a.png", image, {
        "pipeline": "dalle", "prompt": "a <b>cat</b>", "seed": 1})
    Image.fromarray(image).save(tmp_path / "mine" / "b.png")
    collection = collection_of(tmp_path / "mine", tmp_path)
    indexed(collection, backend)
    snapshot = Searcher(backend).snapshot(collection, backend.embed(CLIP))
    assert [(i.key, i.pipeline, i.prompt) for i in snapshot.items([0, 1])] == [
        ("a.png", "dalle", "a <b>cat</b>"), ("b.png", "", "")]
    assert snapshot.pipeline_names == ("", "dalle")


def test_near_duplicates_are_grouped(folder: Path, tmp_path: Path, backend: LocalBackend,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easel.search.duplicates.BLOCK", 2)
    for number, name in ((1, "again.png"), (1, "once-more.png"), (3, "three.png")):
        with Image.open(folder / f"picture-00{number}.png") as image:
            image.save(folder / name, optimize=True)
    collection = collection_of(folder, tmp_path)
    indexed(collection, backend)
    snapshot = Searcher(backend).snapshot(collection, backend.embed(CLIP))
    steps = list(near_duplicates(snapshot, 0.9999))
    assert [round(step.share, 1) for step in steps[:-1]] == [n / 10 for n in range(1, 11)]
    groups = [{item.key for item in snapshot.items(group)} for group in steps[-1].groups]
    assert groups == [{"picture-001.png", "again.png", "once-more.png"},
                      {"picture-003.png", "three.png"}]
    mask = np.array([item.key != "three.png" for item in snapshot.items(range(len(snapshot)))])
    assert len(list(near_duplicates(snapshot, 0.9999, mask))[-1].groups) == 1
    with pytest.raises(InvalidRequest, match="above 0 and at most 1"):
        list(near_duplicates(snapshot, 1.5))


def test_groups_are_those_that_pairs_connect(monkeypatch: pytest.MonkeyPatch,
                                             tmp_path: Path) -> None:
    monkeypatch.setattr("easel.search.duplicates.BLOCK", 7)
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((40, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    snapshot = Snapshot(tmp_path, 1, 1, vectors, np.arange(40), np.zeros(40),
                        np.zeros(40, np.int32), ("",))
    for threshold in (0.5, 0.9, 0.97, 0.999):
        reach = vectors @ vectors.T >= threshold
        for _ in range(6):  # walks of up to 64 steps
            reach = reach @ reach
        wanted = {tuple(np.flatnonzero(row).tolist()) for row in reach if row.sum() > 1}
        *_, last = near_duplicates(snapshot, threshold)
        assert set(last.groups) == wanted, threshold
        assert [len(group) for group in last.groups] == sorted(map(len, wanted), reverse=True)
    # Every pair alike, far more of them than pictures, is no more work than a few.
    alike = replace(snapshot, vectors=np.ones((40, 1), np.float32))
    assert list(near_duplicates(alike))[-1].groups == (tuple(range(40)),)


def test_the_map_keeps_the_directions_of_most_variance() -> None:
    rng = np.random.default_rng(0)
    features = np.zeros((200, 6), np.float32)
    features[:, 4], features[:, 1] = 9 * rng.standard_normal(200), 3 * rng.standard_normal(200)
    features += 0.01 * rng.standard_normal((200, 6)).astype(np.float32)
    points, shares = principal_components(features)
    centred = features - features.mean(0)
    for found, true in zip(points.T, centred[:, [4, 1]].T, strict=True):
        assert np.corrcoef(found, true)[0, 1] > 0.99
    assert shares[0] > shares[1] > 0.05
    assert shares.sum() == pytest.approx(1.0, abs=0.01)
    flat, none = principal_components(np.ones((3, 4), np.float32))
    assert np.abs(flat).max() == 0
    assert none.tolist() == [0, 0]


def test_folders_outside_the_allowed_ones_are_refused(tmp_path: Path) -> None:
    root, other = (tmp_path / "root").resolve(), (tmp_path / "other").resolve()
    (root / "below").mkdir(parents=True)
    other.mkdir()
    (root / "way-out").symlink_to(other)
    (root / ".hidden" / "below").mkdir(parents=True)
    assert allowed_folder(str(root), (root,)) == root
    assert allowed_folder("below", (other, root)) == root / "below"
    assert allowed_folder(f"{root}/below/../below", (root,)) == root / "below"
    refused = ["/etc", str(other), "..", "below/../..", "way-out", "", "  ", "a\0b",
               f"{root}-not", str(tmp_path / "nowhere"), ".hidden", f"{root}/.hidden/below"]
    for text in refused:
        with pytest.raises(InvalidRequest, match=r"^That folder is not among those that this "):
            allowed_folder(text, (root,))
        with pytest.raises(InvalidRequest, match=r"^That folder is not among those that this "):
            allowed_folder(text, ())
    with pytest.raises(InvalidRequest, match=r"^The folder gone is not there\.$"):
        allowed_folder("gone", (root,))


def test_a_hidden_folder_may_be_searched_where_the_operator_lists_it(tmp_path: Path) -> None:
    root = (tmp_path / "root").resolve()
    hidden = root / ".hid"
    (hidden / "below").mkdir(parents=True)
    (hidden / ".deeper").mkdir()
    for roots in ((root, hidden), (hidden, root)):
        assert allowed_folder(str(hidden), roots) == hidden
        assert allowed_folder(".hid", roots) == hidden
        assert allowed_folder(f"{hidden}/below", roots) == hidden / "below"
        for text in (f"{hidden}/.deeper", ".hid/.deeper", f"{root}/.other"):
            with pytest.raises(InvalidRequest, match="not among those"):
                allowed_folder(text, roots)


def test_uploads_are_a_set_of_their_owner_alone(tmp_path: Path, backend: LocalBackend) -> None:
    paths = write_pictures(tmp_path / "up" / "hash", 2)
    one = upload_collection(paths, "visitor one", tmp_path / "data")
    other = upload_collection(paths[:1], "visitor two", tmp_path / "data")
    assert one.folder != other.folder
    assert "visitor" not in str(one.folder)
    indexed(one, backend)
    with pytest.raises(SearchIndexError, match="was not indexed"):
        Searcher(backend).snapshot(other, backend.embed(CLIP))
    os.utime(one.folder, (0, 0))
    upload_collection([], "visitor three", tmp_path / "data")
    assert not one.folder.exists(), "sets are kept for a day"
    paths[0].unlink()
    with pytest.raises(InvalidRequest, match="no longer there: choose it again"):
        indexed(other, backend)


def test_days_are_read_in_utc() -> None:
    assert parse_day("1970-01-02") == 86_400
    assert parse_day("1970-01-02", end=True) == 2 * 86_400
    assert parse_day("") is parse_day(None) is None
    last = parse_day("9999-12-31")
    assert last is not None
    assert parse_day("9999-12-31 ", end=True) == last + 86_400
    for text in ("yesterday", "2026-13-01", "10000-01-01"):
        with pytest.raises(InvalidRequest, match="is not a day: write it as 2026-11-24"):
            parse_day(text)


def test_a_sum_is_a_direction() -> None:
    x, y = np.eye(2, dtype=np.float32)
    np.testing.assert_allclose(combine([(x, 1.0), (y, -1.0)]), np.array([1, -1]) / np.sqrt(2),
                               rtol=1e-6)

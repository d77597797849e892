"""The index on disk: appended, replaced, squeezed, and whole after every kind of crash."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import easel.search.index
from easel.search import approximate
from easel.search.database import DATABASE, IndexInUse, IndexOutdated, SearchIndexError, only_writer
from easel.search.index import VectorIndex
from easel.search.opening import drop_outdated, find_index, index_folder, open_index
from easel.search.query import Filters, allowed, nearest, search, top
from easel.search.snapshot import Item, Snapshot, grown
from pipelines.core.sentences import Sentence

MODEL, DIM = "embedded/clip-ranker", 8
OLD, NEW = "a" * 64, "b" * 64
DAMAGED = Sentence("The picture has {:.0f} MB; {} MB is the most.", 40.5, 32)


def vectors(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def items(*keys: str, created_s: float = 0.0, pipeline: str = "") -> list[Item]:
    return [Item(key, f"/{key}", 1, 2, created_s, pipeline, "") for key in keys]


def keys_of(index: VectorIndex) -> list[str]:
    snapshot = index.snapshot()
    return [item.key for item in snapshot.items(range(len(snapshot)))]


def test_what_is_added_is_found_again_by_another_process(tmp_path: Path) -> None:
    drawn = vectors(3)
    open_index(tmp_path, MODEL, OLD, DIM).add(items("a", "b", "c"), drawn,
                                              [("bad", 7, 8, DAMAGED)])
    index = find_index(tmp_path, MODEL, OLD)
    assert index is not None
    np.testing.assert_array_equal(index.snapshot().features(), drawn)
    assert isinstance(index.snapshot().vectors, np.memmap)
    assert keys_of(index) == ["a", "b", "c"]
    assert index.known() == {"a": (1, 2), "b": (1, 2), "c": (1, 2), "bad": (7, 8)}
    (name, why), = index.unreadable()
    assert (name, why, why.values) == ("bad", DAMAGED, DAMAGED.values)


def test_a_changed_picture_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    index = open_index(tmp_path, MODEL, OLD, DIM)
    index.add(items("a", "b"), vectors(2))
    before = index.snapshot()
    index.add(items("a"), vectors(1, seed=5), [("b", 1, 2, DAMAGED)])
    assert keys_of(index) == ["a"]
    snapshot = index.snapshot()
    assert not snapshot.dense
    np.testing.assert_array_equal(snapshot.features(), vectors(1, seed=5))
    np.testing.assert_array_equal(before.features(), vectors(2))  # an older snapshot stays
    index.add(items("b"), vectors(1, seed=6))
    assert index.unreadable() == []


def test_gone_pictures_are_squeezed_out(tmp_path: Path) -> None:
    index = open_index(tmp_path, MODEL, OLD, DIM)
    index.add(items(*"abcdef"), vectors(6))
    index.remove(["a", "c", "d"])
    snapshot = index.snapshot()
    assert keys_of(index) == ["b", "e", "f"]
    assert snapshot.dense
    np.testing.assert_array_equal(snapshot.features(), vectors(6)[[1, 4, 5]])
    assert [path.name for path in index.folder.glob("*.f32")] == ["vectors-2.f32"]
    index.add(items("g"), vectors(1, seed=3))
    assert keys_of(index) == ["b", "e", "f", "g"]
    np.testing.assert_array_equal(index.snapshot().features(np.array([3])),
                                  vectors(1, seed=3))


def test_generations_that_killed_processes_left_go_with_the_next(tmp_path: Path) -> None:
    index = open_index(tmp_path, MODEL, OLD, DIM)
    index.add(items(*"abcdef"), vectors(6))
    index.remove(["a", "b"])
    for name in ("vectors-1.f32", "vectors-12.f32", "codes-1.faiss"):
        (index.folder / name).write_bytes(b"left behind")
    index.remove(["c", "d"])
    assert [path.name for path in index.folder.glob("*-*")] == ["vectors-3.f32"]
    np.testing.assert_array_equal(index.snapshot().features(), vectors(6)[[4, 5]])


def test_a_crash_between_vectors_and_their_commit_loses_nothing(tmp_path: Path) -> None:
    index = open_index(tmp_path, MODEL, OLD, DIM)
    index.add(items("a"), vectors(1))
    with (index.folder / "vectors-1.f32").open("ab") as file:
        file.write(b"\x01" * 50)  # what a killed run appended and did not commit
    again = open_index(tmp_path, MODEL, OLD, DIM)
    assert keys_of(again) == ["a"]
    again.add(items("b"), vectors(1, seed=4))
    np.testing.assert_array_equal(again.snapshot().features(),
                                  np.concatenate([vectors(1), vectors(1, seed=4)]))


def test_an_index_that_was_being_made_by_a_killed_run_is_made_by_the_next(tmp_path: Path) -> None:
    folder = index_folder(tmp_path, MODEL, OLD)
    part = folder.with_name(f"{folder.name}.part")
    part.mkdir(parents=True)
    (part / DATABASE).write_bytes(b"")  # opened, and killed before its tables were there
    index = open_index(tmp_path, MODEL, OLD, DIM)
    index.add(items("a"), vectors(1))
    assert keys_of(open_index(tmp_path, MODEL, OLD, DIM)) == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_no_index_is_there_before_its_tables_are(tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed there must not leave what the next one calls damaged."""
    folder, seen = index_folder(tmp_path, MODEL, OLD), list[bool]()
    connect = easel.search.index.connect

    def watched(place: Path) -> sqlite3.Connection:
        seen.append(folder.exists())
        return connect(place)

    monkeypatch.setattr(easel.search.index, "connect", watched)
    VectorIndex.create(folder, MODEL, OLD, DIM)
    assert seen == [False]


def test_a_commit_that_fails_keeps_what_was_there(tmp_path: Path) -> None:
    index = open_index(tmp_path, MODEL, OLD, DIM)
    index.add(items("a"), vectors(1))
    with closing(sqlite3.connect(index.folder / DATABASE)) as database:
        database.execute("CREATE TRIGGER full BEFORE INSERT ON pictures BEGIN "
                         "SELECT RAISE(ABORT, 'database or disk is full'); END")
        database.commit()
    with pytest.raises(SearchIndexError) as caught:
        index.add(items("b"), vectors(1, seed=1))
    assert str(caught.value) == ("The search index could not be written: database or disk is full; "
                                 "what was indexed before is kept.")
    assert keys_of(index) == ["a"]


def test_an_index_of_other_weights_is_made_anew_only_when_allowed(tmp_path: Path) -> None:
    open_index(tmp_path, MODEL, OLD, DIM).add(items("a"), vectors(1))
    for ask in (lambda: find_index(tmp_path, MODEL, NEW),
                lambda: open_index(tmp_path, MODEL, NEW, DIM)):
        with pytest.raises(IndexOutdated, match=r"^The index of these pictures was made with "
                                                r"other weights of this CLIP: allow a rebuild"):
            ask()
    assert find_index(tmp_path, "embedded/clip-guide", NEW) is None
    new = open_index(tmp_path, MODEL, NEW, DIM, rebuild=True)
    assert len(new) == 0
    assert find_index(tmp_path, MODEL, OLD) is not None, "kept until the new one is whole"
    drop_outdated(tmp_path, MODEL, NEW)
    assert not index_folder(tmp_path, MODEL, OLD).exists()
    assert find_index(tmp_path, MODEL, NEW) is not None


def test_an_index_of_another_version(tmp_path: Path) -> None:
    index = open_index(tmp_path, MODEL, OLD, DIM)
    with closing(sqlite3.connect(index.folder / DATABASE)) as database:
        database.execute("UPDATE facts SET value = '99' WHERE name = 'version'")
        database.commit()
    with pytest.raises(IndexOutdated, match=r"by another version of Easel"):
        find_index(tmp_path, MODEL, OLD)
    assert open_index(tmp_path, MODEL, OLD, DIM, rebuild=True).version == 1


@pytest.mark.parametrize("harm", ["database", "vectors"])
def test_a_damaged_index_is_said_and_made_anew(tmp_path: Path, harm: str) -> None:
    index = open_index(tmp_path, MODEL, OLD, DIM)
    index.add(items("a"), vectors(1))
    if harm == "database":
        (index.folder / DATABASE).write_bytes(b"nothing like a database" * 99)
        with pytest.raises(SearchIndexError, match=r"damaged: make it again with rebuild"):
            find_index(tmp_path, MODEL, OLD)
        assert len(open_index(tmp_path, MODEL, OLD, DIM, rebuild=True)) == 0
    else:
        (index.folder / "vectors-1.f32").write_bytes(b"")
        for ask in (index.snapshot, lambda: open_index(tmp_path, MODEL, OLD, DIM)):
            with pytest.raises(SearchIndexError, match=r"damaged: make it again with rebuild"):
                ask()
        assert len(open_index(tmp_path, MODEL, OLD, DIM, rebuild=True)) == 0


def test_two_runs_do_not_write_one_index(tmp_path: Path) -> None:
    already = pytest.raises(IndexInUse, match=r"^These pictures are being indexed already")
    with only_writer(tmp_path), already, only_writer(tmp_path):
        pass
    with only_writer(tmp_path):
        pass


def test_top_gives_the_highest_in_order_and_breaks_ties_by_place() -> None:
    values = np.array([0.1, 0.5, 0.9, 0.5, 0.5, -1.0], np.float32)
    assert top(values, 3).tolist() == [2, 1, 3]
    assert top(values, 99).tolist() == [2, 1, 3, 4, 0, 5]


def test_filters_and_thresholds(tmp_path: Path) -> None:
    index = open_index(tmp_path, MODEL, OLD, DIM)
    drawn = vectors(4)
    for n, (pipeline, created) in enumerate([("dalle", 10), ("vqgan_clip", 20), ("dalle", 30),
                                             ("", 40)]):
        index.add(items(str(n), created_s=created, pipeline=pipeline), drawn[n:n + 1])
    snapshot = index.snapshot()
    query = drawn[0]

    def keys(**fields) -> set[str]:
        return {hit.item.key for hit in search(snapshot, query, filters=Filters(**fields))}

    assert keys() == {"0", "1", "2", "3"}
    assert keys(pipelines=("dalle",)) == {"0", "2"}
    assert keys(since_s=20.0) == {"1", "2", "3"}
    assert keys(since_s=20.0, until_s=40.0, pipelines=("dalle", "vqgan_clip")) == {"1", "2"}
    assert keys(pipelines=("nobody",)) == set()
    similarities = drawn @ query
    hits = search(snapshot, query, threshold=float(np.sort(similarities)[-2]) - 1e-6)
    assert [hit.item.key for hit in hits] == [str(n) for n in np.argsort(-similarities)[:2]]
    assert hits[0].similarity == pytest.approx(1.0, abs=1e-6)
    assert allowed(snapshot, Filters()) is None


def test_large_indexes_are_searched_through_codes(tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "FROM_ROWS", 3000)
    monkeypatch.setattr("easel.search.query.EXACT_ROWS", 3000)
    monkeypatch.setattr(approximate, "MIN_CANDIDATES", 200)
    monkeypatch.setattr(approximate, "CANDIDATES_PER_HIT", 20)
    index = open_index(tmp_path, MODEL, OLD, 32)
    drawn = vectors(4000, dim=32)
    index.add(items(*map(str, range(4000))), drawn)
    approximate.refresh(index)
    codes = index.folder / "codes-1.faiss"
    assert codes.is_file()
    assert not list(index.folder.glob(".codes*"))
    snapshot = index.snapshot()
    proposals = [approximate.propose(snapshot, query, 10) for query in vectors(20, 1, 32)]
    assert all(p is not None and len(p) < 1000 for p in proposals)
    hits = found = 0
    for query in vectors(20, 1, 32):
        picks, similarities = nearest(snapshot, query, 10)
        np.testing.assert_allclose(similarities, drawn[picks] @ query, rtol=1e-5)
        hits += len(set(picks.tolist()) & set(np.argsort(-(drawn @ query))[:10].tolist()))
        found += 10
    assert hits / found >= 0.95
    # What came after the codes is compared exactly, and few new rows make no new codes.
    stamp = codes.stat().st_mtime_ns
    index.add(items("new"), vectors(1, 9, 32))
    approximate.refresh(index)
    assert codes.stat().st_mtime_ns == stamp
    assert nearest(index.snapshot(), vectors(1, 9, 32)[0], 1)[0].tolist() == [4000]
    index.add(items(*(f"n{n}" for n in range(600))), vectors(600, 10, 32))
    approximate.refresh(index)
    assert approximate.load(codes, codes.stat().st_mtime_ns).ntotal == 4601  # type: ignore[union-attr]
    # A filter is a filter there as well, and removed rows never come back.
    index.remove([str(int(np.argmax(drawn @ drawn[7])))])
    assert "7" not in {h.item.key for h in search(index.snapshot(), drawn[7], 50)}
    mask = np.zeros(len(index.snapshot()), bool)
    mask[1000:] = True
    assert nearest(index.snapshot(), drawn[5], 10, mask=mask)[0].min() >= 1000
    # Codes that cannot be read are done without.
    codes.write_bytes(b"cut short")
    assert nearest(index.snapshot(), drawn[11], 1)[1][0] == pytest.approx(1.0, abs=1e-5)


def test_rows_are_looked_up_among_those_that_are_left(tmp_path: Path) -> None:
    index = open_index(tmp_path, MODEL, OLD, DIM)
    index.add(items(*map(str, range(9))), vectors(9))
    index.remove(["0", "4"])
    snapshot = index.snapshot()
    assert not snapshot.dense
    rows = np.array([0, 1, 4, 5, 8, 99])
    assert snapshot.positions_of(rows).tolist() == [0, 3, 6]
    assert snapshot.rows[snapshot.positions_of(rows)].tolist() == [1, 5, 8]
    assert snapshot.positions_of(np.array([], np.int64)).tolist() == []


def same(one: Snapshot, other: Snapshot) -> bool:
    return (one.change == other.change and one.pipeline_names == other.pipeline_names and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("vectors", "rows", "created_s", "pipelines")))


def test_only_what_came_is_read_into_a_newer_snapshot(tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(before: Snapshot, *rest: Any) -> Snapshot:
        read.append(len(rest[-1]))
        return grown(before, *rest)

    monkeypatch.setattr("easel.search.index.grown", counted)
    index = open_index(tmp_path, MODEL, OLD, DIM)
    index.add(items("a", "b", pipeline="vqgan_clip"), vectors(2))
    kept = index.snapshot()
    index.add(items("c", created_s=7.0, pipeline="dalle"), vectors(1, seed=1))
    kept = index.snapshot(kept)
    assert read == [2, 1]
    assert same(kept, index.snapshot())
    assert [kept.pipeline_names[code] for code in kept.pipelines] == [
        "vqgan_clip", "vqgan_clip", "dalle"]
    index.add(items("a", pipeline="dalle"), vectors(1, seed=2))  # one goes, one comes
    kept = index.snapshot(kept)
    assert read[-1] == 3
    assert same(kept, index.snapshot())
    index.remove(["b", "c"])  # so many that the rows are squeezed
    kept = index.snapshot(kept)
    assert [item.key for item in kept.items([0])] == ["a"]
    assert same(kept, index.snapshot())


def test_facts_of_pictures_that_are_gone_are_not_told(tmp_path: Path) -> None:
    index = open_index(tmp_path, MODEL, OLD, DIM)
    index.add(items(*"abcdefgh"), vectors(8))
    older = index.snapshot()
    for gone in (["h"], list("abc")):  # removed; then squeezed, so that rows have other numbers
        index.remove(gone)
        with pytest.raises(SearchIndexError) as caught:
            older.items(range(7 if gone == list("abc") else 8))
        assert str(caught.value) == "The pictures changed in this moment: try again."
    assert keys_of(index) == list("defg")


def test_damage_in_the_midst_of_the_database_is_said(tmp_path: Path) -> None:
    index = open_index(tmp_path, MODEL, OLD, DIM)
    index.add(items("a"), vectors(1))
    with closing(sqlite3.connect(index.folder / DATABASE)) as database:
        database.execute("DROP TABLE pictures")
        database.commit()
    for ask in (index.snapshot, index.known, lambda: len(index)):
        with pytest.raises(IndexOutdated, match=r"^The search index is damaged: make it again"):
            ask()

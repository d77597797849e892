"""Pictures wherever they lie: every kind of shelf does the same, and no path leaves the store."""

from __future__ import annotations

import io
import os
import pickle
import time
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from easel.history.database import Database
from easel.history.export import stream_zip
from easel.history.files import COPIES_S, FileStore
from easel.history.records import Filters, HistoryError, KeptPicture
from easel.history.shelves import FolderShelf, Shelf
from easel.history.store import ORPHAN_S, History
from easel.search.collections import history_collection
from easel.search.files import decode
from pipelines.core.images import load_image
from pipelines.core.metadata import encode_png
from tests.kept import new_picture

DATA = encode_png(np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8), {})


class Elsewhere:
    """A shelf that a machine reaches, but not as files of its own."""

    def __init__(self, folder: Path) -> None:
        self._inner = FolderShelf(folder)
        self.put, self.read, self.has = self._inner.put, self._inner.read, self._inner.has
        self.remove, self.old = self._inner.remove, self._inner.old

    def path(self, key: str) -> None:
        """Not on this machine."""

    def where(self, key: str) -> str:
        return f"elsewhere:{key}"


SHELVES: dict[str, Callable[[Path], Shelf]] = {"folder": FolderShelf, "elsewhere": Elsewhere}


@pytest.fixture(params=SHELVES)
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    return SHELVES[request.param](tmp_path / "shelf")


@pytest.fixture
def store(shelf: Shelf, tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "here", shelf)


def test_what_is_put_is_read(store: FileStore) -> None:
    sha256 = store.put(DATA)
    assert store.put(DATA) == sha256
    assert (store.read(sha256), store.has(sha256)) == (DATA, True)
    assert sha256 in store.where(sha256)
    store.remove(sha256)
    store.remove(sha256)
    assert not store.has(sha256)
    for read in (store.read, store.local, store.thumbnail):
        with pytest.raises(HistoryError, match=r"^The picture's file is no longer in the data"):
            read(sha256)


def test_a_file_of_this_machine_where_one_is_needed(store: FileStore) -> None:
    sha256 = store.put(DATA)
    path = store.local(sha256)
    assert path == store.path(sha256)
    assert path.read_bytes() == DATA
    assert path == store.local(sha256)
    store.remove(sha256)
    assert not path.exists(), "no copy is left behind"


def test_a_thumbnail_is_made_once_for_all_machines(store: FileStore, shelf: Shelf,
                                                   tmp_path: Path) -> None:
    sha256 = store.put(DATA)
    small = store.thumbnail(sha256).read_bytes()
    assert max(load_image(small).shape) == 320
    shelf.remove(f"files/{sha256[:2]}/{sha256}.png")  # so that nobody can make another
    assert FileStore(tmp_path / "there", shelf).thumbnail(sha256).read_bytes() == small


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "", "ab", "/" * 64])
def test_no_name_leads_elsewhere(store: FileStore, name: str) -> None:
    for use in (store.has, store.read, store.local, store.thumbnail, store.remove, store.where):
        with pytest.raises(ValueError, match="SHA-256"):
            use(name)


def test_old_files_are_found(store: FileStore, tmp_path: Path) -> None:
    sha256 = store.put(DATA)
    store.thumbnail(sha256)
    assert list(store.old_files(60)) == []
    past = time.time() - 120
    for path in (tmp_path / "shelf").glob("*/??/*"):
        os.utime(path, (past, past))
    found = sorted(store.old_files(60))
    assert found == [(sha256, f"files/{sha256[:2]}/{sha256}.png"),
                     (sha256, f"thumbnails/{sha256[:2]}/{sha256}.webp")]
    store.put(DATA)
    assert [key.partition("/")[0] for _, key in store.old_files(60)] == ["thumbnails"], \
        "what is put again counts as new"
    store.drop(found[1][1])
    assert list(store.old_files(60)) == []


def test_copies_of_what_lies_elsewhere_go_after_a_day(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "here", Elsewhere(tmp_path / "shelf"))
    sha256 = store.put(DATA)
    path = store.local(sha256)
    store.sweep_copies()
    assert path.exists()
    past = time.time() - COPIES_S - 60
    os.utime(path, (past, past))
    store.sweep_copies()
    assert not path.exists()
    assert store.local(sha256).read_bytes() == DATA


@pytest.fixture
def history(store: FileStore, tmp_path: Path) -> History:
    return History(Database(f"sqlite:///{tmp_path / 'history.sqlite'}"), store)


def test_a_history_on_any_shelf(history: History, tmp_path: Path) -> None:
    given = [new_picture(seed=seed) for seed in (1, 2, 3)]
    kept = history.add("me", given)
    assert [history.files.read(each.sha256) for each in kept] == [each.data for each in given]
    history.files.shelf.remove(f"files/{kept[2].sha256[:2]}/{kept[2].sha256}.png")
    archive = zipfile.ZipFile(io.BytesIO(b"".join(stream_zip(history, "me", Filters()))))
    assert len([name for name in archive.namelist() if name.endswith(".png")]) == 2
    history.delete("me", [kept[0].id])
    history.purge("me")
    assert [history.files.has(each.sha256) for each in kept] == [False, True, False]
    orphan = history.files.put(DATA)
    past = time.time() - ORPHAN_S - 60
    for path in (tmp_path / "shelf").glob("*/??/*"):
        os.utime(path, (past, past))
    history.sweep()
    assert (history.files.has(orphan), history.files.has(kept[1].sha256)) == (False, True)
    history.close()


def test_a_kept_picture_knows_no_path(history: History) -> None:
    [kept] = history.add("me", [new_picture()])
    values = [getattr(kept, each.name) for each in fields(KeptPicture)]
    assert not any(isinstance(value, Path) for value in values)
    assert str(history.files.folder.parent) not in repr(values)
    assert pickle.loads(pickle.dumps(kept)) == kept
    history.close()


def test_a_history_is_searched_wherever_it_lies(history: History, tmp_path: Path) -> None:
    one, gone = history.add("me", [new_picture(seed=1), new_picture(seed=2)])
    history.files.shelf.remove(f"files/{gone.sha256[:2]}/{gone.sha256}.png")
    collection = history_collection(history, "me", tmp_path / "data")
    found = {each.key: decode(each, 16) for each in collection.files()}
    assert found[one.id].square is not None
    assert found[one.id].file.path.is_file()
    assert found[gone.id].square is None
    assert found[gone.id].refused, "the next run tries again"
    history.close()

"""Pictures wherever they lie: every kind of shelf does the same, and no path leaves the store."""

from __future__ import annotations

import io
import os
import pickle
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easel.history.buckets import open_shelf
from easel.history.build import open_history
from easel.history.database import Database
from easel.history.export import stream_zip
from easel.history.files import COPIES_S, FileStore
from easel.history.recorder import Recorder
from easel.history.records import (
    FilesOutOfReach,
    Filters,
    HistoryError,
    KeptLater,
    KeptPicture,
)
from easel.history.shelves import FolderShelf, Shelf
from easel.history.store import History
from easel.search.collections import history_collection
from easel.search.files import decode
from easel.settings import load_settings
from pipelines.core.images import load_image
from pipelines.core.metadata import encode_png
from tests import object_stores
from tests.kept import new_picture
from tests.served import free_port
from tests.test_history_store import result

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


SHELVES: dict[str, Callable[[Path], Shelf]] = {
    "folder": FolderShelf, "elsewhere": Elsewhere, "file": lambda path: open_shelf(path.as_uri())}


@pytest.fixture(params=[*SHELVES, *(pytest.param(name, marks=pytest.mark.skipif(
    bool(object_stores.why_not(name)), reason=object_stores.why_not(name)))
    for name in object_stores.KINDS)])
def shelf(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
          stores: object_stores.Stores) -> Shelf:
    if request.param in SHELVES:
        return SHELVES[request.param](tmp_path / "shelf")
    return open_shelf(stores.url(request.param, monkeypatch))


@pytest.fixture(scope="module")
def stores() -> Iterator[object_stores.Stores]:
    with object_stores.Stores() as made:
        yield made


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


def test_old_files_are_found(store: FileStore, shelf: Shelf) -> None:
    shelf.put("another/ab/kind", DATA)  # no picture's, so not for the history to sweep
    sha256 = store.put(DATA)
    store.thumbnail(sha256)
    assert list(store.old_files(3600)) == []
    found = sorted(store.old_files(-3600))  # as if an hour had passed
    assert found == [(sha256, f"files/{sha256[:2]}/{sha256}.png"),
                     (sha256, f"thumbnails/{sha256[:2]}/{sha256}.webp")]
    store.drop(found[1][1])
    assert list(store.old_files(-3600)) == found[:1]
    assert list(shelf.old("another", 3600)) == []
    assert list(shelf.old("another", -3600)) == ["another/ab/kind"]


def test_what_is_put_again_counts_as_new(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    sha256 = store.put(DATA)
    os.utime(store.path(sha256), (1000, 1000))
    assert [found for found, _ in store.old_files(60)] == [sha256]
    store.put(DATA)
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


def test_a_history_on_any_shelf(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
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
    history.sweep()
    assert history.files.has(orphan), "it may be on its way into the database"
    monkeypatch.setattr("easel.history.store.ORPHAN_S", -3600.0)
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


# What is wrong with a store is said in one sentence ---------------------------------------------


def kind_of(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.skipif(bool(object_stores.why_not(name)),
                                                       reason=object_stores.why_not(name)))


REFUSED = r"^The store of EASEL_FILES_URL refuses what Easel asks for: check its keys, its region "


@pytest.mark.parametrize("kind", [kind_of("nanio")])
def test_a_wrong_secret_is_refused_at_start(kind: str, stores: object_stores.Stores,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    url = stores.url(kind, monkeypatch, secret="another")
    monkeypatch.setenv("EASEL_FILES_URL", url)
    with pytest.raises(HistoryError, match=REFUSED) as caught:
        open_history(load_settings())
    assert "another" not in str(caught.value)


@pytest.mark.parametrize("kind", [kind_of("nanio"), kind_of("moto")])
def test_a_bucket_that_is_not_there_is_refused_at_start(
        kind: str, stores: object_stores.Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HistoryError, match=REFUSED):
        open_shelf(stores.url(kind, monkeypatch, bucket="nothing-here"))


@pytest.mark.parametrize("kind", [kind_of("moto")])
def test_a_history_in_a_bucket_is_read_by_the_next_process(
        kind: str, stores: object_stores.Stores, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    url = stores.url(kind, monkeypatch)
    for name, value in (("FILES_URL", url), ("DATA_DIR", str(tmp_path))):
        monkeypatch.setenv(f"EASEL_{name}", value)
    with closing(open_history(load_settings())) as history:
        [kept] = history.add("me", [new_picture()])
        assert history.files.where(kept.sha256).startswith(f"{url}/files/")
    assert not list(tmp_path.glob("history/files/*"))
    with closing(open_history(load_settings())) as history:
        assert history.files.read(kept.sha256) == new_picture().data


@pytest.mark.skipif(find_spec("obstore") is None, reason="obstore is not installed")
def test_a_store_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "k"), ("SECRET_ACCESS_KEY", "s"), ("REGION", "x"),
                        ("ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with pytest.raises(FilesOutOfReach, match=r"^The store of EASEL_FILES_URL cannot be used now"):
        open_shelf("s3://pictures/x")


@pytest.mark.parametrize("url", [
    "file://host/folder", "file:folder", "nonsense", "s3://secret@[::1",
    *(pytest.param(url, marks=pytest.mark.skipif(find_spec("obstore") is None,
                                                 reason="obstore is not installed"))
      for url in ("ftp://secret@host/x", "s3://"))])
def test_a_wrong_address_is_told_without_its_password(url: str) -> None:
    with pytest.raises(HistoryError, match="is not the address of a store of files") as caught:
        open_shelf(url)
    assert "secret" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(HistoryError, match=r"pip install -r requirements-files\.txt\.$"):
        open_shelf("s3://pictures/x")


def test_what_is_drawn_while_the_store_is_out_of_reach_is_kept_later(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easel.history.late.RETRY_S", 0.05)
    shelf = Elsewhere(tmp_path / "shelf")
    put = shelf.put

    def away(key: str, data: bytes) -> None:
        raise FilesOutOfReach("The store of EASEL_FILES_URL cannot be used now: try again in a "
                              "moment.")

    shelf.put = away
    database = Database(f"sqlite:///{tmp_path / 'history.sqlite'}")
    with closing(History(database, FileStore(tmp_path / "here", shelf))) as history:
        with pytest.raises(KeptLater, match="the pictures are kept as soon as it can be") as later:
            Recorder(history)(result(5), "me")
        assert history.page("me").total == 0
        shelf.put = put
        end = time.monotonic() + 60
        while history.late.waiting():
            assert time.monotonic() < end
            time.sleep(0.02)
        [kept] = history.page("me").pictures
        assert later.value.result.candidates[0].metadata["picture_id"] == kept.id

"""Indexes of histories follow what was deleted for good, and go with the last picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from easel.search.collections import history_collection
from easel.search.database import DATABASE, only_writer
from easel.search.opening import index_folder
from easel.search.purged import forget_purged
from easel.search.update import update_index
from easel.serving.backend import LocalBackend
from tests.kept import new_picture, opened
from tests.lab import CLIP, lab_backend

SECRET = "a purple walrus with a very long and secret name"


@pytest.fixture(scope="module")
def backend() -> Iterator[LocalBackend]:
    made = lab_backend()
    yield made
    made.close()


def test_what_is_purged_leaves_the_indexes(tmp_path: Path, backend: LocalBackend) -> None:
    with opened(tmp_path) as history:
        secret, *_ = history.add("anna", [new_picture(SECRET, seed=0)] + [
            new_picture(seed=seed) for seed in range(1, 5)])
        history.add("bert", [new_picture(SECRET, seed=9)])
        collections = {owner: history_collection(history, owner, tmp_path)
                       for owner in ("anna", "bert")}
        for collection in collections.values():
            list(update_index(collection.folder, collection.files, backend, CLIP))
        history.delete("anna", [secret.id])
        assert forget_purged(history, tmp_path) == 0, "it can still be restored"

        history.purge("anna")
        history.delete("bert", [picture.id for picture in history.page("bert").pictures])
        history.purge("bert")
        with only_writer(collections["bert"].folder):
            assert forget_purged(history, tmp_path) == 1, "an index in use is left to the next time"
        assert forget_purged(history, tmp_path) == 1
        assert forget_purged(history, tmp_path) == 0

        assert not collections["bert"].folder.exists()
        [left] = tmp_path.glob(f"search/history-*/*/{DATABASE}")
        assert left.parent == index_folder(collections["anna"].folder, CLIP, "a" * 64)
        for file in left.parent.iterdir():
            assert SECRET.encode() not in file.read_bytes(), file.name
        *_, last = update_index(collections["anna"].folder, collections["anna"].files, backend,
                                CLIP)
        assert last.message() == "The index is up to date: nothing new, 4 known already."


def test_a_damaged_index_is_left_to_whoever_makes_it_again(tmp_path: Path, backend: LocalBackend,
                                                           ) -> None:
    with opened(tmp_path) as history:
        history.add("anna", [new_picture()])
        collection = history_collection(history, "anna", tmp_path)
        list(update_index(collection.folder, collection.files, backend, CLIP))
        [database] = collection.folder.glob(f"*/{DATABASE}")
        for file in database.parent.glob(f"{DATABASE}*"):
            file.write_bytes(b"no database")
        assert forget_purged(history, tmp_path) == 0
        assert database.exists()

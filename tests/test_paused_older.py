"""Paused runs that an older Easel kept as files come into the database, each once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from safetensors.torch import load, save
from sqlalchemy import event

from easel.history.database import Database
from easel.history.records import LOCAL, HistoryError
from easel.history.shelves import FolderShelf
from easel.serving.older_runs import PART_S
from easel.serving.paused_rows import PausedRows, owner_key
from easel.serving.paused_runs import PausedRuns
from pipelines.core.errors import PausedRunError
from pipelines.models.cache.cache import ModelCache
from pipelines.saved_run import _digest
from tests.paused_server import ME, Server, cache, result_of, same

__all__ = ["cache"]


@pytest.fixture
def older(tmp_path: Path) -> Path:
    return tmp_path / "data" / "paused"


class Newer(Server):
    """A server whose data folder has what an older Easel kept."""

    def __init__(self, folder: Path, cache: ModelCache, older: Path) -> None:
        super().__init__(folder, cache)
        self.rows = PausedRows(Database(f"sqlite:///{folder.parent / 'paused.sqlite'}"),
                               FolderShelf(folder))
        self.backend.paused = self.runs = PausedRuns(self.rows, older=older)


@pytest.fixture
def server(tmp_path: Path, cache: ModelCache, older: Path) -> Iterator[Newer]:
    made = Newer(tmp_path / "paused", cache, older)
    yield made
    made.backend.close()


def file_of(older: Path, owner: str, run_id: str) -> Path:
    """Where such an Easel kept a run."""
    return older / owner_key(owner) / f"{run_id}.safetensors"


def as_it_was(server: Server, older: Path, number: int, owner: str = ME) -> str:
    """A paused run as that Easel left it, whose file told its place in the order of pausing."""
    run_id, state = server.paused_at(2, owner), server.file()
    data = state.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8:8 + length])["__metadata__"]["easel_run"])
    said, tensors = json.dumps(header | {"number": number}), load(data)
    path = file_of(older, owner, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(tensors, {"easel_run": said, "sha256": _digest(said, tensors)}))
    server.runs.delete(owner, run_id)
    assert not state.exists()
    return run_id


def test_files_come_in_and_go_on_with_the_same_bits(server: Newer, older: Path) -> None:
    whole = server.drawn()
    second, first = as_it_was(server, older, 2), as_it_was(server, older, 1)
    third = as_it_was(server, older, 0, owner=LOCAL)
    assert server.runs.of(ME) == []
    server.runs.take_in()
    assert not older.exists(), "they are taken in once"
    assert [run.run_id for run in server.runs.of(ME)] == [second, first]
    (run,) = server.runs.of(LOCAL)
    assert (run.run_id, run.step, run.total, run.prompt, run.interrupted, run.fault) == (
        third, 2, 5, "a red apple", False, "")
    assert run.frame is not None
    assert server.paused_at(1) == server.runs.of(ME)[0].run_id, "a new one is the newest"
    assert same(server.resume(second), whole)
    assert result_of(server.resume(third, owner=LOCAL))


def test_a_process_that_was_killed_in_between_takes_none_in_twice(server: Newer, older: Path,
                                                                  ) -> None:
    run_id = as_it_was(server, older, 1)
    path = file_of(older, ME, run_id)
    data = path.read_bytes()
    server.runs.take_in()
    path.parent.mkdir(parents=True)
    path.write_bytes(data)  # as it is before it is removed
    server.runs.sweep()
    assert not older.exists()
    assert [run.run_id for run in server.runs.of(ME)] == [run_id]
    assert server.file().read_bytes() == data, "no other state is left behind"


def test_what_is_damaged_is_listed_and_can_be_deleted(server: Newer, older: Path) -> None:
    run_id = as_it_was(server, older, 1)
    path = file_of(older, ME, run_id)
    path.write_bytes(path.read_bytes()[:-1])
    server.runs.take_in()
    (listed,) = server.runs.of(ME)
    assert (listed.run_id, listed.prompt) == (run_id, "")
    assert "damaged" in listed.fault
    with pytest.raises(PausedRunError, match="damaged"):
        server.resume(run_id)
    server.runs.delete(ME, run_id)
    assert server.runs.of(ME) == []


def test_what_an_older_easel_has_under_way_is_left_to_it(server: Newer, older: Path) -> None:
    run_id = as_it_was(server, older, 1)
    path = file_of(older, ME, run_id)
    held = FileLock(f"{path}.lock", thread_local=False)
    held.acquire(timeout=0)
    server.runs.sweep()
    assert path.exists()
    assert server.runs.of(ME) == []
    held.release()
    server.runs.sweep()
    assert [run.run_id for run in server.runs.of(ME)] == [run_id]


def test_what_cannot_come_in_now_stays(server: Newer, older: Path) -> None:
    run_id = as_it_was(server, older, 1)

    def full(*args: object) -> None:
        raise HistoryError("The disk is full.")

    event.listen(server.rows._database.engine, "begin", full)
    server.runs.take_in()
    event.remove(server.rows._database.engine, "begin", full)
    assert file_of(older, ME, run_id).exists()
    server.runs.take_in()
    assert [run.run_id for run in server.runs.of(ME)] == [run_id]


def test_rests_of_killed_pauses_do_not_stay(server: Newer, older: Path) -> None:
    folder = older / owner_key(ME)
    folder.mkdir(parents=True)
    rests = {f".{'a' * 32}.safeten.abc.part", f"{'a' * 32}.safetensors.lock"}
    for name in rests:
        (folder / name).touch()
    for age_s, left in ((PART_S - 60, rests), (PART_S + 60, set[str]())):
        for path in folder.iterdir():
            os.utime(path, (at := time.time() - age_s, at))
        server.runs.take_in()
        assert {path.name for path in older.glob("*/*")} == left
    assert not older.exists()

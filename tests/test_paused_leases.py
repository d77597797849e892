"""Who has a paused run: one of all who ask, whatever database and store they share."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from easel.history.buckets import open_shelf
from easel.history.database import Database
from easel.history.records import FilesOutOfReach, HistoryError
from easel.history.shelves import FolderShelf, Shelf
from easel.serving import paused_rows
from easel.serving.paused_rows import KIND, PausedRows, owner_key
from pipelines import checkpointer
from pipelines.checkpointer import Checkpointer
from pipelines.core.errors import Paused, PausedRunError, RunTakenOver
from pipelines.core.events import Progress
from pipelines.models.cache.cache import ModelCache
from tests import object_stores
from tests.asking import stream
from tests.paused_server import FEW, FIELDS, ME, Server, cache, curve_of, result_of, same
from tests.test_history_database import KINDS, postgres_server, url

__all__ = ["cache", "postgres_server", "url"]
STORES = ["folder", *(pytest.param(name, marks=pytest.mark.skipif(
    bool(object_stores.why_not(name)), reason=object_stores.why_not(name)))
    for name in object_stores.KINDS)]
WAIT_S = 300.0
on_both = pytest.mark.parametrize("url", KINDS, indirect=True)


@pytest.fixture(scope="module")
def stores() -> Iterator[object_stores.Stores]:
    with object_stores.Stores() as made:
        yield made


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return FolderShelf(tmp_path / "files")


@pytest.fixture
def machines(url: str, shelf: Shelf, tmp_path: Path, cache: ModelCache,
             ) -> Iterator[Callable[..., Server]]:
    """Makes servers with a data folder each, on one database and one store."""
    made: list[Server] = []

    def machine(**limits: Any) -> Server:
        folder = tmp_path / f"machine-{len(made)}" / "paused"
        made.append(Server(folder, cache, url=url, shelf=shelf, **limits))
        return made[-1]

    yield machine
    for each in made:
        each.backend.close()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


@pytest.fixture
def rows(url: str, shelf: Shelf) -> PausedRows:
    return PausedRows(Database(url), shelf)


def add(rows: PausedRows, run_id: str = "a" * 32) -> str:
    rows.add(run_id, b"state", {"owner": "me", "saved_s": time.time(), "number": 1,
                                "interrupted": False, "header": {}})
    return run_id


def keys(shelf: Shelf) -> list[str]:
    return list(shelf.old(KIND, -3600.0))


@pytest.mark.parametrize("store", STORES)
@on_both
def test_a_run_goes_on_at_another_machine_with_the_same_bits(
        store: str, url: str, cache: ModelCache, tmp_path: Path, stores: object_stores.Stores,
        monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = (FolderShelf(tmp_path / "files") if store == "folder"
             else open_shelf(stores.url(store, monkeypatch)))
    here, there = (Server(tmp_path / name / "paused", cache, url=url, shelf=shelf)
                   for name in ("here", "there"))
    whole = here.drawn()
    run_id = here.paused_at(2)
    assert not list((tmp_path / "here").rglob("*.safetensors"))
    (waiting,) = there.runs.of(ME)
    assert (waiting.run_id, waiting.step, waiting.interrupted) == (run_id, 2, False)
    with pytest.raises(Paused):
        list(there.backend.resume(ME, run_id, pause_after=3))
    branch = here.resume(run_id, branch=True, prompt="a blue car")
    assert result_of(branch).metadata["changes"][0]["branch_of"] == run_id
    assert same(here.resume(run_id), whole)
    assert there.runs.of(ME) == []
    assert keys(shelf) == [], "nothing is left behind"
    for each in (here, there):
        each.backend.close()


@on_both
def test_of_all_who_ask_at_once_one_gets_it(rows: PausedRows, url: str, shelf: Shelf) -> None:
    others = [PausedRows(Database(url), shelf) for _ in range(4)]
    for number in range(5):
        run_id = add(rows, f"{number:032x}")
        together, got, refused = threading.Barrier(8), list[str](), list[str]()

        def ask(who: int, run_id: str = run_id, together: threading.Barrier = together,
                got: list[str] = got, refused: list[str] = refused) -> None:
            together.wait()
            try:
                others[who % 4].claim("me", run_id, f"lease {who}")
                got.append(f"lease {who}")
            except PausedRunError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=ask, args=(who,)) for who in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert len(got) == 1
        assert refused == ["This run is on its way already."] * 7
        rows.release(got[0])
        rows.claim("me", run_id, "again")


@on_both
def test_a_lease_lasts_while_its_process_lives_and_no_longer(
        machines: Callable[..., Server], rows: PausedRows) -> None:
    here, there = machines(lease_s=4.0), machines(lease_s=4.0)
    run_id = here.paused_at(2)
    held = here.runs.resume(ME, run_id, here.backend.registry)
    first_s = rows.find(owner_key(ME), run_id).lease_until_s
    until(lambda: rows.find(owner_key(ME), run_id).lease_until_s > first_s + 4.0)
    assert there.runs.of(ME) == [], "it would have run out by now"
    here.runs._leases.forget(held.lease)  # as where the process is killed
    until(lambda: bool(there.runs.of(ME)))
    assert result_of(there.resume(run_id))


@on_both
def test_the_clock_of_who_asks_does_not_matter(rows: PausedRows,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, now = add(rows), time.time
    rows.claim("me", run_id, "one")
    for step_s in (3600, -3600):
        monkeypatch.setattr(time, "time", lambda step_s=step_s: now() + step_s)
        with pytest.raises(PausedRunError, match="on its way already"):
            rows.claim("me", run_id, "another")
    assert abs(rows.find("me", run_id).lease_until_s - now()) < 3600, "seconds of Unix time"


@on_both
def test_who_was_taken_for_dead_ends_and_draws_nothing(
        machines: Callable[..., Server], shelf: Shelf, rows: PausedRows) -> None:
    """The run is on its way still when another server has it: there is one result."""
    here, there = machines(), machines()
    fields: dict[str, Any] = {"options": FEW | {"iterations": 300}}
    run_id = here.paused_at(2, **fields)
    events = here.backend.resume(ME, run_id, {"iterations": 400}, job_id="job")
    next(event for event in events if isinstance(event, Progress) and event.losses)
    job = here.backend.jobs.find("job")
    assert job is not None
    assert job.checkpointer is not None
    here.runs.end_lease(job.checkpointer.lease)
    taken = there.runs.resume(ME, run_id, there.backend.registry)
    had = rows.find(owner_key(ME), run_id)
    here.backend.pause("job")
    with pytest.raises(RunTakenOver, match="not heard of for too long"):
        list(events)
    assert keys(shelf) == [had.key], "it kept nothing more, and removed nothing"
    taken.release()
    (left,) = there.runs.of(ME)
    assert result_of(there.resume(run_id, iterations=left.step + 2))


@on_both
def test_a_run_whose_steps_are_taken_ends_too_where_others_have_it(
        machines: Callable[..., Server]) -> None:
    here, there = machines(), machines()
    run_id = here.paused_at(2)
    taken: list[Checkpointer] = []

    def read() -> None:
        for event in here.backend.resume(ME, run_id, {"iterations": 100}, job_id="job"):
            job = here.backend.jobs.find("job")
            if not taken and isinstance(event, Progress) and event.losses:
                assert job is not None
                assert job.checkpointer is not None
                here.runs.end_lease(job.checkpointer.lease)
                taken.append(there.runs.resume(ME, run_id, there.backend.registry))

    with pytest.raises(RunTakenOver):
        read()
    taken[0].release()


@on_both
def test_a_state_is_replaced_whole_or_not_at_all(machines: Callable[..., Server], shelf: Shelf,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill after each of its three steps: the state, its row, the one before removed."""
    here, there = machines(), machines()
    whole = here.drawn()
    run_id = here.paused_at(1)
    (first,) = keys(shelf)

    def fail(*args: object) -> None:
        raise HistoryError("The database is gone.")

    had = there.runs.resume(ME, run_id, there.backend.registry)
    assert had.start is not None
    assert had._store is not None
    with monkeypatch.context() as patch:
        patch.setattr(PausedRows, "_leased", fail)
        with pytest.raises(PausedRunError, match=r"could not be paused\. The database is gone\.$"):
            had._store.put(had.start, True)
    had.release()
    assert len(keys(shelf)) == 2
    assert [run.step for run in there.runs.of(ME)] == [1]
    removed: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(PausedRows, "_remove_state", lambda self, key: removed.append(key))
        with pytest.raises(Paused):
            list(there.backend.resume(ME, run_id, pause_after=3))
    assert removed[0] == first  # one kept in between, on a slow machine, goes the same way
    assert there.runs.sweep() == 0
    assert len(keys(shelf)) == 2 + len(removed), "they may be on their way into the database"
    monkeypatch.setattr(paused_rows, "ORPHAN_S", -3600.0)
    assert there.runs.sweep() == 0
    assert len(keys(shelf)) == 1
    assert same(here.resume(run_id), whole)


@on_both
def test_a_run_goes_before_its_state(rows: PausedRows, shelf: Shelf,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = add(rows)

    def away(key: str) -> None:
        raise FilesOutOfReach("The store is away.")

    with monkeypatch.context() as patch:
        patch.setattr(shelf, "remove", away)
        rows.delete("me", run_id)
    assert rows.waiting("me") == []
    assert len(keys(shelf)) == 1
    monkeypatch.setattr(paused_rows, "ORPHAN_S", -3600.0)
    rows.sweep(3600.0)
    assert keys(shelf) == []


@on_both
def test_what_is_old_goes_and_what_is_under_way_stays(rows: PausedRows, shelf: Shelf) -> None:
    old, busy = add(rows), add(rows, "b" * 32)
    rows.claim("me", busy, "lease")
    assert rows.sweep(60.0) == 0
    assert rows.sweep(-60.0) == 1
    assert [run.run_id for run in rows.waiting("me")] == []
    rows.release("lease")
    assert [run.run_id for run in rows.waiting("me")] == [busy] != [old]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_store_that_is_away_ends_no_run(machines: Callable[..., Server], shelf: Shelf,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    def away(key: str, data: bytes) -> None:
        raise FilesOutOfReach("The store is away.")

    monkeypatch.setattr(shelf, "put", away)
    events = list(stream(machines().backend, FIELDS, owner=ME, pause_after=2))
    notices = {e.message for e in events if isinstance(e, Progress) and e.losses and e.message}
    assert notices == {"The run could not be paused. The store is away."}
    assert result_of(events)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_what_takes_long_to_keep_is_kept_less_often(machines: Callable[..., Server], shelf: Shelf,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointer, "SAVE_EVERY_S", 0.0)
    here, clock, kept, lock = machines(), [0.0], list[float](), Lock()

    def later_by(seconds: float) -> float:
        with lock:  # what another test has left may ask as well
            clock[0] += seconds
            return clock[0]

    class Clock:
        @staticmethod
        def monotonic() -> float:  # asked on the device's thread at each step
            return later_by(1.0)

    monkeypatch.setattr(checkpointer, "time", Clock)
    put = shelf.put

    def slowly(key: str, data: bytes) -> None:
        kept.append(later_by(0.0))
        put(key, data)
        later_by(0.5)

    monkeypatch.setattr(shelf, "put", slowly)
    list(stream(here.backend, FIELDS | {"options": FEW | {"iterations": 50}}, owner=ME))
    assert len(kept) >= 3
    assert min(later - earlier for earlier, later in pairwise(kept)) >= 15.0, kept


KILLED = """
import sys
from pathlib import Path
from easel.history.buckets import open_shelf
from pipelines import checkpointer
from tests.asking import stream
from tests.paused_server import FEW, FIELDS, ME, Server
from tests.small_models import small_cache
checkpointer.SAVE_EVERY_S = 0.2
folder, url, files = sys.argv[1:]
server = Server(Path(folder), small_cache(), url=url, shelf=open_shelf(files), lease_s=4.0)
for event in stream(server.backend, FIELDS | {"options": FEW | {"iterations": 1000}}, owner=ME):
    print(event.step, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("url", KINDS[1:], indirect=True)
@pytest.mark.parametrize("store", STORES)
def test_what_a_killed_machine_drew_goes_on_at_another(
        store: str, url: str, cache: ModelCache, tmp_path: Path, repository: Path,
        stores: object_stores.Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ((tmp_path / "files").as_uri() if store == "folder" else stores.url(store, monkeypatch))
    there = Server(tmp_path / "there" / "paused", cache, url=url, shelf=open_shelf(files))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "here" / "paused"), url, files],
        cwd=repository, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    rows = PausedRows(Database(url), open_shelf(files))
    for _ in process.stdout:
        if rows.used("", "").all_bytes:
            break
    process.kill()
    process.communicate()
    until(lambda: bool(there.runs.of(ME)))
    (left,) = there.runs.of(ME)
    assert left.interrupted
    events = there.resume(left.run_id, iterations=left.step + 2)
    assert [step for step, _ in curve_of(events)] == list(range(1, left.step + 3))
    assert there.runs.of(ME) == []
    there.backend.close()

"""A job that is run again keeps its pictures once, whoever was lost when between."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from easel.history.database import Database
from easel.history.files import FileStore
from easel.history.recorder import Recorder
from easel.history.records import Filters, HistoryError, KeptPicture
from easel.history.store import History
from pipelines.core.events import Result
from pipelines.core.metadata import read_png
from tests.kept import make_history, new_picture, opened
from tests.test_history_database import KINDS, postgres_server, url
from tests.test_history_store import result

__all__ = ["postgres_server", "url"]  # fixtures
NAME = "a" * 32


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = make_history(tmp_path)
    yield made
    made.close()


def ids(told: Result) -> list[str]:
    return [str(candidate.metadata["picture_id"]) for candidate in told.candidates]


def files(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("files/??/*"))


def test_a_job_that_is_run_again_keeps_its_pictures_once(history: History, tmp_path: Path) -> None:
    record = Recorder(history)
    first = record(result(5, 6, device_s=1.0), "me")
    before = files(tmp_path)
    again = record(replace(result(5, 6, device_s=2.5), elapsed_s=9.0), "me")
    assert ids(again) == ids(first)
    assert history.page("me").total == 2
    assert files(tmp_path) == before, "no second file either"
    for candidate in again.candidates:
        kept = history.get("me", str(candidate.metadata["picture_id"]))
        assert candidate.png == history.files.read(kept.sha256), "what is told is what is kept"
        assert candidate.png is not None
        assert read_png(candidate.png)["easel"]["device_s"] == 1.0


@pytest.mark.parametrize("other", [
    {"job_id": "k"}, {"prompt": "a dog"}, {"pipeline": "unclip"}, {"options": {"steps": 3}},
    {"init_image_sha256": "cd" * 32},
    {"mask_sha256": "cd" * 32}, {"image_prompts_sha256": ["cd" * 32]},
], ids=lambda changed: next(iter(changed)))
def test_what_is_asked_for_otherwise_is_another_picture(
        history: History, other: dict[str, object]) -> None:
    record = Recorder(history)
    told = record(result(5, 6), "me"), record(result(5, 6, **other), "me")
    assert len({*ids(told[0]), *ids(told[1])}) == 4
    assert history.page("me").total == 4


def test_parts_of_a_job_and_owners_have_pictures_of_their_own(history: History) -> None:
    record = Recorder(history)
    told = [record(result(5, 6), "me"), record(result(7, 8), "me"), record(result(5, 6), "you")]
    assert len({name for each in told for name in ids(each)}) == 6
    assert (history.page("me").total, history.page("you").total) == (4, 2)
    unnamed = [record(result(5, job_id=""), "me") for _ in range(2)]
    assert ids(unnamed[0]) != ids(unnamed[1])


def test_one_that_draws_what_another_seed_drew_keeps_its_own_file(history: History) -> None:
    def drawn(device_s: float) -> Result:
        made = result(5, 6, device_s=device_s)
        return replace(made, candidates=(*made.candidates, replace(
            made.candidates[0], seed=7, index=2)))

    record = Recorder(history)
    record(drawn(1.0), "me")
    first, _, equal = record(drawn(2.0), "me").candidates
    assert first.png is not None
    assert equal.png is not None
    assert read_png(first.png)["easel"]["seed"] == 5
    assert read_png(equal.png)["easel"]["seed"] == 7
    assert history.page("me").total == 2


def test_what_is_known_needs_no_room_and_keeps_its_opinions(tmp_path: Path) -> None:
    picture = replace(new_picture(), id=NAME)
    with opened(tmp_path, quota_bytes=len(picture.data)) as history:
        history.add("me", [picture])
        history.rate("me", NAME, 4)
        history.delete("me", [NAME])
        [again] = history.add("me", [picture])
        assert (again.id, again.rating, again.deleted) == (NAME, 4, True)
        assert history.page("me", Filters(deleted=True)).total == 1


def test_twice_in_one_call(history: History) -> None:
    picture = replace(new_picture(), id=NAME)
    one, unnamed, same = history.add("me", [picture, new_picture(), picture])
    assert one == same
    assert unnamed.id != NAME
    assert history.page("me").total == 2


def test_a_name_of_somebody_else_is_refused(history: History) -> None:
    history.add("me", [replace(new_picture(), id=NAME)])
    with pytest.raises(HistoryError, match=r"^Somebody else's history has a picture of that name"):
        history.add("you", [replace(new_picture(), id=NAME)])
    assert history.page("you").total == 0


@pytest.mark.parametrize("url", KINDS, indirect=True)
def test_machines_that_keep_the_same_at_once_keep_it_once(url: str, tmp_path: Path) -> None:
    """All of them have looked and found nothing when the first one writes."""
    machines = [History(Database(url, busy_timeout_s=120), FileStore(tmp_path / str(number)))
                for number in range(3)]  # with patience: the cores may be busy
    together, told, failures = threading.Barrier(3), dict[int, list[KeptPicture]](), []
    pictures = [replace(new_picture(parents=(NAME,)), id=NAME),
                replace(new_picture(parents=(NAME,), seed=2), id="b" * 32)]

    def keep(number: int, history: History) -> None:
        put = history.files.put

        def put_together(data: bytes) -> str:
            together.wait(60)
            return put(data)

        history.files.put = put_together
        try:
            told[number] = history.add("me", pictures)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=keep, args=each) for each in enumerate(machines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert [[each.id for each in told[number]] for number in range(3)] == [[NAME, "b" * 32]] * 3
    assert machines[0].page("me").total == 2
    assert [p.id for p in machines[0].family("me", "b" * 32).ancestors] == [NAME]
    assert machines[0].models("me") == ["embedded/dalle"]
    for machine in machines:
        machine.close()


# Keeps a run, and is gone before anybody hears of it.
LOST = """
import os, sys
from pathlib import Path
from easel.history.database import Database
from easel.history.files import FileStore
from easel.history.recorder import Recorder
from tests.kept import make_history
from tests.test_history_store import result
history = make_history(Path(sys.argv[1]))
add = history.add
def lost(*arguments):
    add(*arguments)
    os._exit(9)
history.add = lost
Recorder(history)(result(5, 6), "me")
"""


def test_a_machine_lost_between_keeping_and_telling_leaves_no_doubles(
        tmp_path: Path, repository: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", LOST, str(tmp_path)], cwd=repository, timeout=300,
                           env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert ended.returncode == 9
    with opened(tmp_path) as history:
        assert history.page("me").total == 2
        told = Recorder(history)(result(5, 6), "me")
        assert history.page("me").total == 2
        assert {picture.id for picture in history.page("me").pictures} == set(ids(told))

"""A runner's work under a desk's orders, on a backend of its own and without any cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from easel.serving.backend import LocalBackend
from easel.serving.jobs import Requester, RunEvent
from easel.serving.ray.messages import Order, Work
from easel.serving.ray.station import Station
from pipelines.core.errors import Paused
from pipelines.core.events import Preview, Progress, Result
from pipelines.models.cache.cache import ModelCache
from tests.paused_server import FIELDS, ME, cache, open_runs, registry

__all__ = ["cache"]
WAIT_S = 300.0
SKETCH: dict[str, Any] = {"pipeline": "sketch", "prompt": "a red apple", "num_images": 2, "seed": 5,
                          "options": {"steps": 2000, "pause_s": 0.1}}
LONG: dict[str, Any] = {**FIELDS, "options": {**FIELDS["options"], "iterations": 1000}}


@pytest.fixture
def station(tmp_path: Path, cache: ModelCache) -> Iterator[Station]:
    backend = LocalBackend(registry(), cache, paused=open_runs(tmp_path / "paused"))
    yield Station("r1", backend, lambda: None)
    backend.close()


def work(station: Station, fields: dict[str, Any], owner: str = "") -> Work:
    return Work("token", "stream", {"request": station.backend.registry.check(fields),
                                    "job_id": "job", "owner": owner}, ("job",), Requester())


class Reader(threading.Thread):
    """Reads some work to its end, as a runner does whether anybody hears of it or not."""

    def __init__(self, station: Station, work: Work) -> None:
        super().__init__(daemon=True)
        self.events: list[Any] = []
        self._said = station.events(work)
        self.start()

    def run(self) -> None:
        for each in self._said:
            self.events.append(each.event if isinstance(each, RunEvent) else each)

    def drew(self) -> bool:
        """Whether a step was taken."""
        return any(isinstance(each, Preview) or (isinstance(each, Progress) and each.losses)
                   for each in list(self.events))

    def last(self) -> Any:
        self.join(WAIT_S)
        assert not self.is_alive()
        return self.events[-1]


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def test_a_run_whose_front_end_was_lost_is_paused(station: Station) -> None:
    reader = Reader(station, work(station, LONG, ME))
    until(reader.drew)
    station.obey(Order("orphan", "token"))
    paused = reader.last()
    assert isinstance(paused, Paused)
    runs = station.backend.paused
    assert runs is not None
    assert [(run.run_id, run.step) for run in runs.of(ME)] == [(paused.run_id, paused.step)]
    assert "token" in station.report().ended


def test_what_cannot_be_paused_ends_with_what_is_drawn(station: Station) -> None:
    reader = Reader(station, work(station, SKETCH, ME))
    until(reader.drew)
    station.obey(Order("orphan", "token"))
    result = reader.last()
    assert isinstance(result, Result)
    assert result.metadata["stopped"] is True
    until(lambda: "token" in station.report().ended)


def test_a_run_that_nobody_reads_leaves_nothing(station: Station) -> None:
    reader = Reader(station, work(station, LONG, ME))
    until(reader.drew)
    station.obey(Order("abandon", "token"))
    reader.join(WAIT_S)
    assert station.backend.paused is not None
    assert station.backend.paused.of(ME) == []


@pytest.mark.parametrize("what", ["orphan", "abandon"])
def test_work_that_is_not_brought_any_more_is_over(station: Station, what: Any) -> None:
    station.obey(Order(what, "token"))
    assert station.report().ended == {"token": ()}
    assert list(station.events(work(station, SKETCH))) == []


def test_a_close_waits_for_work_that_is_still_brought(station: Station) -> None:
    station.obey(Order("close", "token"))
    assert station.report().ended == {}
    reader = Reader(station, work(station, SKETCH))
    reader.join(WAIT_S)
    assert not reader.drew()

"""Readers that leave, sleep or change threads, and the end of a backend: the device is freed."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from easel.serving.backend import LocalBackend
from pipelines.core.errors import Busy, Cancelled
from pipelines.core.events import Preview, Progress
from pipelines.registry import Registry
from tests.asking import stream
from tests.noise import NoisePipeline, linear_cache
from tests.noise_backend import backend, pipeline, request, result_of, start, until

__all__ = ["backend", "pipeline"]


@pytest.mark.parametrize("leave", [
    lambda events: events.close(), lambda events: events.throw(ConnectionError),
    lambda events: threading.Thread(target=events.close).start(),
])
def test_a_reader_that_leaves_frees_the_device(
        backend: LocalBackend, pipeline: NoisePipeline,
        leave: Callable[[Any], object]) -> None:
    events = start(backend, "job", steps=10_000, step_s=0.01)
    with suppress(ConnectionError):
        leave(events)
    until(lambda: pipeline.closed == 1)
    until(lambda: backend.cache.stats().models[0].leases == 0)
    result_of(list(stream(backend, request())))


def test_a_dropped_generator_frees_the_device(backend: LocalBackend,
                                              pipeline: NoisePipeline) -> None:
    events = start(backend, "job", steps=10_000, step_s=0.01)
    del events
    gc.collect()
    until(lambda: pipeline.closed == 1)
    result_of(list(stream(backend, request())))


def test_a_reader_that_sleeps_holds_nothing(backend: LocalBackend,
                                            pipeline: NoisePipeline) -> None:
    with pipeline.held():
        asleep = start(backend, "asleep", steps=200)
    result_of(list(stream(backend, request())))
    assert pipeline.closed == 2
    events = list(asleep)
    assert [e.step for e in events if isinstance(e, Preview)] == [200], "only the newest is kept"
    assert [e.step for e in events if isinstance(e, Progress)] == list(range(2, 201))
    result_of(events)


def test_readers_may_change_threads(backend: LocalBackend) -> None:
    events = stream(backend, request(steps=5))
    seen = []
    with ThreadPoolExecutor(4) as pool:
        while (event := pool.submit(next, events, None).result(10)) is not None:
            seen.append(event)
    result_of(seen)


def test_close_stops_everything(pipeline: NoisePipeline) -> None:
    registry = Registry()
    registry.register(pipeline)
    backend = LocalBackend(registry, linear_cache())
    running = start(backend, "job", steps=10_000, step_s=0.01)
    asked = time.monotonic()
    backend.close()
    assert time.monotonic() - asked < 5
    with pytest.raises(Cancelled):
        list(running)
    with pytest.raises(Busy, match="shutting down"):
        list(stream(backend, request()))


def test_who_reads_a_long_step_is_told_that_the_process_ends(pipeline: NoisePipeline) -> None:
    """A step that takes longer than a server has to end."""
    registry = Registry()
    registry.register(pipeline)
    backend = LocalBackend(registry, linear_cache())
    with pipeline.held():
        running = start(backend, "job", steps=10_000)
        closing = threading.Thread(target=backend.close)
        closing.start()
        while backend.is_open():
            time.sleep(0.01)
        backend.abort_jobs()
        with pytest.raises(Busy, match="in the middle of a step: nothing of this run is kept"):
            list(running)
    closing.join(60)
    assert not closing.is_alive()

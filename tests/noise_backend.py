"""A backend that runs noise, for the length of a test, and jobs of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from easel.serving.backend import LocalBackend
from pipelines.core.events import Event, Preview, Result
from pipelines.registry import Registry
from tests.asking import stream
from tests.noise import NoisePipeline, linear_cache


@pytest.fixture
def pipeline() -> NoisePipeline:
    """The pipeline that the backend runs."""
    return NoisePipeline()


@pytest.fixture
def backend(pipeline: NoisePipeline) -> Iterator[LocalBackend]:
    """A backend with room for two waiting jobs."""
    registry = Registry()
    registry.register(pipeline)
    backend = LocalBackend(registry, linear_cache(), max_waiting=2)
    yield backend
    backend.close()


def request(**options: Any) -> dict[str, Any]:
    """The fields of a small request."""
    return {"pipeline": "noise", "prompt": "a red apple", "num_images": 2, "seed": 5,
            "options": options}


def result_of(events: list[Event]) -> Result:
    """The last event, which is the result."""
    assert isinstance(events[-1], Result)
    assert not any(isinstance(event, Result) for event in events[:-1])
    return events[-1]


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for something that must come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def start(backend: LocalBackend, job_id: str, **options: Any,
          ) -> Generator[Event, None, None]:
    """A job that is running: its first preview has been read.

    That is the preview of its first step, and nothing is left unread, only if the pipeline is
    ``held``: a job that goes on has posted more steps by the time that the reader's turn comes.
    """
    events = stream(backend, request(**options), job_id)
    for event in events:
        if isinstance(event, Preview):
            return events
    raise AssertionError("no step was taken")

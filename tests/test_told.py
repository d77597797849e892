"""Who waits for work on the device hears its place in line, and when it begins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from easel.serving.backend import LocalBackend
from easel.serving.jobs import Found
from easel.serving.told import found_of, hearing
from pipelines.core.events import Progress
from pipelines.models.cache.cache import ModelCache
from tests.noise import noise_registry
from tests.small_models import small_cache


@dataclass(frozen=True)
class Held:
    """A question that is answered once somebody says so."""

    begun: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    models: tuple[str, ...] = ()

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False) -> str:
        self.begun.set()
        assert self.let_go.wait(60)
        return "answered"


@pytest.fixture
def backend() -> Iterator[LocalBackend]:
    cache = small_cache()
    built = LocalBackend(noise_registry(), cache)
    yield built
    built.close()
    cache.close()


def test_a_place_in_line_is_heard_and_the_end_of_it(backend: LocalBackend) -> None:
    first, second = Held(), Held()
    other = threading.Thread(target=backend.inside, args=(first,))
    other.start()
    assert first.begun.wait(60)
    heard: list[Progress] = []

    def hear(progress: Progress) -> None:
        heard.append(progress)
        (first if progress.ahead is not None else second).let_go.set()

    with hearing(hear):
        assert backend.inside(second) == "answered"
    other.join(60)
    assert str(heard[0].message).startswith("Waiting: ")
    assert heard[0].ahead is not None
    assert (heard[-1].ahead, heard[-1].message) == (None, ""), "it was said that it has begun"


def test_nobody_has_to_listen_and_who_has_heard_hears_no_more() -> None:
    events = [Progress(message="Waiting: next in line.", ahead=0), Found(7)]
    heard: list[Progress] = []
    with hearing(heard.append):
        assert found_of(events) == 7
    assert found_of(events) == 7
    assert heard == events[:1]

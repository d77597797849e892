"""Runs that outlive their page: found again by their visitor alone, and ended if nobody comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from easel.serving.backend import LocalBackend
from easel.serving.session_runs import Run, SessionRuns
from easel.ui.parts.lines import Updates
from easel.ui.parts.live import LiveRuns
from easel.ui.parts.live_run import Follower, LiveRun
from pipelines.core.errors import Cancelled
from tests.asking import compare, stream
from tests.noise import linear_cache, noise_registry

FIRST = {"stage": "a", "head": "same", "go": gr.update(interactive=False)}


@pytest.fixture
def runs() -> Iterator[SessionRuns]:
    backend = LocalBackend(noise_registry(), linear_cache())
    yield SessionRuns(backend)
    backend.close()


class Work:
    """Says a, then b once it may, and notices when it is stopped."""

    def __init__(self, run: Run) -> None:
        self.run, self.go_on = run, threading.Event()

    def __call__(self, live: LiveRun) -> None:
        with live.under_way():
            live.post({"stage": "a", "head": "same", "go": gr.update(interactive=False)})
            while not (self.go_on.is_set() or self.run.stopped):
                time.sleep(0.01)
            live.post({"stage": "stopped" if self.run.stopped else "b",
                       "go": gr.update(value="Go")})


def follow(live: LiveRun | None, session: str) -> Iterator[Updates]:
    """What the page of a session is told of a run."""
    page: Any = SimpleNamespace(session_hash=session)
    return Follower(lambda *_: (live, {})).updates(None, page)


def until(true: Callable[[], bool], timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_a_stopped_run_begins_is_stopped_too(runs: SessionRuns) -> None:
    run = runs.start("page", "anna")
    assert runs.stop("page") == 1
    with pytest.raises(Cancelled, match="before it began"):
        list(stream(runs.backend, {"pipeline": "noise", "prompt": "a cat"}, run.next_job()))
    ends = compare(runs.backend, [{"pipeline": "noise", "prompt": "a cat"}] * 2, run.next_jobs(2))
    assert all(isinstance(end.event, Cancelled) for end in ends)


def test_a_page_that_comes_back_sees_the_run_go_on(runs: SessionRuns) -> None:
    live = LiveRuns(runs, grace_s=30)
    work = Work(runs.start("old", "anna", "compare"))
    first = follow(live.start(work.run, work, "what it is about"), "old")
    assert next(first) == FIRST
    live.leave("old")
    assert list(first) == [], "a page that is gone is told nothing more"
    assert runs.stop("old") == 0
    found = live.adopt("new", "anna", "compare")
    assert found is not None
    assert found.subject == "what it is about"
    second = follow(found, "new")
    assert next(second) == FIRST, "all that there is to see, at once"
    work.go_on.set()
    assert next(second) == {"stage": "b", "go": gr.update(interactive=False, value="Go")}, (
        "then only what changes, and of a button all that it was told before")
    assert list(second) == []
    until(lambda: runs.stop("new") == 0)


def test_stop_reaches_a_run_that_was_found_again(runs: SessionRuns) -> None:
    live = LiveRuns(runs)
    work = Work(runs.start("old", "anna", "compare"))
    live.start(work.run, work)
    live.leave("old")
    found = live.adopt("new", "anna", "compare")
    assert found is not None
    assert runs.stop("new", "compare") == 1
    assert list(follow(found, "new"))[-1]["stage"] == "stopped"


def test_only_its_visitor_finds_a_run_and_only_when_no_page_shows_it(runs: SessionRuns) -> None:
    live = LiveRuns(runs)
    work = Work(runs.start("one", "anna", "compare"))
    live.start(work.run, work)
    assert live.adopt("two", "anna", "compare") is None, "another tab shows it"
    live.leave("one")
    assert live.adopt("ben", "ben", "compare") is None
    assert live.adopt("nobody", "", "compare") is None
    assert live.adopt("two", "anna", "sweep") is None
    threads = [threading.Thread(target=lambda name=name: found.append(
        live.adopt(name, "anna", "compare"))) for name in "abcd"]
    found: list[Any] = []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sum(each is not None for each in found) == 1, "two tabs do not share a run"
    work.go_on.set()


def test_a_reload_may_ask_before_the_old_page_is_known_to_be_gone(runs: SessionRuns) -> None:
    live = LiveRuns(runs)
    assert live.adopt("old", "anna", "compare", "w") is None
    work = Work(runs.start("old", "anna", "compare"))
    live.start(work.run, work)
    assert live.adopt("twin", "anna", "compare", "another window") is None
    threading.Timer(0.3, live.leave, ("old",)).start()
    assert live.adopt("new", "anna", "compare", "w") is not None
    work.go_on.set()


def test_a_run_is_kept_for_the_window_that_is_being_reloaded(runs: SessionRuns) -> None:
    live = LiveRuns(runs, arrival_s=60)
    live.adopt("old", "anna", "compare", "w")
    work = Work(runs.start("old", "anna", "compare"))
    run = live.start(work.run, work)
    live.leave("old")
    with ThreadPoolExecutor(1) as pool:
        twin = pool.submit(live.adopt, "twin", "anna", "compare", "another window")
        until(lambda: "twin" in live._windows)  # it has looked once, and waits
        assert live.adopt("new", "anna", "compare", "w") is run
        assert twin.result(30) is None
    work.go_on.set()


def test_another_window_finds_a_run_whose_own_does_not_come_back(runs: SessionRuns) -> None:
    live = LiveRuns(runs, arrival_s=0.2)
    live.adopt("old", "anna", "compare", "w")
    work = Work(runs.start("old", "anna", "compare"))
    run = live.start(work.run, work)
    live.leave("old")
    assert live.adopt("new", "anna", "compare", "another window") is run
    work.go_on.set()


def test_a_run_that_began_before_its_page_told_the_window_is_found_by_it(runs: SessionRuns,
                                                                         ) -> None:
    live = LiveRuns(runs)
    work = Work(runs.start("old", "anna", "compare"))
    run = live.start(work.run, work)
    live.adopt("old", "anna", "generate", "w")
    threading.Timer(0.3, live.leave, ("old",)).start()
    assert live.adopt("new", "anna", "compare", "w") is run, "it waits for the page to be gone"
    work.go_on.set()


def test_nobody_comes_back_and_the_run_is_stopped(runs: SessionRuns) -> None:
    live = LiveRuns(runs, grace_s=0.2)
    work = Work(runs.start("old", "anna", "compare"))
    run = live.start(work.run, work)
    live.leave("old")
    until(lambda: run.finished)
    assert work.run.stopped
    assert live.adopt("new", "anna", "compare") is None


def test_who_comes_back_in_time_is_not_stopped_later(runs: SessionRuns) -> None:
    live = LiveRuns(runs, grace_s=0.3)
    work = Work(runs.start("old", "anna", "compare"))
    live.start(work.run, work)
    live.leave("old")
    assert live.adopt("new", "anna", "compare") is not None
    time.sleep(0.6)
    assert not work.run.stopped
    work.go_on.set()


def test_what_ended_while_nobody_looked_is_shown(runs: SessionRuns) -> None:
    live = LiveRuns(runs)
    work = Work(runs.start("old", "anna", "compare"))
    run = live.start(work.run, work)
    live.leave("old")
    work.go_on.set()
    until(lambda: run.finished)
    found = live.adopt("new", "anna", "compare")
    assert found is run
    assert [each["stage"] for each in follow(found, "new")] == ["b"]
    assert runs.stop("new") == 0


def test_a_new_run_takes_the_place_of_the_last_one(runs: SessionRuns) -> None:
    live = LiveRuns(runs)
    last = None
    for _ in range(3):
        work = Work(runs.start("old", "anna", "compare"))
        last = live.start(work.run, work)
        work.go_on.set()
        list(follow(last, "old"))
    live.leave("old")
    assert live.adopt("new", "anna", "compare") is last
    assert live.adopt("newer", "anna", "compare") is None

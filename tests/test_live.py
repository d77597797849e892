"""Runs that outlive their page: found again by their visitor alone, and ended if nobody comes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

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


def mark(updates: Updates) -> tuple[str, int]:
    """Key and version by which a page says that it has seen some updates."""
    found = re.search(r'data-seen="(\w+)/(\d+)"', updates["mark"])
    assert found is not None
    return found[1], int(found[2])


def test_a_page_is_sent_more_once_it_has_seen_what_it_was_sent(
        runs: SessionRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easel.ui.parts.live_run.FIRST_SEEN_S", 60.0)
    live = LiveRuns(runs)
    run = LiveRun(runs.start("page", "anna"), None, runs)
    live._live.append(run)
    page: Any = SimpleNamespace(session_hash="page")
    marked: Any = "mark"
    shown = Follower(lambda *_: (run, {}), marked).updates(None, page)
    run.post({"stage": 1})
    first = next(shown)
    assert first["stage"] == 1
    with ThreadPoolExecutor(1) as pool:
        run.post({"stage": 2})
        second = pool.submit(next, shown)
        run.post({"stage": 3})
        live.see("another key", 9)
        live.see(mark(first)[0], 0)
        assert not second.done()
        live.see(*mark(first))
        assert second.result(60)["stage"] == 3, "what is old by then is never sent"
        run.post({"stage": 4})
        third = pool.submit(next, shown, None)
        run.belong_to("another page")
        assert third.result(60) is None, "who lost the run to another page waits no more"
    again: Any = SimpleNamespace(session_hash="another page")
    whole = next(Follower(lambda *_: (run, {}), marked).updates(None, again))
    assert whole["stage"] == 4
    live.see(*mark(first))
    assert run.seen == 0, "what another page saw is not what this one saw"
    live.see(mark(whole)[0], 10**9)
    assert run.seen == run.version, "nobody has seen what is yet to come"


def test_a_page_that_never_says_what_it_sees_is_sent_all_the_same(
        runs: SessionRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easel.ui.parts.live_run.FIRST_SEEN_S", 0.01)
    run = LiveRun(runs.start("page", "anna"), None, runs)
    page: Any = SimpleNamespace(session_hash="page")
    marked: Any = "mark"
    shown = Follower(lambda *_: (run, {}), marked).updates(None, page)
    for number in range(3):
        run.post({"stage": number})
        assert next(shown)["stage"] == number


def test_what_fills_fields_in_is_not_what_gradio_sends_again_at_the_end(
        runs: SessionRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easel.ui.parts.live_run.FIRST_SEEN_S", 60.0)
    live = LiveRuns(runs)
    run = LiveRun(runs.start("page", "anna"), None, runs)
    live._live.append(run)
    run.post({"stage": "a"})
    run.finish()
    page: Any = SimpleNamespace(session_hash="page")
    marked: Any = "mark"
    shown = Follower(lambda *_: (run, {"prompt": "a cat"}), marked).updates(None, page)
    first = next(shown)
    assert (first["stage"], first["prompt"]) == ("a", "a cat")
    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(next, shown)
        assert not last.done(), "it waits until the first is shown, with which it would be merged"
        live.see(*mark(first))
        assert last.result(60).keys() == {"mark"}
    assert list(shown) == []
    # Nobody types where nothing was filled in.
    (only,) = Follower(lambda *_: (run, {}), marked).updates(None, page)
    assert only["stage"] == "a"


def test_the_end_of_a_run_is_not_told_once_the_next_one_is_shown(
        runs: SessionRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Stop, which the end disables, would stay so while the next run draws."""
    for name in ("SEEN_S", "FIRST_SEEN_S", "BEFORE_S"):
        monkeypatch.setattr(f"easel.ui.parts.live_run.{name}", 60.0)
    live, page, marked = LiveRuns(runs), SimpleNamespace(session_hash="page"), "mark"

    def started() -> tuple[Work, LiveRun, Iterator[Updates]]:
        work = Work(runs.start("page", "anna", "generate"))
        run = live.start(work.run, work)
        return work, run, Follower(lambda *_: (run, {}), cast(Any, marked)).updates(
            None, cast(Any, page))

    work, run, shown = started()
    assert next(shown)["stage"] == "a"
    work.go_on.set()
    until(lambda: run.finished)
    with ThreadPoolExecutor(2) as pool:
        end = pool.submit(next, shown)  # it waits, since the page has not seen the beginning
        other, _, following = started()
        first = pool.submit(next, following)
        assert end.result(60) == gr.skip(), "which is what Gradio sends once more at its end"
        assert not first.done(), "what is on its way of the last run comes first"
        assert list(shown) == []
        assert first.result(60)["stage"] == "a"
    other.go_on.set()
    until(lambda: not runs.busy("page", "anna", "generate"))


def until(true: Callable[[], bool], timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_a_stopped_run_begins_is_stopped_too(runs: SessionRuns) -> None:
    run = runs.start("page", "anna")
    assert runs.stop("page", "anna") == 1
    with pytest.raises(Cancelled, match="before it began"):
        list(stream(runs.backend, {"pipeline": "noise", "prompt": "a cat"}, run.next_job()))
    ends = compare(runs.backend, [{"pipeline": "noise", "prompt": "a cat"}] * 2, run.next_jobs(2))
    assert all(isinstance(end.event, Cancelled) for end in ends)


def test_a_page_that_comes_back_sees_the_run_go_on(runs: SessionRuns) -> None:
    live = LiveRuns(runs, grace_s=30)
    work = Work(runs.start("old", "anna", "compare"))
    first = follow(live.start(work.run, work, "what it is about"), "old")
    assert next(first) == FIRST
    live.leave("old", "anna")
    assert list(first) == [], "a page that is gone is told nothing more"
    assert runs.stop("old", "anna") == 0
    found = live.adopt("new", "anna", "compare")
    assert found is not None
    assert found.subject == "what it is about"
    second = follow(found, "new")
    assert next(second) == FIRST, "all that there is to see, at once"
    work.go_on.set()
    assert next(second) == {"stage": "b", "go": gr.update(interactive=False, value="Go")}, (
        "then only what changes, and of a button all that it was told before")
    assert list(second) == []
    until(lambda: runs.stop("new", "anna") == 0)


def test_a_page_is_left_by_its_visitor_alone(runs: SessionRuns) -> None:
    """Who knows the name of a session can neither stop what it shows, nor put a run behind it."""
    live = LiveRuns(runs, grace_s=0.0)
    work = Work(runs.start("page", "anna", "compare"))
    live.start(work.run, work)
    stranger: Any = SimpleNamespace(session_hash="page", cookies={},
                                    headers={"x-easel-visitor": "b" * 43})
    live.on_unload(stranger)
    assert not live.shows("page", "bert", "compare")
    held: Any = SimpleNamespace(run=runs.new("page", "bert", "compare"))
    assert not live.hold("page", "compare", held)
    assert runs.pause("page", "bert", "compare") == 0
    assert live.shows("page", "anna", "compare")
    assert not work.run.stopped
    runs.remember("page", "anna", ["a picture"])
    assert runs.last_cards("page", "bert") == ()
    assert runs.last_cards("page", "anna") == ("a picture",)
    work.go_on.set()
    until(lambda: not runs.busy("page", "anna", "compare"))


def test_a_page_that_finds_nothing_stays_as_it_is(runs: SessionRuns) -> None:
    """Of a handler that yields nothing Gradio tells the page that all it may change is empty."""
    assert list(follow(None, "new")) == [gr.skip()]
    live = LiveRuns(runs)
    work = Work(runs.start("old", "anna", "compare"))
    shown = live.start(work.run, work)
    shown.belong_to("another")  # before the page was told anything
    assert list(follow(shown, "old")) == [gr.skip()]
    work.go_on.set()
    until(lambda: shown.finished)


def test_a_page_that_arrives_is_told_where_it_may_find_something(runs: SessionRuns) -> None:
    live = LiveRuns(runs)
    work = Work(runs.start("old", "anna", "compare"))
    live.start(work.run, work)
    assert live.arrive("old", "anna", "") == set(), "it shows its run itself"
    assert live.arrive("new", "ben", "") == live.arrive("new", "", "") == set()
    assert live.arrive("new", "anna", "") == {"compare"}, "the old page may be about to go"
    live.leave("old", "anna")
    assert live.arrive("new", "anna", "w" * 1000) == {"compare"}
    assert live._windows["new"] == "w" * 64
    work.go_on.set()
    until(lambda: not runs.stop("old", "anna"))


def test_stop_reaches_a_run_that_was_found_again(runs: SessionRuns) -> None:
    live = LiveRuns(runs)
    work = Work(runs.start("old", "anna", "compare"))
    live.start(work.run, work)
    live.leave("old", "anna")
    found = live.adopt("new", "anna", "compare")
    assert found is not None
    assert runs.stop("new", "bert", "compare") == 0, "who knows the name of a session"
    assert runs.stop("new", "anna", "compare") == 1
    assert list(follow(found, "new"))[-1]["stage"] == "stopped"


def test_only_its_visitor_finds_a_run_and_only_when_no_page_shows_it(runs: SessionRuns) -> None:
    live = LiveRuns(runs)
    work = Work(runs.start("one", "anna", "compare"))
    live.start(work.run, work)
    assert live.adopt("two", "anna", "compare") is None, "another tab shows it"
    live.leave("one", "anna")
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
    threading.Timer(0.3, live.leave, ("old", "anna")).start()
    assert live.adopt("new", "anna", "compare", "w") is not None
    work.go_on.set()


def test_a_run_is_kept_for_the_window_that_is_being_reloaded(runs: SessionRuns) -> None:
    live = LiveRuns(runs, arrival_s=60)
    live.adopt("old", "anna", "compare", "w")
    work = Work(runs.start("old", "anna", "compare"))
    run = live.start(work.run, work)
    live.leave("old", "anna")
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
    live.leave("old", "anna")
    assert live.adopt("new", "anna", "compare", "another window") is run
    work.go_on.set()


def test_a_run_that_began_before_its_page_told_the_window_is_found_by_it(runs: SessionRuns,
                                                                         ) -> None:
    live = LiveRuns(runs)
    work = Work(runs.start("old", "anna", "compare"))
    run = live.start(work.run, work)
    live.adopt("old", "anna", "generate", "w")
    threading.Timer(0.3, live.leave, ("old", "anna")).start()
    assert live.adopt("new", "anna", "compare", "w") is run, "it waits for the page to be gone"
    work.go_on.set()


def test_nobody_comes_back_and_the_run_is_stopped(runs: SessionRuns) -> None:
    live = LiveRuns(runs, grace_s=0.2)
    work = Work(runs.start("old", "anna", "compare"))
    run = live.start(work.run, work)
    live.leave("old", "anna")
    until(lambda: run.finished)
    assert work.run.stopped
    assert live.adopt("new", "anna", "compare") is None


def test_who_comes_back_in_time_is_not_stopped_later(runs: SessionRuns) -> None:
    live = LiveRuns(runs, grace_s=0.3)
    work = Work(runs.start("old", "anna", "compare"))
    live.start(work.run, work)
    live.leave("old", "anna")
    assert live.adopt("new", "anna", "compare") is not None
    time.sleep(0.6)
    assert not work.run.stopped
    work.go_on.set()


def test_what_ended_while_nobody_looked_is_shown(runs: SessionRuns) -> None:
    live = LiveRuns(runs)
    work = Work(runs.start("old", "anna", "compare"))
    run = live.start(work.run, work)
    live.leave("old", "anna")
    work.go_on.set()
    until(lambda: run.finished)
    found = live.adopt("new", "anna", "compare")
    assert found is run
    assert [each["stage"] for each in follow(found, "new")] == ["b"]
    assert runs.stop("new", "anna") == 0


def test_a_new_run_takes_the_place_of_the_last_one(runs: SessionRuns) -> None:
    live = LiveRuns(runs)
    last = None
    for _ in range(3):
        work = Work(runs.start("old", "anna", "compare"))
        last = live.start(work.run, work)
        work.go_on.set()
        list(follow(last, "old"))
    live.leave("old", "anna")
    assert live.adopt("new", "anna", "compare") is last
    assert live.adopt("newer", "anna", "compare") is None

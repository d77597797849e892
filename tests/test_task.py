"""What a button starts: refused before it begins, found by a reload, and one net for faults."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from easel.guard.visitors import visitor_named
from easel.serving.backend import LocalBackend
from easel.serving.session_runs import SessionRuns
from easel.ui.parts.lines import Updates
from easel.ui.parts.live import LiveRuns
from easel.ui.parts.task import Asked, Task, Tasks, build_alert
from easel.ui.parts.tiles import alert
from easel.words import strings
from pipelines.core.errors import EaselError
from tests.noise import linear_cache, noise_registry

ON, OFF = gr.update(interactive=True), gr.update(interactive=False)
WINDOW = "window"


class Desk:
    """A page with a field, a button to draw, one to stop, and a stage."""

    def __init__(self, runs: SessionRuns) -> None:
        self.live = LiveRuns(runs)
        with gr.Blocks() as self.page:
            with gr.Tabs() as self.tabs, gr.Tab(id="desk") as tab:
                self.tab = tab
                self.field, self.stage, self.pause = gr.Textbox(), gr.HTML(), gr.Button()
                self.go, self.stop, self.alert = gr.Button(), gr.Button(), build_alert("desk")
            tasks = Tasks(self.live)
            self.task: Task = tasks.add("desk", self.go, self.stop, [self.stage, self.pause],
                                        self.alert, idle={self.pause: OFF})
            self.task.returns([self.field], [tab])
            self.task.starts([self.go.click], self.draw, [self.field])
            self.start = self.last_event()
            self.task.starts([self.pause.click], self.draw, [self.field], "One at a time.")
            self.start_alone = self.last_event()
            tasks.come_back(self.page)
            self.find = self.last_event()
        self.tab.parent = self.page  # as Gradio has it once a page is launched
        self.held = False

    def last_event(self) -> Any:
        return max(self.page.fns.values(), key=lambda fn: fn._id or 0).fn

    def draw(self, asked: Asked) -> Generator[Updates]:
        word = asked.text(self.field)
        if word == "early":
            raise EaselError("Too early.")
        yield {self.stage: f"draws {word}"}
        if word == "rest":
            asked.at_rest = lambda: {self.stage: "at rest"}
        if word in ("late", "rest"):
            raise EaselError("Too late.")
        if word == "bug":
            raise KeyError(word)
        while self.held and not asked.run.stopped:
            yield {self.stage: "waits"}
        yield {self.stage: "stopped" if asked.run.stopped else f"drew {word}"}

    def press(self, word: str, session: str = "one") -> list[Updates]:
        return list(self.told(self.start({self.field: word}, visitor(session))))

    def reload(self, session: str, last_tab: str = "", filled: str = "false") -> list[Updates]:
        self.live.leave("one", ANNA)
        # The last one may only say which version it is that is seen.
        return [each for each in self.come_back(session, last_tab, filled)
                if each.keys() - {self.task.mark}]

    def come_back(self, session: str, last_tab: str = "", filled: str = "false",
                  ) -> Iterator[Updates]:
        """What a page is told that is opened again, in the two steps that it takes."""
        arrive: Any = next(fn.fn for fn in self.page.fns.values()
                           if any(event == "load" for _, event in fn.targets))
        for said in arrive(WINDOW, last_tab, filled, visitor(session)).values():
            if said != gr.skip():
                yield from self.told(self.find(said, visitor(session)))

    def told(self, stream: Iterator[Updates]) -> Iterator[Updates]:
        """The updates, of which the page says at once that it has seen them."""
        for updates in stream:
            mark = re.search(r"(\w+)/(\d+)", updates.pop(self.task.mark, ""))
            if mark is not None:
                self.live.see(mark[1], int(mark[2]))
            yield updates


ANNA = visitor_named("a" * 43)


def visitor(session: str) -> Any:
    return SimpleNamespace(session_hash=session, cookies={}, headers={"x-easel-visitor": "a" * 43})


@pytest.fixture
def desk() -> Iterator[Desk]:
    backend = LocalBackend(noise_registry(), linear_cache())
    yield Desk(SessionRuns(backend))
    backend.close()


def test_a_run_shows_its_end_and_gives_the_buttons_back(desk: Desk) -> None:
    shown: Updates = {}
    for updates in desk.press("a cat"):
        shown |= updates
    assert shown == {desk.go: ON, desk.stop: OFF, desk.pause: OFF, desk.alert: "",
                     desk.stage: "drew a cat"}
    assert not desk.live.runs.busy("one", ANNA, "desk")


@pytest.mark.parametrize(("word", "says"), [("late", "Too late."), ("bug", strings.UNEXPECTED)])
def test_what_goes_wrong_is_said_in_one_sentence_and_the_buttons_come_back(
        desk: Desk, word: str, says: str, caplog: pytest.LogCaptureFixture) -> None:
    shown: Updates = {}
    for updates in desk.press(word):
        shown |= updates
    assert shown == {desk.go: ON, desk.stop: OFF, desk.pause: OFF, desk.alert: alert(says),
                     desk.stage: f"draws {word}"}
    assert ("KeyError" in caplog.text) == (word == "bug")
    assert not desk.live.runs.busy("one", ANNA, "desk")


def test_what_failed_does_not_look_under_way(desk: Desk) -> None:
    shown: Updates = {}
    for updates in desk.press("rest"):
        shown |= updates
    assert (shown[desk.stage], shown[desk.alert]) == ("at rest", alert("Too late."))


def test_a_refused_run_leaves_what_was_drawn_and_a_reload_finds_that(desk: Desk) -> None:
    desk.press("a cat")
    assert desk.press("early") == [{desk.alert: alert("Too early."), desk.go: ON,
                                    desk.stop: OFF, desk.pause: OFF}]
    assert not desk.live.runs.busy("one", ANNA, "desk")
    found = desk.reload("two")[-1]
    assert found[desk.stage] == "drew a cat"
    assert found[desk.field] == gr.update(value="a cat")


@pytest.mark.parametrize(("last_tab", "opens"), [("", False), ("other", False), ("desk", True),
                                                 ("desk.other", False), ("des", False)])
def test_what_is_over_opens_no_tab_but_the_one_that_was_open(desk: Desk, last_tab: str,
                                                             opens: bool) -> None:
    desk.press("a cat")
    found = desk.reload("two", last_tab)[-1]
    assert found[desk.stage] == "drew a cat"
    assert (desk.tabs in found) == opens


def test_an_address_that_fills_the_form_outweighs_the_run(desk: Desk) -> None:
    desk.live.arrive("one", ANNA, WINDOW)
    desk.press("a cat")
    assert desk.live.of_window(ANNA, "desk", WINDOW)
    assert not desk.live.of_window(ANNA, "other", WINDOW)
    assert not desk.live.of_window("another", "desk", WINDOW)
    assert not desk.live.of_window(ANNA, "desk", "")
    found = desk.reload("two", "desk", "true")[-1]
    assert found[desk.stage] == "drew a cat"
    assert desk.field in found, "which no address fills in here"
    desk.task.returns([desk.field], addressed=True)
    desk.live.leave("two", ANNA)
    found = list(desk.come_back("three", "desk", "true"))[-1]
    assert found[desk.stage] == "drew a cat"
    assert desk.field not in found


def test_a_page_that_finds_nothing_changes_nothing(desk: Desk) -> None:
    assert desk.reload("two") == []


def test_a_reload_finds_what_runs_and_stop_ends_it(desk: Desk) -> None:
    desk.held = True
    first = desk.told(desk.start({desk.field: "a cat"}, visitor("one")))
    assert next(first)[desk.go] == OFF
    desk.live.leave("one", ANNA)
    found = desk.come_back("two")
    first_found = next(found)
    assert first_found[desk.stop] == ON
    assert first_found[desk.tabs] == gr.update(selected="desk")
    desk.task._stop(visitor("two"))
    shown: Updates = {}
    for updates in found:
        shown |= updates
    assert shown[desk.stage] == "stopped"
    assert shown[desk.go] == ON


def test_a_second_run_at_the_same_time_is_refused_where_none_may_be(desk: Desk) -> None:
    desk.held = True
    first = desk.start({desk.field: "a cat"}, visitor("one"))
    next(first)
    (told,) = desk.start_alone({desk.field: "a dog"}, visitor("one"))
    assert told == {desk.alert: alert("One at a time.")}
    desk.task._stop(visitor("one"))
    list(first)


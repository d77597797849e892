"""Runs behind each other: held, started in their turn, listed for their visitor, cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from easel.serving.backend import LocalBackend
from easel.serving.jobs import Requester
from easel.serving.session_runs import SessionRuns
from easel.ui.parts.lines import Held, Line, Stack, Updates
from easel.ui.parts.live import LiveRuns
from easel.ui.parts.live_run import LiveRun
from easel.ui.parts.panel import Panel
from easel.ui.parts.task import Asked, Tasks, build_alert
from easel.ui.parts.tiles import alert, progress_bar
from easel.words import strings
from easel.words.language import PORTUGUESE, speaking
from pipelines.core.errors import Busy, EaselError
from pipelines.core.events import Progress
from tests.noise import linear_cache, noise_registry
from tests.served import App
from tests.test_task import ANNA, visitor

ON, OFF = gr.update(interactive=True), gr.update(interactive=False)


def until(true: Callable[[], object], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


class Gated:
    """A page whose runs draw a word once they may."""

    def __init__(self, runs: SessionRuns, most: int | None = None) -> None:
        self.live = LiveRuns(runs, most=most)
        self.gates: dict[str, threading.Event] = {}
        self.closed: list[str] = []
        with gr.Blocks() as self.page:
            self.field, self.stage = gr.Textbox(), gr.HTML()
            self.go, self.stop, self.alert = gr.Button(), gr.Button(), build_alert("desk")
            self.tasks = Tasks(self.live)
            self.task = self.tasks.add("desk", self.go, self.stop, [self.stage], self.alert,
                                       stacked=self.stage, wrap=lambda html: f"({html})")
            self.task.starts([self.go.click], self.draw, [self.field], queues=True,
                             about=self.field)
            self.start: Any = max(self.page.fns.values(), key=lambda fn: fn._id or 0).fn

    def draw(self, asked: Asked) -> Generator[Updates]:
        word = asked.text(self.field)
        if word == "bad":
            raise EaselError("That is bad.")
        try:
            yield {self.stage: f"begins {word}"}
            gate = self.gates.setdefault(word, threading.Event())
            until(lambda: gate.is_set() or asked.run.stopped)
            if word == "bug":
                raise KeyError(word)
            yield {self.stage: f"{'stopped' if asked.run.stopped else 'drew'} {word}"}
        finally:
            self.closed.append(word)

    def let(self, word: str) -> None:
        self.gates.setdefault(word, threading.Event()).set()

    def press(self, word: str, session: str = "one") -> Iterator[Updates]:
        return self.start({self.field: word}, visitor(session))

    def lives(self) -> list[LiveRun]:
        return self.live._live

    def words(self) -> list[str]:
        """What runs and waits."""
        [(run, held)] = self.live.of_visitor(self.lives()[0].run.visitor)
        return [run.about, *(each.run.about for each in held)]


@pytest.fixture
def runs() -> Iterator[SessionRuns]:
    backend = LocalBackend(noise_registry(), linear_cache())
    yield SessionRuns(backend)
    backend.close()


def test_runs_of_a_page_go_one_behind_the_other_and_their_pictures_stay(runs: SessionRuns) -> None:
    page = Gated(runs)
    first = page.press("cat")
    assert next(first)[page.go] == OFF
    assert list(page.press("dog")) == [{page.alert: ""}], "it waits, and its press is answered"
    assert list(page.press("owl")) == [{page.alert: ""}]
    assert page.words() == ["cat", "dog", "owl"]
    for word in ("cat", "dog", "owl"):
        page.let(word)
    shown: Updates = {}
    seen = []
    for updates in first:
        shown |= updates
        seen.append(str(shown[page.stage]))
    assert seen[-1] == "drew owl(drew dog)(drew cat)", "the newest first"
    assert shown[page.go] == ON
    assert page.closed == ["cat", "dog", "owl"]
    assert not runs.busy("one", ANNA, "desk")


def test_stop_ends_the_run_that_runs_and_the_next_one_begins(runs: SessionRuns) -> None:
    page = Gated(runs)
    first = page.press("cat")
    next(first)
    list(page.press("dog"))
    page.task._stop(visitor("one"))
    until(lambda: page.closed == ["cat"])
    until(lambda: page.words() == ["dog"])
    page.task._stop(visitor("one"))
    assert [u for u in first if page.stage in u][-1][page.stage] == "stopped dog(stopped cat)"


def test_what_may_not_begin_beside_a_run_is_refused_where_errors_are(runs: SessionRuns) -> None:
    page = Gated(runs)
    with page.page:
        page.task.starts([gr.Button().click], page.draw, [page.field],
                         when_busy=strings.PAUSED_GONE_ON)
    go_on: Any = max(page.page.fns.values(), key=lambda fn: fn._id or 0).fn
    first = page.press("cat")
    next(first)
    with speaking(PORTUGUESE):
        [told] = go_on({page.field: "dog"}, visitor("one"))
        assert told == {page.alert: alert(strings.PAUSED_GONE_ON)}
        assert "Outra" in told[page.alert]
    assert page.words() == ["cat"]
    page.let("cat")
    list(first)
    page.let("dog")
    list(go_on({page.field: "dog"}, visitor("one")))
    assert page.closed == ["cat", "dog"]


def test_what_cannot_be_drawn_is_refused_at_once_and_takes_no_place(runs: SessionRuns) -> None:
    page = Gated(runs)
    first = page.press("cat")
    next(first)
    assert list(page.press("bad")) == [{page.alert: alert("That is bad.")}], (
        "the buttons are those of the run that goes on")
    assert page.words() == ["cat"]
    page.let("cat")
    list(first)


def test_what_goes_wrong_later_is_said_in_the_language_of_who_asked(runs: SessionRuns) -> None:
    page = Gated(runs)
    first = page.press("cat")
    next(first)
    with speaking(PORTUGUESE):
        list(page.press("bug"))
        said = alert(strings.UNEXPECTED)
    page.let("cat")
    page.let("bug")
    assert said != alert(strings.UNEXPECTED)
    assert [updates[page.alert] for updates in first if page.alert in updates] == [said]


def test_no_more_wait_than_a_visitor_may_have(runs: SessionRuns) -> None:
    page = Gated(runs, most=2)
    first = page.press("cat")
    next(first)
    list(page.press("dog"))
    [refused] = list(page.press("owl"))
    assert "2 jobs of yours are on their way" in refused[page.alert]
    assert "owl" not in page.gates
    assert page.closed == ["owl"], "nothing of it is left"
    page.let("cat")
    page.let("dog")
    list(first)


def test_a_run_that_waits_is_cancelled_by_its_visitor_alone(runs: SessionRuns) -> None:
    page = Gated(runs)
    first = page.press("cat")
    next(first)
    list(page.press("dog"))
    [(run, [held])] = page.live.of_visitor(page.lives()[0].run.visitor)
    assert not page.live.drop("somebody else", held.run.run_id)
    assert page.live.drop(run.visitor, held.run.run_id)
    assert page.words() == ["cat"]
    assert page.closed == ["dog"]
    page.let("cat")
    assert [u for u in first if page.stage in u][-1][page.stage] == "drew cat"


def test_a_reload_keeps_what_waits_and_who_never_comes_back_draws_no_more(runs: SessionRuns,
                                                                          ) -> None:
    page = Gated(runs)
    page.live.grace_s = 30
    next(page.press("cat"))
    list(page.press("dog"))
    page.live.leave("one", ANNA)
    live = page.live.adopt("two", page.lives()[0].run.visitor, "desk")
    assert live is not None
    assert page.words() == ["cat", "dog"]
    page.let("cat")
    until(lambda: live.run.about == "dog")
    assert runs.busy("two", ANNA, "desk"), "Stop of the new page ends the run that followed"
    page.live.grace_s = 0.1
    list(page.press("owl", "two"))
    page.live.leave("two", ANNA)
    until(lambda: live.finished)
    assert page.closed == ["cat", "owl", "dog"]


def test_a_run_begins_only_where_the_device_takes_it(runs: SessionRuns) -> None:
    page = Gated(runs)
    room = threading.Event()
    asked = threading.Event()

    def has_room(owner: str) -> bool:
        asked.set()
        return room.is_set()

    runs.backend.has_room = has_room  # type: ignore[method-assign]
    first = page.press("cat")
    next(first)
    list(page.press("dog"))
    page.let("cat")
    page.let("dog")
    assert asked.wait(60)
    assert len(page.lives()[0].line) == 1, "it waits although its turn has come"
    room.set()
    assert [u for u in first if page.stage in u][-1][page.stage] == "drew dog(drew cat)"


def test_a_line_that_has_ended_takes_no_more(runs: SessionRuns) -> None:
    line = Line()
    assert line.take() is None
    assert not line.add(Held(runs.new("one"), None, {}, (x for x in ({},))))


def test_no_more_than_three_earlier_runs_stay() -> None:
    stack = Stack("stage", lambda html: f"({html})")
    for word in "abcd":
        stack.on({"stage": word})
        stack.turn()
    assert stack.on({"stage": "e", "other": 1}) == {"stage": "e(d)(c)(b)", "other": 1}


def test_a_run_that_waits_shows_its_place_and_an_empty_bar() -> None:
    panel = Panel("noise", "Noise", "a cat", 1)
    panel.take(Progress(message="Waiting: next in line.", ahead=0))
    assert panel.status() == "Waiting: next in line."
    assert "moving" not in progress_bar(panel)
    panel.take(Progress(message="Loading CLIP."))
    assert "moving" in progress_bar(panel)


def test_places_are_in_order_and_room_is_as_the_queue_has_it() -> None:
    backend = LocalBackend(noise_registry(), linear_cache(), max_waiting=1, max_per_owner=1)
    backend.requester = lambda: Requester("anna", "")
    slow = backend.registry.check({"pipeline": "noise", "prompt": "a cat",
                                   "options": {"steps": 9999, "step_s": 0.01}})
    one = backend.stream(slow, "job-a", "anna")
    until(lambda: next(one).step > 0)  # type: ignore[union-attr]
    assert not backend.has_room("anna")
    assert backend.has_room("ben")
    two = backend.stream(slow, "job-b", "ben")
    waits = next(two)
    assert isinstance(waits, Progress)
    assert waits.ahead == 1
    assert not backend.has_room("carl"), "the queue is full"
    first, second = backend.places()
    assert (first.position, first.owner, first.kinds, first.about, first.running,
            first.job_ids) == (1, "anna", ("noise",), "a cat", True, ("job-a",))
    assert first.progress.step > 0
    assert (second.position, second.running) == (2, False)
    one.close()
    two.close()
    until(lambda: not backend.places())
    backend.close()


# Through the served page ------------------------------------------------------------------------

@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(queue_size=5)
    yield served
    served.close()


SLOW = {"sketch": {"steps": 2000}}


def test_others_see_a_place_and_a_kind_and_nothing_more(app: App) -> None:
    anna, ben = (app.client(**{"x-easel-visitor": letter * 43}) for letter in "ab")
    job = anna.submit("a secret cat", ["sketch"], 1, options=SLOW, api_name="/generate")
    until(lambda: anna.predict(api_name="/queue"))
    until(lambda: anna.predict(api_name="/queue")[0]["step"] > 0)
    [own] = anna.predict(api_name="/queue")
    assert (own["position"], own["state"], own["own"], own["prompt"], own["title"]) == (
        1, "running", True, "a secret cat", "Sketch")
    [seen] = ben.predict(api_name="/queue")
    assert seen == {"position": 1, "kinds": ["sketch"], "title": "Sketch", "state": "running",
                    "own": False, "id": "", "prompt": "", "step": 0, "total": 0}
    with pytest.raises(AppError, match="No run of yours in the queue is called"):
        ben.predict(own["id"], api_name="/cancel")
    with pytest.raises(AppError, match=r"^The run's id must be text\.$"):
        ben.predict(7, api_name="/cancel")
    assert anna.predict(own["id"], api_name="/cancel") is True
    files, _ = job.result(timeout=300)
    assert len(files) == 1, "what is there by then is kept"
    until(lambda: not anna.predict(api_name="/queue"))


def test_cancelling_a_run_of_two_generators_starts_no_second_one(app: App) -> None:
    client: Client = app.client(**{"x-easel-visitor": "c" * 43})
    app.etching.finished = 0
    job = client.submit("a dog", ["sketch", "etching"], 1, options=SLOW, api_name="/generate")
    until(lambda: client.predict(api_name="/queue")
          and client.predict(api_name="/queue")[0]["step"] > 0)
    client.predict(client.predict(api_name="/queue")[0]["id"], api_name="/cancel")
    job.result(timeout=300)
    assert app.etching.finished == 0


def test_who_is_nobody_sees_no_queue(app: App) -> None:
    answer = httpx.post(f"{app.url}gradio_api/run/queue", json={"data": []}, timeout=300)
    assert answer.status_code == 401


def test_words_of_kinds_are_there_for_all_that_is_no_generator() -> None:
    assert set(strings.QUEUE_KINDS) == {"embed", "inside", "look", "walk"}
    assert issubclass(Busy, EaselError)

"""The one way to run from a button: a run that a reload finds again, Stop, and one net for faults.

What a button starts is a generator that yields updates by component. What it raises before its
first update refuses the run, and the page keeps what it shows; from then on a thread of its own
drives it (see ``easel.ui.parts.live``), whether its page is there or not. Where several may be
asked for, the same thread goes on with the next one (see ``easel.ui.parts.lines``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gradio as gr

from easel.guard.visitors import session_of, visitor_of
from easel.serving.session_runs import Run
from easel.ui.parts.errors import caught
from easel.ui.parts.lines import Held, Line, Stack, Updates
from easel.ui.parts.live import POLL_S, WINDOW_JS, LiveRuns
from easel.ui.parts.live_run import Follower, LiveRun
from easel.ui.parts.seen import build_mark, hear_what_is_seen
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.tiles import alert
from pipelines.core.errors import Busy, EaselError
from pipelines.core.json_values import read_json

# Waiting is the backend's: it says how many are ahead, and when the queue is full.
STREAM: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None,
                          "trigger_mode": "once", "api_visibility": "private"}


@dataclass
class Asked:
    """What a person asked for.

    Attributes:
        values: of the components, by component.
        run: what Stop acts on.
        about: what the work wants to know of itself when the page is opened again.
        at_rest: what shows in the place of work that failed; it must not look under way.
        post: shows something in the middle of a step.
    """

    values: Mapping[Any, Any]
    run: Run
    about: Any = None
    at_rest: Callable[[], Updates] = dict
    post: Callable[[Updates], None] = lambda updates: None

    def text(self, component: Any) -> str:
        """The text of a component, "" where it has none."""
        return str(self.values[component] or "")


Work = Callable[[Asked], Generator[Updates]]


@dataclass
class Task:
    """What some buttons start, and what of the page changes with it; made by ``Tasks.add``.

    Attributes:
        live: all runs.
        place: the name under which its runs are found.
        go: the button that cannot be pressed while it runs.
        stop: the button that can only then.
        shown: what else the work changes.
        alert: where what went wrong is said, and what was drawn before stays as it is.
        refuse: says it in another way than an alert.
        idle: updates for the end besides those of the two buttons.
        restored: what ``restore`` updates.
        restore: what a page that is opened again shows besides the run; see ``returns``.
        stacked: which of ``shown`` keeps what the last runs drew, if several follow each other.
        wrap: makes what it keeps of a run out of what that has shown.
        mark: by which the page says what it has seen.
    """

    live: LiveRuns
    place: str
    go: gr.Button
    stop: gr.Button | None
    shown: Sequence[Any]
    alert: gr.HTML
    refuse: Callable[[EaselError], Updates] | None = None
    idle: Updates = field(default_factory=dict)
    restored: Sequence[Any] = ()
    restore: Callable[[LiveRun, str, bool], Updates] = lambda live, last_tab, filled: {}
    stacked: Any = None
    wrap: Callable[[str], str] = str
    mark: gr.HTML = field(default_factory=build_mark)

    def __post_init__(self) -> None:
        if self.stop is not None:
            self.stop.click(self._stop, None, None, **LIVE)

    def components(self) -> list[Any]:
        """Everything that a run changes."""
        stop = [] if self.stop is None else [self.stop]
        return list(dict.fromkeys([self.go, *stop, self.alert, self.mark, *self.shown]))

    def starts(self, events: Sequence[Any], work: Work, inputs: Iterable[Any],
               when_busy: str = "", queues: bool = False, about: Any = None,
               often: bool = False) -> Any:
        """Let events start some work.

        Args:
            events: such as ``button.click``.
            work: what is done; a generator of updates.
            inputs: components whose values it needs.
            when_busy: what is said in place of a second run at the same time, where none may be.
            queues: whether a second run waits behind the first; else both are in the device's
                queue at the same time.
            about: the component with the prompt.
            often: whether they count also while an earlier one is still being answered.

        Returns:
            The event's dependency, whose ``then`` comes after the run.
        """
        def begin(values: Mapping[Any, Any], request: gr.Request,
                  ) -> tuple[LiveRun | None, Updates]:
            session, visitor = session_of(request), visitor_of(request)
            if when_busy and self.live.runs.busy(session, visitor, self.place):
                return None, self._refusal(Busy(when_busy))
            asked = Asked(dict(values), self.live.runs.new(
                session, visitor, self.place, str(values.get(about) or "")))
            waits = queues and self.live.shows(session, visitor, self.place)
            if not waits:
                self.live.runs.attach(asked.run, session)
            refused: list[Updates] = []
            held = self._checked(asked, work, refused)
            if held is None:
                self.live.runs.end(asked.run)
                return None, refused[0] if waits else refused[0] | self._buttons(busy=False)
            if waits:
                said = self._hold(session, held)
                if said is not None:
                    return None, said
                self.live.runs.attach(asked.run, session)  # the other one has just ended
            return self.live.start(asked.run, partial(self._run, held), asked), {}

        how: dict[str, Any] = STREAM | ({"trigger_mode": "multiple"} if often else {})
        follow = Follower(begin, self.mark).updates
        if len(events) == 1:
            return events[0](follow, set(inputs), self.components(), **how)
        return gr.on(list(events), follow, set(inputs), self.components(), **how)

    def returns(self, fields: Sequence[Any] = (), tabs: Sequence[gr.Tab] = (),
                folds: Sequence[gr.Accordion] = (), more: Sequence[Any] = (),
                found: Callable[[LiveRun], Updates] = lambda live: {},
                addressed: bool = False) -> None:
        """Say what a page that is opened again shows besides the run itself.

        Args:
            fields: inputs that are filled in as they were asked for.
            tabs: are opened, the outermost first, where the page's visitor was on it or, if that
                is not known, where the run still is under way.
            folds: are opened.
            more: what else ``found`` updates.
            found: makes these updates; they outweigh what the run has shown before.
            addressed: whether an address may fill the fields in; where one was opened that does,
                it outweighs the run.
        """
        # Now: once the page is launched, a tab's parent is the page.
        parents = {tab.parent: tab.id for tab in tabs}

        def restore(live: LiveRun, last_tab: str, filled: bool) -> Updates:
            if filled and addressed:
                return {}
            values = live.subject.values
            # Who was elsewhere is not thrown back to what ran here, least of all once it is over.
            # An address names a tab and perhaps one within it; both have to be this task's.
            own = ".".join(str(tab.id) for tab in tabs)
            here = f"{own}.".startswith(f"{last_tab}.") if own and last_tab else not live.finished
            return ({field: values[field] if isinstance(field, gr.State) else
                     gr.update(value=values[field]) for field in fields if field in values}
                    | {parent: gr.update(selected=name) for parent, name in parents.items() if here}
                    | {fold: gr.update(open=True) for fold in folds} | found(live))

        self.restored = [*fields, *parents, *folds, *more]
        self.restore = restore

    def _checked(self, asked: Asked, work: Work, refused: list[Updates]) -> Held | None:
        """Some work up to its first update; None where it is refused."""
        with caught(self.place, lambda error: refused.append(self._refusal(error))):
            steps = work(asked)
            return Held(asked.run, asked, next(steps, {}), steps)
        return None

    def _hold(self, session: str, held: Held) -> Updates | None:
        """Let a run wait behind the one on the page; None where that has just ended."""
        try:
            return {self.alert: ""} if self.live.hold(session, self.place, held) else None
        except EaselError as error:
            held.steps.close()
            return self._refusal(error)

    def _run(self, first: Held, live: LiveRun) -> None:
        """Do a run and those that wait behind it, on a thread of its own."""
        held: Held | None = first
        stack = Stack(self.stacked, self.wrap)
        with live.under_way():
            live.post(stack.on({self.alert: ""} | first.first | self._buttons(busy=True)))
            while held is not None:
                held.subject.post = live.post
                with caught(self.place, partial(self._fail, held, live, stack)), \
                        closing(held.steps):
                    for updates in held.work():
                        if updates:
                            live.post(stack.on(updates))
                if (held := self._next(held.run, live.line)) is not None:
                    self.live.succeed(live, held)
                    stack.turn()
                    live.post(stack.on(held.first))
            live.post(self._buttons(busy=False))

    def _next(self, run: Run, line: Line) -> Held | None:
        """The run that follows one that is over; it waits until the device's queue has room."""
        run.over = True
        while len(line) and not self.live.runs.backend.has_room(run.visitor):
            time.sleep(POLL_S)
        return line.take()

    def _fail(self, held: Held, live: LiveRun, stack: Stack, error: EaselError) -> None:
        """Show what went wrong, in the language of who asked."""
        said = held.context.run(lambda: held.subject.at_rest() | self._refusal(error))
        live.post(stack.on(said))

    def _refusal(self, error: EaselError) -> Updates:
        return self.refuse(error) if self.refuse else {self.alert: alert(str(error))}

    def _buttons(self, busy: bool) -> Updates:
        updates: Updates = {self.go: gr.update(interactive=not busy)}
        if self.stop is not None:
            updates[self.stop] = gr.update(interactive=busy)
        return updates if busy else updates | self.idle

    def _stop(self, request: gr.Request) -> None:
        self.live.runs.stop(session_of(request), visitor_of(request), self.place)


class Tasks:
    """The tasks of a page, which find their runs again when it is opened again.

    Args:
        live: the runs.
    """

    def __init__(self, live: LiveRuns) -> None:
        self.live = live
        self._tasks: list[Task] = []

    def add(self, place: str, go: gr.Button, stop: gr.Button | None, shown: Sequence[Any],
            alert: gr.HTML, refuse: Callable[[EaselError], Updates] | None = None,
            idle: Updates | None = None, stacked: Any = None,
            wrap: Callable[[str], str] = str) -> Task:
        """A new task; see ``Task`` for the arguments."""
        task = Task(self.live, place, go, stop, shown, alert, refuse, idle or {},
                    stacked=stacked, wrap=wrap)
        self._tasks.append(task)
        return task

    def come_back(self, page: gr.Blocks) -> None:
        """Let a page that is opened again find what ran when it was closed; the last to be built.

        One event asks for all tasks which of them may find something, and those ask then, side by
        side. Whatever an event may change, Gradio's page marks as waiting and as done, one by one,
        and once more with every message that comes later: a page that finds nothing is spared that.
        """
        with gr.Column(elem_id="seen"):
            for task in self._tasks:
                task.mark.render()
            asks = {task.place: gr.Textbox(visible="hidden") for task in self._tasks}
        hear_what_is_seen(page, self.live)

        def arrive(window: str, last_tab: str, filled: str, request: gr.Request) -> Updates:
            places = self.live.arrive(session_of(request), visitor_of(request), window)
            seen = json.dumps([window, last_tab, filled])
            return {ask: seen if place in places else gr.skip() for place, ask in asks.items()}

        page.load(arrive, [gr.Textbox(visible="hidden") for _ in range(3)], list(asks.values()),
                  js=WINDOW_JS, **LIVE)
        for task in self._tasks:
            asks[task.place].change(
                Follower(partial(self._find, task), task.mark).updates, asks[task.place],
                list(dict.fromkeys([*task.restored, *task.components()])), **STREAM)

    def _find(self, task: Task, seen: str, request: gr.Request,
              ) -> tuple[LiveRun | None, Updates]:
        """The run of a task that a browser's window and the tab that was open in it may show."""
        try:
            window, last_tab, filled = map(str, read_json(seen))
        except (TypeError, ValueError, RecursionError):
            window = last_tab = filled = ""
        live = self.live.adopt(session_of(request), visitor_of(request), task.place, window)
        return live, {} if live is None else task.restore(live, last_tab, filled == "true")


def build_alert(name: str) -> gr.HTML:
    """Where a task says what went wrong; no room is kept for it."""
    return gr.HTML("", elem_id=f"{name}-alert", elem_classes="task-alert", **PLAIN)

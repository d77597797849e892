"""One run that outlives the page that started it, and how a page is shown it.

Gradio closes a handler's generator when its browser goes away, and a run that is driven by the
generator would end with it. A live run has a thread of its own, which posts what the page shows of
it; handlers only read that (``Follower``). ``easel.ui.parts.live`` keeps all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr

from easel.guard.visitors import session_of
from easel.serving.session_runs import Run, SessionRuns
from easel.ui.parts.lines import Line, Updates


class LiveRun:
    """A run, and what the page shows of it now.

    Args:
        run: whose it is, and what Stop acts on.
        subject: what the run is about, for whoever finds it again.
        runs: where Stop finds it.

    Attributes:
        line: the runs that follow it on the same page.
    """

    def __init__(self, run: Run, subject: Any, runs: SessionRuns) -> None:
        self.run, self.subject, self._runs, self.line = run, subject, runs, Line()
        self.session: str = run.session  # empty while no page shows it
        self.window = ""
        self.left_s = 0.0  # by time.monotonic, when its page went
        self.finished = False
        self.timer: threading.Timer | None = None
        self.shown: Updates = {}
        self.version = 0
        self.changed = threading.Condition(threading.Lock())

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """What is done in the block is the run, which is over with it."""
        try:
            yield
        finally:
            self.finish()  # before the end: whoever takes it over meanwhile looks for that
            self._runs.end(self.run)

    def post(self, updates: Updates) -> None:
        """Take in what has changed."""
        with self.changed:
            old = self.shown
            self.shown = old | {
                component: old[component] | value
                if _of_properties(value) and _of_properties(old.get(component)) else value
                for component, value in updates.items()}
            self._tell()

    def finish(self) -> None:
        """The run is over."""
        with self.changed:
            self.finished = True
            self._tell()

    def belong_to(self, session: str) -> None:
        """Give the run to another page, or to none."""
        with self.changed:
            self.session = session
            self._tell()

    def _tell(self) -> None:
        self.version += 1
        self.changed.notify_all()


def _of_properties(value: Any) -> bool:
    """Whether an update is one of ``gr.update``, which leaves out what stays."""
    return isinstance(value, dict) and value.get("__type__") == "update"


@dataclass(frozen=True)
class Follower:
    """Shows a run to a page.

    Attributes:
        find: begins or finds the run that a request is about, given the values of components; and
            says what the page shows besides, which is all where there is no such run.
    """

    find: Callable[[Any, gr.Request], tuple[LiveRun | None, Updates]]

    def updates(self, values: Any, request: gr.Request) -> Generator[Updates]:
        """What to update on a page that shows nothing of the run yet; a handler for Gradio.

        It ends with the run, or where another page takes the run over.

        Yields:
            Updates by component: of values those that have changed, of properties all that were
            ever set. Gradio sends the difference to the message before, and its page puts that
            into the message before itself, which may still wait to be shown; a button that the
            second of two messages skips would never hear of the first.
        """
        live, besides = self.find(values, request)
        if live is None:
            if besides:
                yield besides
            return
        session, version, sent = session_of(request), 0, Updates()
        while True:
            with live.changed:
                live.changed.wait_for(lambda seen=version: live.version != seen)
                shown, version = live.shown, live.version
                finished, mine = live.finished, live.session == session
            if not mine:
                return
            if shown != sent:
                yield {component: value for component, value in shown.items()
                       if component not in sent or _of_properties(value)
                       or value != sent[component]} | besides
                sent, besides = shown, {}
            if finished:
                return

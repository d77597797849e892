"""One run that outlives the page that started it, and how a page is shown it.

Gradio closes a handler's generator when its browser goes away, and a run that is driven by the
generator would end with it. A live run has a thread of its own, which posts what the page shows of
it; handlers only read that (``Follower``). ``easel.ui.parts.live`` keeps all of them.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr

from easel.guard.visitors import session_of
from easel.serving.session_runs import Run, SessionRuns
from easel.ui.parts.lines import Line, Updates

# How long a page may take to show what it was sent before it is sent more: one that says what it
# has seen, and one that has not said anything yet.
SEEN_S, FIRST_SEEN_S = 10.0, 1.0
# How long the end of a page's last run may take before it is shown the next one all the same.
BEFORE_S, POLL_S = 10.0, 0.01
# After that it rests for so many times as long, so that a machine that draws pictures and shows
# them has three quarters of its time for drawing; but not for longer than a person likes to wait.
REST, MOST_REST_S = 3.0, 2.0


class LiveRun:
    """A run, and what the page shows of it now.

    Args:
        run: whose it is, and what Stop acts on.
        subject: what the run is about, for whoever finds it again.
        runs: where Stop finds it.

    Attributes:
        line: the runs that follow it on the same page.
        key: by which the page that shows it says what it has seen; another page has another.
        seen: the last version that this page has seen; 0 where it has said nothing.
        seen_s: when it said so, by time.monotonic.
        replaced: whether another run took its place on the page.
        before: the runs of the same page in whose place this one came.
    """

    def __init__(self, run: Run, subject: Any, runs: SessionRuns) -> None:
        self.run, self.subject, self._runs, self.line = run, subject, runs, Line()
        self.session: str = run.session  # empty while no page shows it
        self.window = ""
        self.left_s = 0.0  # by time.monotonic, when its page went
        self.finished = self.replaced = False
        self.timer: threading.Timer | None = None
        self.shown: Updates = {}
        self.version, self.seen, self.seen_s, self.key = 0, 0, 0.0, uuid.uuid4().hex
        self.changed = threading.Condition(threading.Lock())
        self.before: Sequence[LiveRun] = ()
        self._followers: list[object] = []

    @contextmanager
    def followed(self) -> Iterator[None]:
        """In the block a page is shown the run, and nothing more of those before it."""
        end_s = time.monotonic() + BEFORE_S
        while any(run._followers for run in self.before) and time.monotonic() < end_s:
            time.sleep(POLL_S)
        self.before = ()
        # The garbage collector may end the block in the middle of anything: no lock is taken here.
        follower = object()
        self._followers.append(follower)
        try:
            yield
        finally:
            self._followers.remove(follower)

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

    def is_shown_by(self, session: str, visitor: str) -> bool:
        """Whether a page of that session and that visitor shows it; the name of a session alone
        makes nobody its visitor."""
        return self.session == session and self.run.visitor == visitor

    def belong_to(self, session: str) -> None:
        """Give the run to another page, or to none."""
        with self.changed:
            self.session, self.key, self.seen = session, uuid.uuid4().hex, 0
            self._tell()

    def give_way(self) -> None:
        """Another run takes the place of this one on its page, which is told no more of it."""
        self.replaced, self.before = True, ()
        self.belong_to("")

    def see(self, key: str, version: int) -> None:
        """The page that shows the run has seen a version of it; nothing where another shows it."""
        with self.changed:
            if key == self.key:
                self.seen = max(self.seen, min(version, self.version))
                self.seen_s = time.monotonic()
                self.changed.notify_all()

    def wait_until_seen(self, session: str, version: int, sent_s: float) -> bool:
        """Wait, with ``changed`` held, until a page may be sent more.

        Args:
            session: of the page.
            version: what it was sent last.
            sent_s: when, by time.monotonic.

        Returns:
            Whether it has seen that; else it is gone, or takes long.
        """
        if not self.changed.wait_for(
                lambda: self.seen >= version or self.session != session,
                SEEN_S if self.seen else FIRST_SEEN_S) or self.session != session:
            return False
        rest_s = min(REST * (self.seen_s - sent_s), MOST_REST_S)
        self.changed.wait_for(lambda: self.finished or self.session != session,
                              max(0.0, self.seen_s + rest_s - time.monotonic()))
        return True

    def _tell(self) -> None:
        self.version += 1
        self.changed.notify_all()


def _of_properties(value: Any) -> bool:
    """Whether an update is one of ``gr.update``, which leaves out what stays."""
    return isinstance(value, dict) and value.get("__type__") == "update"


@dataclass(frozen=True)
class Follower:
    """Shows a run to a page, no faster than the page can.

    Gradio sends what it is given and asks nobody. What a browser on a busy machine had no time to
    show yet would wait in front of it, and the end of the run behind that.

    Attributes:
        find: begins or finds the run that a request is about, given the values of components; and
            says what the page shows besides, which is all where there is no such run.
        mark: names what was sent, so that the page can say that it has seen it; None where it says
            nothing (see ``easel.ui.parts.seen``).
    """

    find: Callable[[Any, gr.Request], tuple[LiveRun | None, Updates]]
    mark: gr.HTML | None = None

    def updates(self, values: Any, request: gr.Request) -> Generator[Updates]:
        """What to update on a page that shows nothing of the run yet; a handler for Gradio.

        It ends with the run, or where another page takes the run over. It says something in any
        case: what a handler that yields nothing would leave as it was, Gradio's page empties.

        Yields:
            Updates by component: those that have changed, and where the page has not said that it
            has seen the message before, all properties that were ever set. Gradio sends the
            difference to that message, and its page puts it into the message itself, which may
            still wait to be shown; a button that the second of two messages skips would never hear
            of the first. When the handler ends, Gradio sends its last message once more: where that
            filled fields in, which whoever sees them may change at once, another one is the last.
        """
        live, besides = self.find(values, request)
        if live is None:
            yield besides or gr.skip()
            return
        session, version, told, sent, sent_s = session_of(request), 0, 0, Updates(), 0.0
        filled = False
        with live.followed():
            while True:
                with live.changed:
                    live.changed.wait_for(lambda known=version: live.version != known)
                    seen = (self.mark is not None and told > 0
                            and live.wait_until_seen(session, told, sent_s))
                    shown, version, key = live.shown, live.version, live.key
                    finished, mine = live.finished, live.session == session
                if not mine:
                    if not told or live.replaced:  # Gradio sends the last message again
                        yield gr.skip()
                    return
                if shown != sent:
                    sent_s = time.monotonic()
                    yield {component: value for component, value in shown.items()
                           if component not in sent or value != sent[component]
                           or (_of_properties(value) and not seen)
                           } | besides | self._mark(key, version)
                    filled = bool(besides)
                    sent, besides, told = shown, {}, version
                if finished:
                    if not told:
                        yield gr.skip()
                    if filled and self._is_seen(live, session, told, sent_s):
                        yield self._mark(key, told)
                    return

    def _is_seen(self, live: LiveRun, session: str, told: int, sent_s: float) -> bool:
        if self.mark is None:
            return False
        with live.changed:
            return live.wait_until_seen(session, told, sent_s)

    def _mark(self, key: str, version: int) -> Updates:
        return {} if self.mark is None else {
            self.mark: f'<i data-seen="{key}/{version}"></i>'}

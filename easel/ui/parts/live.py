"""Runs that outlive the page that started them, so that a reload finds them again.

Who leaves has ``GRACE_S`` seconds to come back, as the same visitor; after that the run is stopped,
and what is finished by then is in the history.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import gradio as gr

from easel.guard.visitors import session_of, visitor_of
from easel.serving.line import ONE_OF_ONE, TOO_MANY_OF_ONE
from easel.serving.session_runs import Run, SessionRuns
from easel.ui.parts.lines import Held
from easel.ui.parts.live_run import LiveRun
from pipelines.core.errors import Busy

GRACE_S = 30.0
# How long a reload takes where everything is slow. Until then a run is kept for its own window,
# whose new page may also ask before the old one is known to be gone.
ARRIVAL_S = 10.0
POLL_S = 0.1
MAX_FINISHED, MAX_WINDOWS, MAX_WINDOW_NAME = 200, 1000, 64
# The name of a browser's window, which outlives a reload and which no other window has, and the tab
# that was open in it before the reload.
WINDOW_JS = """() => {
  const name = sessionStorage.getItem("easel-window")
    ?? `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  sessionStorage.setItem("easel-window", name);
  const asked = new URLSearchParams(location.search);
  const fresh = performance.getEntriesByType("navigation")[0]?.type === "navigate";
  const fills = fresh && [...asked.keys()].some(
    (key) => !["tab", "lesson", "present"].includes(key) && !key.startsWith("__"));
  const lesson = asked.get("lesson");  // of the path by number, of a generator by its name
  const tab = asked.get("tab") ?? (lesson && (/^[1-8]$/.test(lesson) ? "inside.path" : "generate"));
  return [name, tab ?? sessionStorage.getItem("easel-tab") ?? "", String(fills)];
}"""


class LiveRuns:
    """The live runs of all visitors, and those that ended while their page was open.

    Args:
        runs: where Stop finds them.
        grace_s: how long a run continues, or is remembered, without a page that shows it.
        arrival_s: how long it is kept for the window that showed it, which may be reloading.
        most: how many of one visitor may run or wait behind another; None for no limit.
    """

    def __init__(self, runs: SessionRuns, grace_s: float = GRACE_S,
                 arrival_s: float = ARRIVAL_S, most: int | None = None) -> None:
        self.runs, self.grace_s, self.arrival_s, self.most = runs, grace_s, arrival_s, most
        self._lock = threading.Lock()
        self._live: list[LiveRun] = []
        # Of sessions whose page is open; of the latest ones, since programs never say that they go.
        self._windows: OrderedDict[str, str] = OrderedDict()

    def start(self, run: Run, work: Callable[[LiveRun], object], subject: Any = None) -> LiveRun:
        """Do a run on a thread of its own.

        Args:
            run: as ``SessionRuns.start`` made it.
            work: does it ``under_way`` and posts what the page shows.
            subject: what the run is about.
        """
        live = LiveRun(run, subject, self.runs)
        with self._lock:
            live.window = self._windows.get(run.session, "")
            live.before = [old for old in self._live if old.finished
                           and old.session == run.session and old.run.place == run.place]
            for old in live.before:
                self._live.remove(old)
                old.give_way()
            finished = [old for old in self._live if old.finished]
            for old in finished[:max(0, len(finished) - MAX_FINISHED)]:
                self._live.remove(old)
            self._live.append(live)
        context = contextvars.copy_context()  # the language of who asks, for one
        threading.Thread(target=context.run, args=(work, live),
                         name=f"{run.place} run", daemon=True).start()
        return live

    def shows(self, session: str, visitor: str, place: str) -> bool:
        """Whether a visitor's page shows a run of a place that is under way."""
        with self._lock:
            return self._shown_by(session, visitor, place) is not None

    def of_window(self, visitor: str, place: str, window: str) -> bool:
        """Whether a visitor's window has a run of a place, which it finds when it is reloaded."""
        with self._lock:
            return any(live.window == window != "" and live.run.visitor == visitor
                       and live.run.place == place for live in self._live)

    def hold(self, session: str, place: str, held: Held) -> bool:
        """Let a run wait behind the one that a page shows; False where there is no such run.

        Raises:
            Busy: the visitor has the most on the way already.
        """
        with self._lock:
            live = self._shown_by(session, held.run.visitor, place)
            if live is None:
                return False
            own = sum(1 + len(each.line) for each in self._live
                      if not each.finished and each.run.visitor == held.run.visitor)
            if self.most is not None and own >= self.most:
                raise Busy(ONE_OF_ONE if own == 1 else TOO_MANY_OF_ONE, own)
            return live.line.add(held)

    def succeed(self, live: LiveRun, held: Held) -> None:
        """The next run of a line takes the place of the one that has ended."""
        with self._lock:
            if live not in self._live:
                return
            self.runs.end(live.run)
            live.run, live.subject = held.run, held.subject
            held.run.session = live.session
            if live.session:  # else its page is gone, and may come back
                self.runs.attach(held.run, live.session)

    def of_visitor(self, visitor: str) -> list[tuple[Run, tuple[Held, ...]]]:
        """The runs under way of a visitor, whether a page shows them or not, with those behind."""
        with self._lock:
            return [(live.run, live.line.held()) for live in self._live
                    if not live.finished and live.run.visitor == visitor]

    def drop(self, visitor: str, run_id: str) -> bool:
        """Forget a run of a visitor that waits behind another; whether there was one."""
        with self._lock:
            lines = [live.line for live in self._live if live.run.visitor == visitor]
        return any([line.drop(run_id) for line in lines])

    def _shown_by(self, session: str, visitor: str, place: str) -> LiveRun | None:
        return next((live for live in self._live if not live.finished and live.run.place == place
                     and live.is_shown_by(session, visitor)), None)

    def see(self, key: str, version: int) -> None:
        """A page has seen a version of the run that it shows, which alone knows the key."""
        with self._lock:
            live = list(self._live)
        for each in live:
            each.see(key, version)

    def on_unload(self, request: gr.Request) -> None:
        """For a page that was closed: what it may find again waits for it, the rest is stopped."""
        session, visitor = session_of(request), visitor_of(request)
        self.leave(session, visitor)
        self.runs.stop(session, visitor)
        self.runs.forget(session, visitor)

    def leave(self, session: str, visitor: str) -> None:
        """A visitor's page was closed or reloaded: its runs wait for them to come back."""
        with self._lock:
            self._windows.pop(session, None)
            for live in [live for live in self._live if live.is_shown_by(session, visitor)]:
                self.runs.end(live.run)  # out of reach of what stops a closed page's other runs
                live.belong_to("")
                live.left_s = time.monotonic()
                live.timer = threading.Timer(self.grace_s, self._give_up, (live,))
                live.timer.daemon = True
                live.timer.start()

    def _give_up(self, live: LiveRun) -> None:
        with self._lock:
            if live.session or live not in self._live:
                return
            self._live.remove(live)
        live.line.close()
        self.runs.halt(live.run)

    def arrive(self, session: str, visitor: str, window: str) -> set[str]:
        """A page was opened: the places of which it may find a run again (see ``adopt``)."""
        with self._lock:
            self._note_window(session, visitor, str(window or ""))
            return {live.run.place for live in self._live
                    if visitor and live.run.visitor == visitor and live.session != session}

    def adopt(self, session: str, visitor: str, place: str, window: str = "") -> LiveRun | None:
        """The visitor's last run of a place that no page shows; from now on ``session`` shows it.

        Args:
            session: of the page that looks for it.
            visitor: whose run it must be; nobody's where empty.
            place: the tab of the page.
            window: what the browser's window remembers of itself over a reload. A page of the same
                window that shows such a run is about to be gone, which is waited for. So is a
                reload of another window whose page went just now: its run is its own.
        """
        end_s, window = time.monotonic() + self.arrival_s, str(window or "")[:MAX_WINDOW_NAME]
        while visitor:
            with self._lock:
                now_s = time.monotonic()
                self._note_window(session, visitor, window)
                mine = [live for live in self._live if live.session != session and live.run.place
                        == place and live.run.visitor == visitor]
                for live in sorted(mine[::-1], key=lambda live: live.window != window):
                    own = live.window in ("", window)
                    if not live.session and (own or now_s >= live.left_s + self.arrival_s):
                        self._attach(live, session, window)
                        return live
                # What no page shows is kept for its window until then.
                expected = any(not live.session or window == live.window != "" for live in mine)
            if not expected or now_s > end_s:
                return None
            time.sleep(POLL_S)
        return None

    def _note_window(self, session: str, visitor: str, window: str) -> None:
        """Which window a page is in; its runs may have begun before it said so."""
        self._windows[session] = window = window[:MAX_WINDOW_NAME]
        while len(self._windows) > MAX_WINDOWS:
            self._windows.popitem(last=False)
        for live in self._live:
            if live.is_shown_by(session, visitor):
                live.window = window

    def _attach(self, live: LiveRun, session: str, window: str) -> None:
        if live.timer is not None:
            live.timer.cancel()
        live.window = window
        live.belong_to(session)
        self.runs.attach(live.run, session)
        if live.finished:
            self.runs.end(live.run)

"""Which runs belong to which browser session, so that Stop and a closed tab end the right ones."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from easel.serving.interface import Backend

Shown = TypeVar("Shown")  # a picture as whoever started the run shows it
MAX_REMEMBERED = 500  # sessions whose last pictures are known


@dataclass(eq=False)
class Run(Generic[Shown]):
    """One press of a button: several pipelines, one after the other or side by side.

    Attributes:
        session: whose run it is.
        visitor: whose history its pictures go to, and whose jobs are counted.
        place: the tab that started it.
        about: the prompt, for whoever started it alone; empty where there is none.
        run_id: what a list of runs names it by.
        job_id: the backend's name for the pipeline that runs now; None between two of them.
        job_ids: those of pipelines that run side by side, in the order of their panes.
        cards: what is finished so far.
        stopped: True once the user asked for the run to end; no further pipeline starts.
        over: True once nothing of it is left to do.
    """

    session: str
    visitor: str = ""
    place: str = "generate"
    about: str = ""
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    job_id: str | None = None
    job_ids: tuple[str, ...] = ()
    cards: list[Shown] = field(default_factory=list)
    stopped: bool = False
    over: bool = False
    _cancel: Callable[[str], object] = lambda job_id: None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_job(self) -> str:
        """A new job id for the pipeline that starts now."""
        job_id = uuid.uuid4().hex
        self._name(job_id, self.job_ids)
        return job_id

    def next_jobs(self, count: int) -> tuple[str, ...]:
        """New job ids for pipelines that start side by side."""
        job_ids = tuple(uuid.uuid4().hex for _ in range(count))
        self._name(self.job_id, job_ids)
        return job_ids

    def has(self, job_id: str) -> bool:
        """Whether a job of the backend is one of its pipelines, of those that run now."""
        with self._lock:
            return job_id == self.job_id or job_id in self.job_ids

    def _name(self, job_id: str | None, job_ids: tuple[str, ...]) -> None:
        with self._lock:
            self.job_id, self.job_ids = job_id, job_ids
        if self.stopped:  # meanwhile: the backend stops such jobs before they begin
            self.stop()

    def stop(self) -> None:
        """End what runs and let nothing else start."""
        with self._lock:
            self.stopped = True
            named = [job_id for job_id in (self.job_id, *self.job_ids) if job_id is not None]
        for job_id in named:
            self._cancel(job_id)


class SessionRuns(Generic[Shown]):
    """The runs in progress of every session.

    They are found by their session and their visitor, both: who knows the name of a session, which
    stands in addresses, need not be its visitor.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._lock = threading.Lock()
        self._runs: dict[str, list[Run[Shown]]] = {}
        self._last: OrderedDict[tuple[str, str], tuple[Shown, ...]] = OrderedDict()

    def start(self, session: str, visitor: str = "", place: str = "generate",
              about: str = "") -> Run[Shown]:
        """Note a new run."""
        run = self.new(session, visitor, place, about)
        self.attach(run, session)
        return run

    def new(self, session: str, visitor: str = "", place: str = "generate",
            about: str = "") -> Run[Shown]:
        """A run that has yet to begin, which nothing finds until ``attach``."""
        return Run(session, visitor, place, about, _cancel=self.backend.cancel)

    def of_visitor(self, visitor: str) -> list[Run[Shown]]:
        """The runs in progress of a visitor, in all sessions."""
        with self._lock:
            return [run for runs in self._runs.values() for run in runs if run.visitor == visitor]

    def end(self, run: Run[Shown]) -> None:
        """Forget a run; call it in ``finally``."""
        with self._lock:
            runs = self._runs.get(run.session, [])
            if run in runs:
                runs.remove(run)
            if not runs:
                self._runs.pop(run.session, None)
        self.remember(run.session, run.visitor, run.cards)

    def remember(self, session: str, visitor: str, cards: Sequence[Shown]) -> None:
        """Note the pictures of the last run of a visitor's session; where there are none, the ones
        before stay."""
        with self._lock:
            if cards:
                self._last[session, visitor] = tuple(cards)
                self._last.move_to_end((session, visitor))
            while len(self._last) > MAX_REMEMBERED:
                self._last.popitem(last=False)

    def last_cards(self, session: str, visitor: str) -> tuple[Shown, ...]:
        """The pictures of the last run of a visitor's session that had any."""
        with self._lock:
            return self._last.get((session, visitor), ())

    def forget(self, session: str, visitor: str) -> None:
        """A visitor's session is over: what it drew is in the history alone."""
        with self._lock:
            self._last.pop((session, visitor), None)

    def attach(self, run: Run[Shown], session: str) -> None:
        """Note a run that continues for another session of the same visitor."""
        with self._lock:
            run.session = session
            self._runs.setdefault(session, []).append(run)

    def halt(self, run: Run[Shown]) -> None:
        """Stop one run."""
        run.stop()

    def busy(self, session: str, visitor: str, place: str) -> bool:
        """Whether a visitor's session runs anything in a place."""
        return bool(self._of(session, visitor, place))

    def pause(self, session: str, visitor: str, place: str = "generate") -> int:
        """Pause what runs now, where it can be; returns how many runs that were.

        Raises:
            InvalidRequest: what runs cannot be paused.
            PausedRunError: the visitor has the most paused runs already.
        """
        return sum(self.backend.pause(run.job_id) for run in self._of(session, visitor, place)
                   if run.job_id is not None)

    def stop(self, session: str, visitor: str, place: str | None = None) -> int:
        """Stop every run of a visitor's session, or those of one place; returns how many there
        were."""
        runs = self._of(session, visitor, place)
        for run in runs:
            run.stop()
        return len(runs)

    def stop_pane(self, session: str, visitor: str, place: str, pane: int) -> bool:
        """Stop one of the jobs that run side by side; False where there is none."""
        job_ids = [run.job_ids[pane] for run in self._of(session, visitor, place)
                   if pane < len(run.job_ids)]
        return any([self.backend.cancel(job_id) for job_id in job_ids])

    def _of(self, session: str, visitor: str, place: str | None) -> list[Run[Shown]]:
        with self._lock:
            runs = list(self._runs.get(session, []))
        return [run for run in runs if run.visitor == visitor and place in (None, run.place)]

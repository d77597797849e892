"""Jobs on their way: to the desk, to a runner, and once more where that one is lost."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from easel.serving.jobs import Found, Group, Job, Requester
from easel.serving.ray.calls import CallOf
from easel.serving.ray.messages import Ask, Kept, Outlook, Ticket, Work
from pipelines.core.errors import EaselError
from pipelines.core.events import Progress, Result

logger = logging.getLogger(__name__)
TRIES = 2
TURNS = 20  # that a ticket may be turned away at runners that are about to end
LOST_TWICE = "What drew this was lost twice, so it was given up: try again later."


class Lost(Exception):
    """A runner was lost while it was read."""


class Misrouted(Exception):
    """Work came to another runner than it was meant for."""


class Closed(Exception):
    """A reading was cancelled."""


class Answering(Protocol):
    """What a runner says, see ``easel.serving.ray.link.Answers``."""

    def __iter__(self) -> Any:
        """Read."""
        ...

    def cancel(self) -> None:
        """Read no more."""
        ...


class Linked(Protocol):
    """A way to desk and runners, see ``easel.serving.ray.link.Link``."""

    def ask(self, method: str, *args: Any) -> Any:
        """What the desk says."""
        ...

    def tell(self, method: str, *args: Any) -> None:
        """Tell the desk."""
        ...

    def look(self, token: str) -> Outlook | None:
        """How a ticket fares."""
        ...

    def run(self, work: Work, runner: str) -> Answering:
        """Bring work to a runner."""
        ...


class Trip:
    """One group of jobs on its way.

    Args:
        link: to desk and runners.
        front: name of the front end.
        jobs: what is asked for; they get the events.
        requester: who asks.
        owner: whose the pictures are to be; whoever asks where empty.
        call_of: what a runner is to do.
        can_pause: whether the run can be paused.
        resumes: whether it goes on from a paused run.
        ended: told of every job that has ended.

    Attributes:
        ticket: its place at the desk.
        told: what those read who wait.
    """

    def __init__(self, link: Linked, front: str, jobs: Sequence[Job], requester: Requester,
                 owner: str, call_of: CallOf, can_pause: bool = False,
                 resumes: bool = False, ended: Callable[[Job], None] = lambda job: None) -> None:
        self._link, self._call_of, self._ended = link, call_of, ended
        counted = Requester(owner or requester.visitor, requester.address)
        self.group = Group(tuple(jobs), counted.visitor, len(jobs), counted.address)
        self._requester = requester
        self.ticket = Ticket(
            uuid.uuid4().hex, front,
            tuple(Ask(job.job_id, job.kind, job.about, job.models, job.budget_s) for job in jobs),
            counted, can_pause=can_pause, resumes=resumes)
        self._kept: Kept | None = None
        self._runner = ""  # where it runs now
        self.told = Progress(ahead=0)
        self._lock = threading.Lock()
        self._left = False
        self._answers: Answering | None = None

    def begin(self) -> None:
        """Join the line and set out.

        Raises:
            InvalidRequest: the name of a job is taken.
            Busy: there is no room.
        """
        self.join()
        outlook: Outlook | None = self._link.ask("look", self.ticket.token)
        if outlook is not None:
            self.told = outlook.told  # the thread hears only of what changes
        threading.Thread(target=self._travel, name="trip", daemon=True).start()

    def join(self) -> None:
        """Hand the ticket in.

        Raises:
            EaselError: the desk does not take it.
        """
        waited_s = time.monotonic() - self.group.submitted_s
        error = self._link.ask("join", replace(self.ticket, waited_s=waited_s))
        if error is not None:
            raise error
        self.ticket = replace(self.ticket, known=True)

    def join_anew(self, token: str) -> None:
        """Hand the ticket in again, if it is still this one, to a desk that has forgotten it."""
        with self._lock:
            ticket, runner = self.ticket, self._runner
        if ticket.known and ticket.token == token and not self._left and self._unread():
            self._link.ask("join", replace(
                ticket, runner=runner, waited_s=time.monotonic() - self.group.submitted_s))

    def leave(self) -> None:
        """Nobody reads any more."""
        if self.group.is_over():
            return
        with self._lock:
            self._left = True
            answers = self._answers
        if answers is not None:
            answers.cancel()
        self._link.tell("leave", self.ticket.token)

    def _travel(self) -> None:
        try:
            lost = turned = 0
            while lost < TRIES and turned < TURNS:
                runner = self._wait()
                if not runner:
                    return
                try:
                    self._follow(runner)
                    return
                except Closed:
                    return
                except Lost as error:
                    logger.warning("runner %s was lost: %s", runner, error)
                    lost += 1
                    self._begin_again(lost < TRIES)
                except Misrouted:
                    turned += 1
                    self._begin_again(True, lost=False)
            self._fail(EaselError(LOST_TWICE))
        except EaselError as error:
            self._fail(error)
        except Exception:
            logger.exception("a job was lost on its way")
            self._fail(EaselError("Something went wrong inside Easel; the server's log has the "
                                  "details under job {}.", self.group.jobs[0].job_id))
        finally:
            self._link.tell("leave", self.ticket.token)

    def _unread(self) -> list[Job]:
        return [job for job in self.group.jobs if not job.finished]

    def _wait(self) -> str:
        """The runner that is to do it, once there is one; empty where nothing is left to do."""
        while not self._left:
            outlook = self._link.look(self.ticket.token)
            if outlook is None:
                self.join()
                continue
            self.told = outlook.told
            for index, error in outlook.ended.items():
                self._finish(self._by_ask(index), error)
            if not self._unread():
                break
            if outlook.runner:
                return outlook.runner
        return ""

    def _by_ask(self, index: int) -> Job:
        name = self.ticket.asks[index].job_id
        return next(job for job in self.group.jobs if job.job_id == name)

    def _follow(self, runner: str) -> None:
        """Bring the work to a runner, and its events to the jobs."""
        jobs = self._unread()
        call = self._call_of([job.index for job in jobs], self._kept)
        answers = self._link.run(
            Work(self.ticket.token, call.method, call.arguments,
                 tuple(job.job_id for job in jobs), self._requester), runner)
        with self._lock:
            self._answers, self._runner = answers, runner
            left = self._left
        if left:
            answers.cancel()
        ends: dict[int, EaselError | None] = {}
        try:
            for each in answers:
                if isinstance(each, Kept):
                    self._kept = each
                    continue
                job = jobs[each.index]
                if not job.started:
                    job.started, job.wait_s = True, time.monotonic() - job.submitted_s
                job.usage = each.usage
                if isinstance(each.event, EaselError):
                    ends[each.index] = each.event
                else:
                    job.post(each.event)
                    if isinstance(each.event, Result):
                        job.stopped = job.budget_s is None and bool(
                            each.event.metadata.get("stopped"))
                    if isinstance(each.event, Result | Found):
                        ends.setdefault(each.index, None)
        finally:
            with self._lock:
                self._answers, self._runner = None, ""
            for index, error in ends.items():
                self._finish(jobs[index], error)
        if self._unread():
            raise Lost

    def _begin_again(self, joins: bool, lost: bool = True) -> None:
        """Leave a runner, and where it is worth while join the line anew, before all others."""
        self._link.ask("lose", self.ticket.token, lost)
        jobs = self._unread()
        if joins and jobs:
            asks = tuple(ask for ask in self.ticket.asks
                         if ask.job_id in {job.job_id for job in jobs})
            self.ticket = replace(self.ticket, token=uuid.uuid4().hex, again=True, asks=asks)
            self.join()

    def _fail(self, error: EaselError) -> None:
        for job in self._unread():
            self._finish(job, error)

    def _finish(self, job: Job, error: EaselError | None) -> None:
        if not job.finished:
            job.error = error  # whoever reads its end may call it abandoned at once
            self._ended(job)
            job.finish(error)

"""The desk before all runners: who may draw next, and where. It knows nothing of Ray.

It keeps nothing on disk. A desk that begins anew learns what there is from those who still know:
front ends hand their tickets in again, and runners report what they have.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from easel.serving.jobs import Group, Job, Place, drawn_elsewhere
from easel.serving.line import CLOSING
from easel.serving.ray.fair_line import FairLine
from easel.serving.ray.matching import LOOKED_AT, Entry, Runner, match
from easel.serving.ray.messages import (
    DeskFacts,
    Order,
    Outlook,
    Report,
    RunnerFacts,
    Terms,
    Ticket,
)
from easel.serving.ray.scaling import Scaler, Seen, work_s
from pipelines.core.errors import Busy, Cancelled, EaselError
from pipelines.core.events import Progress

SILENT_S = 8.0  # a front end or runner that says nothing for so long is lost
HEARD_EVERY_S = 0.5  # that this is looked at
PAUSES = 20


class Desk:
    """Holds the line of a cluster; to be asked from one thread.

    Args:
        max_waiting: how many tickets may wait beside those that run.
        max_per_owner: how many tickets of one user may wait or run; None for no limit.
        minute_s: device seconds of one user in a minute, on average; None for no limit.
        easel: which code the cluster runs.
        looked_at: how many of those who wait may have a runner that holds their models, see
            ``match``.
        clock: seconds that only grow.
        terms: what was said of the line and the runners; holds instead of the first three.

    Attributes:
        terms: what is said now; None where the runners are not its affair.
        room: for how many runners there is room; None where that is not known, or no limit.
    """

    def __init__(self, max_waiting: int = 20, max_per_owner: int | None = None,
                 minute_s: float | None = None, easel: str = "", looked_at: int = LOOKED_AT,
                 clock: Callable[[], float] = time.monotonic, terms: Terms | None = None) -> None:
        self.line = FairLine(max_waiting, max_per_owner, minute_s, clock)
        self.terms: Terms | None = None
        self.room: int | None = None
        self._clock, self._easel, self._looked_at = clock, easel, looked_at
        self._entries: dict[str, Entry] = {}
        self._runners: dict[str, Runner] = {}
        self._fronts: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self._drains = False
        self._outlook: dict[Group, tuple[int, float | None]] = {}
        self._outlook_s = self._heard_s = -math.inf  # until when it holds; when all were heard of
        self._scaler = Scaler(clock, SILENT_S)  # by when all runners that there are were heard of
        if terms is not None:
            self.hold(terms)

    # What front ends ask.

    def join(self, ticket: Ticket) -> EaselError | None:
        """Take a ticket in, once however often it comes; why not, where that cannot be."""
        self._fronts[ticket.front] = self._clock()
        if ticket.token in self._entries:
            return None
        group = Group(tuple(Job(ask.job_id, drawn_elsewhere, ask.kind, ask.about, ask.models,
                                ask.budget_s) for ask in ticket.asks),
                      ticket.requester.visitor, len(ticket.asks), ticket.requester.address)
        group.submitted_s -= ticket.waited_s
        known = ticket.again or ticket.known
        try:
            if self._drains and not known:
                raise Busy(CLOSING)
            self.line.join(group, checked=not known)
        except EaselError as error:
            return error
        entry = self._entries[ticket.token] = Entry(ticket, group)
        if ticket.again:
            self.line.again.add(group)
            self._counts["again"] += 1
        if ticket.runner:
            self._begin(entry, ticket.runner)
            runner = self._runners.get(ticket.runner)
            if runner is not None and ticket.token in runner.report.running:
                runner.token = ticket.token
        self.grant()
        return None

    def look(self, token: str) -> Outlook | None:
        """How a ticket fares; None for one that is not known."""
        entry = self._entries.get(token)
        if entry is None:
            return None
        return Outlook(entry.runner, self._told(entry),
                       {job.index: job.error for job in entry.group.jobs if job.error is not None})

    def is_settled(self, token: str) -> bool:
        """Whether there is more to say of a ticket than that it waits."""
        entry = self._entries.get(token)
        return entry is None or bool(entry.runner) or any(job.error for job in entry.group.jobs)

    def beat(self, front: str, tokens: Sequence[str]) -> tuple[str, ...]:
        """A front end lives, and waits for these tickets; those of them that are not known."""
        self._fronts[front] = self._clock()
        self._let_go_of_the_silent()
        return tuple(token for token in tokens if token not in self._entries)

    def leave(self, token: str) -> None:
        """Whoever had a ticket is through with it, at its end or before."""
        if (entry := self._entries.get(token)) is not None:
            self._leave(entry, "abandon")

    def lose(self, token: str, lost: bool = True) -> None:
        """The runner of a ticket was lost, or has turned it away; the ticket ends.

        Args:
            token: of the ticket.
            lost: the runner is gone, rather than about to go.
        """
        entry = self._entries.get(token)
        if entry is None:
            return
        runner = self._runners.get(entry.runner)
        if runner is not None and lost:
            self._forget(entry.runner)
        elif runner is not None:
            runner.leaves, runner.token = True, ""
        if token in self._entries:
            self._remove(entry)
        self.grant()

    def cancel(self, job_id: str) -> bool:
        """Stop a job, or one that comes later; whether there was one."""
        job = self.line.cancel(job_id)
        if job is not None:
            self._order("stop", job_id)
        return job is not None

    def find(self, job_id: str) -> Ticket | None:
        """The ticket of a job; None where there is no such job."""
        return entry.ticket if (entry := self._entry_of(job_id)) is not None else None

    def pause(self, job_id: str) -> bool:
        """Pause a run, or have it paused once it has begun; whether there was one."""
        entry = self._entry_of(job_id)
        if entry is not None and not self._order("pause", job_id):
            entry.pausing.add(job_id)
        return entry is not None

    def close(self, front: str) -> None:
        """End the tickets of a front end that ends: what runs keeps what is finished."""
        for entry in self._of(front):
            for job in entry.group.jobs:
                if not job.started and not job.finished:
                    self.line.forget(job)
                    job.finish(Busy(CLOSING))
            if entry.runner in self._runners:
                self._runners[entry.runner].orders.append(Order("close", entry.ticket.token))

    def end(self) -> None:
        """The cluster is about to end: take no more tickets, and end those that there are."""
        self._drains = True
        for front in {entry.ticket.front for entry in self._entries.values()}:
            self.close(front)

    def ended(self, front: str) -> bool:
        """Whether nothing of a front end waits or runs any more."""
        return all(entry.group.is_over() for entry in self._of(front))

    def suspend(self, but: str | None) -> None:
        """Stop the jobs of all users but one, and take no more; None to take them again."""
        for job_id in self.line.suspend(but) if but is not None else ():
            self.cancel(job_id)
        self.line.exempt = but

    def hold(self, terms: Terms) -> None:
        """Hold what is said from now on, unless something later was said already."""
        if self.terms is None or terms.said_s >= self.terms.said_s:
            self.terms = terms
            self.line.limit(terms.max_waiting, terms.max_per_owner, terms.minute_s)

    def drain(self, drains: bool) -> None:
        """Take no more tickets; or take them again."""
        self._drains = drains

    # What runners say.

    def report(self, report: Report) -> None:
        """Take in how a runner fares; a report that was overtaken by a later one says nothing."""
        if report.easel != self._easel:
            return  # it was told as it began, unless this desk has begun on another machine since
        if report.terms is not None:
            self.hold(report.terms)
        runner = self._runners.get(report.runner)
        if runner is None:
            runner = self._runners[report.runner] = Runner(report, self._clock())
            for entry in self._entries.values():
                if entry.runner == report.runner:
                    runner.token = entry.ticket.token
        elif report.number < runner.report.number:
            return
        runner.report, runner.seen_s = report, self._clock()
        for token, jobs in report.running.items():
            entry = self._entries.get(token)
            for job in entry.group.jobs if entry is not None else ():
                job.usage, job.progress = jobs.get(job.job_id, (job.usage, job.progress))
        for token, jobs in report.ended.items():
            entry = self._entries.get(token)
            if runner.token == token:
                runner.token = ""
            if entry is not None and entry.runner == report.runner:
                self._end(entry, {each.job_id: each for each in jobs})
        self._let_go_of_the_silent()
        self.grant()
        if self.terms is not None:
            self._scaler.look(self.terms, self._seen)

    def wanted(self) -> int:
        """How many runners there are to be now; 0 where that is not known yet."""
        return self._scaler.wanted(self.terms) if self.terms is not None else 0

    def has_orders(self, name: str) -> bool:
        """Whether there is something for a runner to do."""
        return name in self._runners and bool(self._runners[name].orders)

    def orders(self, name: str) -> tuple[Order, ...]:
        """What a runner is to do; each is told once."""
        if not self.has_orders(name):
            return ()
        orders, self._runners[name].orders = tuple(self._runners[name].orders), []
        return orders

    # What both are told.

    def code(self) -> str:
        """Which code the cluster runs."""
        return self._easel

    def facts(self) -> DeskFacts:
        """What the desk knows now."""
        running, waiting = self.line.counts()
        return DeskFacts(running, waiting, self._drains,
                         tuple(RunnerFacts(each.report, entry.job_ids() if (
                             entry := self._entries.get(each.token)) else ())
                               for each in self._runners.values()),
                         dict(self._counts), self.line.exempt is not None, self._easel, os.getpid(),
                         self.wanted(), *((self.terms.least, self.terms.most)
                                          if self.terms is not None else (0, 0)))

    def places(self) -> list[Place]:
        """What runs and waits, in the order in which it comes."""
        return self.line.places()

    def has_room(self, owner: str, address: str) -> bool:
        """Whether one more ticket would be taken now."""
        return self.line.has_room(owner, address)

    def grant(self) -> None:
        """Hand what waits to the runners that are free; see ``match``."""
        self.line.devices = len(self._runners)
        while idle := [each for each in self._runners.values() if each.is_idle()]:
            waiting = [entry for entry in self._entries.values()
                       if not entry.runner and entry.group.alive()]
            if not waiting:
                return
            if len(waiting) > 1:
                by_group = {entry.group: entry for entry in waiting}
                waiting = [by_group[group] for group in self.line.in_order() if group in by_group]
            entry, runner = match(waiting, idle, self._looked_at)
            self._counts["warm" if runner.holds(entry) else "cold"] += 1
            runner.token = entry.ticket.token
            self._begin(entry, runner.report.runner)
            runner.orders += [Order("pause", entry.ticket.token, job_id)
                              for job_id in entry.pausing]

    def _told(self, entry: Entry) -> Progress:
        """What those read who wait for a ticket; in a long line as it was a moment ago.

        All of it is found at once, and anew once twenty times as long has passed as that took, so
        that a desk has time for other things however many wait.
        """
        if entry.runner:
            return self.line.told(entry.group, 0, None)
        now_s = self._clock()
        if now_s >= self._outlook_s:
            self._outlook = self.line.outlook()
            ended_s = self._clock()
            self._outlook_s = ended_s + PAUSES * (ended_s - now_s)
        # Who has come since is told that all of it is before them.
        ahead, wait_s = self._outlook.get(entry.group, (len(self._outlook), None))
        return self.line.told(entry.group, ahead, wait_s)

    def _begin(self, entry: Entry, runner: str) -> None:
        entry.runner = runner
        for job in entry.group.jobs:
            job.started = not job.finished

    def _end(self, entry: Entry, jobs: Mapping[str, Any]) -> None:
        """What a runner had of a ticket is over."""
        for job in entry.group.jobs:
            if (found := jobs.get(job.job_id)) is not None:
                job.usage, job.stopped = found.usage, found.outcome == "stopped"
                job.finish(Cancelled() if found.outcome == "failed" else None)
                self.line.runtimes.observe(job)
        self._remove(entry)

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry.ticket.token]
        for job in entry.group.jobs:
            self.line.forget(job)
        self.line.leave(entry.group)

    def _leave(self, entry: Entry, what: Any) -> None:
        """Nobody waits for a ticket any more; its runner, if it has one, is told what to do."""
        token, entry.left = entry.ticket.token, True
        for job in entry.group.jobs:
            job.abandoned = True
        if not entry.runner:
            self._remove(entry)
        elif (runner := self._runners.get(entry.runner)) is not None and runner.token == token:
            runner.orders.append(Order(what, token))
        else:
            self._remove(entry)
        self.grant()

    def _of(self, front: str) -> list[Entry]:
        return [entry for entry in self._entries.values() if entry.ticket.front == front]

    def _entry_of(self, job_id: str) -> Entry | None:
        job = self.line.jobs.get(job_id)
        return next((entry for entry in self._entries.values() if job in entry.group.jobs), None)

    def _order(self, what: Any, job_id: str) -> bool:
        """Tell the runner of a job something; whether it has one."""
        entry = self._entry_of(job_id)
        runner = self._runners.get(entry.runner) if entry is not None else None
        if entry is not None and runner is not None:
            runner.orders.append(Order(what, entry.ticket.token, job_id))
        return runner is not None

    def _forget(self, name: str) -> None:
        """A runner is gone, and with it what nobody waits for."""
        del self._runners[name]
        for entry in [each for each in self._entries.values() if each.runner == name and each.left]:
            self._remove(entry)

    def _seen(self) -> Seen:
        """How the cluster fares now, for those who see how many runners there are to be."""
        waiting = [each.group for each in self._entries.values()
                   if not each.runner and each.group.alive()]
        now_s = time.monotonic()
        return Seen(len(self._runners), sum(each.has_work() for each in self._runners.values()),
                    len(waiting), work_s(self.line.jobs.values(), self.line.runtimes),
                    max((now_s - group.submitted_s for group in waiting), default=0.0), self.room)

    def _let_go_of_the_silent(self) -> None:
        now_s = self._clock()
        if now_s < self._heard_s + HEARD_EVERY_S:
            return
        self._heard_s = now_s
        for name in [name for name, each in self._runners.items()
                     if now_s - each.seen_s > SILENT_S]:
            self._forget(name)
        for front in [front for front, seen_s in self._fronts.items()
                      if now_s - seen_s > SILENT_S]:
            del self._fronts[front]
            for entry in self._of(front):
                self._leave(entry, "orphan")

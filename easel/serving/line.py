"""Who waits for a device and who has one: names, limits, places, and how long it takes.

The queue of one device (``easel.serving.job_queue``) and the desk before several of them
(``easel.serving.ray.desk``) keep one each.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Sequence

from easel.serving.allowance import MINUTE_S, Allowance
from easel.serving.jobs import Group, Job, Place
from pipelines.core.errors import Busy, Cancelled, InvalidRequest
from pipelines.core.events import Progress
from pipelines.core.sentences import Sentence, joined

REMEMBERED = 1000  # names of jobs that were cancelled
# Of the queue's places and of the device's seconds: anyone can be many visitors, and the rest is
# left to other addresses.
ADDRESS_SHARE = 0.75
TIMED = 20  # jobs of a kind whose seconds are known
NOT_BEGUN = "The job was stopped before it began."
CLOSING = "Easel is shutting down and takes no more jobs."
SUSPENDED = "Drawing is stopped for everybody for now: wait until whoever leads lets it go on."
ONE_OF_ONE = "{} job of yours is on its way, which is the most: wait for it to end, or stop it."
TOO_MANY_OF_ONE = ("{} jobs of yours are on their way, which is the most: wait for one to end, or "
                   "stop one.")


class Line:
    """Groups of jobs on their way, in the order in which they came.

    It has no lock: whoever keeps one asks it from one thread, or with a lock of their own.

    Args:
        max_waiting: how many groups may wait beside those that run.
        max_per_owner: how many groups of one user may wait or run; None for no limit.
        minute_s: device seconds of one user in a minute, on average; None for no limit.

    Attributes:
        devices: how many groups can run at the same time.
        is_open: whether it still takes groups.
        exempt: who alone is let in for now, beside nobody's work; None where everybody is.
        jobs: those that have not ended, by name.
        groups: those that have not ended, in the order of their coming.
        runtimes: how long jobs of a kind take.
    """

    def __init__(self, max_waiting: int = 20, max_per_owner: int | None = None,
                 minute_s: float | None = None) -> None:
        self.max_waiting, self.max_per_owner = max_waiting, max_per_owner
        self.devices, self.is_open = 1, True
        self.exempt: str | None = None
        self.jobs: dict[str, Job] = {}
        self.groups: list[Group] = []
        self.runtimes = RuntimeEstimator()
        self._cancelled: dict[str, None] = {}  # names, the oldest first
        self._allow(minute_s)

    def limit(self, max_waiting: int, max_per_owner: int | None, minute_s: float | None) -> None:
        """Hold other limits from now on; who is in the line stays."""
        self.max_waiting, self.max_per_owner = max_waiting, max_per_owner
        if minute_s != self._allowance.seconds:
            self._allow(minute_s)

    def _allow(self, minute_s: float | None) -> None:
        self._allowance = Allowance(minute_s)
        self._of_address = Allowance(minute_s and max(minute_s, MINUTE_S * ADDRESS_SHARE))

    def in_order(self) -> list[Group]:
        """The groups that somebody waits for: what runs, then what comes next, and so on."""
        return [group for group in self.groups if group.alive()]

    def counts(self) -> tuple[int, int]:
        """How many jobs run, and how many wait."""
        started = [job.started for job in self.jobs.values() if not job.abandoned]
        return sum(started), len(started) - sum(started)

    def places(self) -> list[Place]:
        """What runs and waits, in the order in which it comes."""
        return [group.place(position) for position, group in enumerate(self.in_order(), 1)]

    def has_room(self, owner: str, address: str = "") -> bool:
        """Whether one more group would be taken now, or turned away because Easel ends."""
        return not self.is_open or self._refusal(owner, address) is None

    def join(self, group: Group, checked: bool = True) -> None:
        """Take a group in; those of its jobs whose names were cancelled end at once.

        Args:
            group: to be taken in.
            checked: only where there is room; one that has been taken before needs none.

        Raises:
            InvalidRequest: the name of one is taken.
            Busy: there is no room, or no more are taken.
        """
        for job in group.jobs:
            if job.job_id in self.jobs:
                raise InvalidRequest("A job called {!r} is on its way already.", job.job_id[:40])
        if not self.is_open:
            raise Busy(CLOSING)
        if checked and (refusal := self._refusal(group.owner, group.address)) is not None:
            raise refusal
        self.groups.append(group)
        for job in group.jobs:
            if job.job_id in self._cancelled:
                job.stopped = True
                job.finish(Cancelled(NOT_BEGUN))
            else:
                self.jobs[job.job_id] = job

    def cancel(self, job_id: str) -> Job | None:
        """Stop a job; one that waits ends at once. None where there is no such job.

        The name is remembered: what comes under it later, such as the next part of a run, or a job
        on its way here, is stopped before it begins.
        """
        self._cancelled[job_id] = None
        while len(self._cancelled) > REMEMBERED:
            del self._cancelled[next(iter(self._cancelled))]
        job = self.jobs.get(job_id)
        if job is not None:
            job.stopped = True
            if not job.started:
                del self.jobs[job_id]
                job.finish(Cancelled(NOT_BEGUN))
        return job

    def suspend(self, but: str) -> list[str]:
        """Let in one owner alone; returns the names of the others' jobs, which are to be cancelled.
        """
        self.exempt = but
        return [job.job_id for group in self.groups if not self._may(group.owner)
                for job in group.jobs]

    def forget(self, job: Job) -> None:
        """Let the name of a job that has ended be taken again."""
        if self.jobs.get(job.job_id) is job:
            del self.jobs[job.job_id]

    def leave(self, group: Group) -> None:
        """Take a group out, and count what it took."""
        self._allowance.spend(group.owner, group.device_s())
        self._of_address.spend(group.address, group.device_s())
        self.groups.remove(group)

    def waiting(self, group: Group) -> Progress:
        """What those read who wait for a group to begin."""
        order = self.in_order()
        ahead = order[:order.index(group)] if group in order else []
        return self.told(group, len(ahead), self.runtimes.wait_s(ahead, self.devices))

    def outlook(self) -> dict[Group, tuple[int, float | None]]:
        """How many are before each group that somebody waits for, and the seconds that they take,
        None where that is not known: for all of a line in little more time than for one of it.
        """
        order = self.in_order()
        waits = self.runtimes.waits_s(order, self.devices)
        return {group: (ahead, wait_s) for ahead, (group, wait_s) in
                enumerate(zip(order, waits, strict=True))}

    def told(self, group: Group, ahead: int, wait_s: float | None) -> Progress:
        """What those read who wait for a group, where that much is before it."""
        elapsed_s = time.monotonic() - group.submitted_s
        if not ahead:
            message = "Waiting for the others." if group.started() else "Waiting: next in line."
            return Progress(elapsed_s=elapsed_s, message=message, ahead=0)
        parts = [Sentence("Waiting: {} ahead", ahead)]
        if wait_s is not None:
            parts.append(Sentence("about {} s", max(1, round(wait_s))))
        return Progress(elapsed_s=elapsed_s, message=joined(", ", parts, end="."), ahead=ahead)

    def _may(self, owner: str) -> bool:
        return self.exempt is None or owner in ("", self.exempt)

    def _refusal(self, owner: str, address: str) -> Busy | None:
        """Why there is no room for one more group now; None where there is."""
        if not self._may(owner):
            return Busy(SUSPENDED)
        alive = [g for g in self.groups if g.alive()]
        if len(alive) >= self.max_waiting + self.devices:
            return Busy("The queue is full, {} job is waiting: try again in a minute."
                        if self.max_waiting == 1 else
                        "The queue is full, {} jobs are waiting: try again in a minute.",
                        self.max_waiting)
        own = sum(g.owner == owner for g in alive) if owner else 0
        if self.max_per_owner is not None and own >= self.max_per_owner:
            return Busy(ONE_OF_ONE if own == 1 else TOO_MANY_OF_ONE, own)
        near = sum(g.address == address for g in alive) if address else 0
        if self.max_per_owner is not None and near >= max(
                self.max_per_owner, int((self.max_waiting + self.devices) * ADDRESS_SHARE)):
            return Busy("{} job from your address is on its way, which is the most: try again in "
                        "a minute." if near == 1 else
                        "{} jobs from your address are on their way, which is the most: try again "
                        "in a minute.", near)
        if (wait_s := self._allowance.wait_s(owner)) > 0:
            return Busy("You have had your seconds of the device for now, {} in a minute: try "
                        "again in {} s.", round(self._allowance.seconds or 0), math.ceil(wait_s))
        # Nothing is gained by an idle device: a class behind one address has all of it.
        if near < len(alive) and (wait_s := self._of_address.wait_s(address)) > 0:
            return Busy("Your address has had its seconds of the device for now, and others wait: "
                        "try again in {} s.", math.ceil(wait_s))
        return None


class RuntimeEstimator:
    """Estimates device seconds of a job by those of the last finished ones of its kind."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}

    def observe(self, job: Job) -> None:
        """Remember a job that ran to its end."""
        if job.outcome() == "done":
            self._seconds.setdefault(job.kind, deque(maxlen=TIMED)).append(
                job.usage.device_s)

    def expected_s(self, job: Job) -> float | None:
        """Device seconds that a job may still take; None where nothing like it has ended here."""
        past = self._seconds.get(job.kind)
        if not past:
            return None
        if job.finished:
            return 0.0
        whole_s = sum(past) / len(past)
        step, total = job.progress.step, job.progress.total
        if job.started and 0 < step <= total:
            whole_s = job.usage.device_s * total / step
        if job.budget_s is not None:
            whole_s = min(whole_s, job.budget_s)
        return max(0.0, whole_s - job.usage.device_s)

    def wait_s(self, ahead: Sequence[Group], devices: int = 1) -> float | None:
        """Seconds until the groups ahead leave a device free; None where that is not known of one.

        Args:
            ahead: in the order in which they come.
            devices: how many of them run at the same time.
        """
        return self._waits_s(ahead, devices)[-1]

    def waits_s(self, order: Sequence[Group], devices: int = 1) -> list[float | None]:
        """As ``wait_s``, for each group of an order and those before it."""
        return self._waits_s(order, devices)[:-1]

    def _waits_s(self, order: Sequence[Group], devices: int) -> list[float | None]:
        free_s = [0.0] * max(1, devices)  # when each device is
        waits: list[float | None] = [0.0]
        for group in order:
            parts = [self.expected_s(job) for job in group.jobs if not job.abandoned]
            if None in parts:
                return waits + [None] * (1 + len(order) - len(waits))
            heapq.heappush(free_s, heapq.heappop(free_s) + sum(p for p in parts if p is not None))
            waits.append(free_s[0])
        return waits

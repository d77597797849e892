"""The device's queue: one job at a time or a few in turn, Stop within a step, nothing left behind.

Gradio frees its own concurrency slot before a cancelled step has ended, resumes a generator on
whichever thread is free, and may never resume it at all. The device therefore belongs to one
thread of the queue, which takes each step of each run; readers only read what it posts. Two
steps cannot overlap, and a reader that goes away holds nothing.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor

from easel.serving.allowance import Allowance
from easel.serving.jobs import Group, Job, Place, RunEvent
from easel.serving.metrics import Metrics
from easel.serving.scheduler import Recorder, Scheduler
from pipelines.core.errors import Busy, Cancelled, EaselError, InvalidRequest
from pipelines.core.events import Progress
from pipelines.core.sentences import Sentence, joined
from pipelines.models.cache.cache import ModelCache

logger = logging.getLogger(__name__)
MESSAGE_EVERY_S = 1.0
REMEMBERED = 1000  # names of jobs that were cancelled
TIMED = 20  # jobs of a kind whose seconds are known
NOT_BEGUN = "The job was stopped before it began."
CLOSING = "Easel is shutting down and takes no more jobs."
TOO_MANY_OF_ONE = ("{} jobs of yours are on their way, which is the most: wait for one to end, or "
                   "stop one.")
CUT_SHORT = "Easel is shutting down, in the middle of a step: nothing of this run is kept."
CUT_AND_KEPT = ("Easel is shutting down, in the middle of a step: the run is paused where it was "
                "saved last.")


class JobQueue:
    """Takes groups of jobs one after the other on a thread of its own, and says how they fare.

    The jobs of a group are scheduled step by step. Nothing else is: a queue that moves on is
    shorter for everybody than one in which all wait for all.

    Args:
        cache: the models; idle ones are dropped where memory runs out.
        max_waiting: how many groups may wait while one runs.
        max_per_owner: how many groups of one user may wait or run; None for no limit.
        record: keeps every result for its owner before it is posted; None to keep nothing.
        minute_s: device seconds of one user in a minute, on average; None for no limit.

    Attributes:
        is_open: whether it still takes jobs.
        metrics: what has been done.
    """

    def __init__(self, cache: ModelCache, max_waiting: int = 20, max_per_owner: int | None = None,
                 record: Recorder | None = None, minute_s: float | None = None) -> None:
        self.max_waiting, self.max_per_owner = max_waiting, max_per_owner
        # Anyone can be many visitors: a quarter of the queue is left to other addresses.
        self.max_per_address = None if max_per_owner is None else max(
            max_per_owner, (max_waiting + 1) * 3 // 4)
        self._jobs: dict[str, Job] = {}  # unfinished
        self._cancelled: dict[str, None] = {}  # names, the oldest first
        self._groups: list[Group] = []  # unfinished, in the order of their coming
        self._lock = threading.Lock()
        self._pace = Pace()
        self._allowance = Allowance(minute_s)
        self.metrics = Metrics(cache, self.counts)
        self.is_open = True
        self._scheduler = Scheduler(cache, self._admit, self._end, record)
        self._device = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")

    def find(self, job_id: str) -> Job | None:
        """An unfinished job by its name."""
        with self._lock:
            return self._jobs.get(job_id)

    def counts(self) -> tuple[int, int]:
        """How many jobs run, and how many wait."""
        with self._lock:
            started = [job.started for job in self._jobs.values() if not job.abandoned]
        return sum(started), len(started) - sum(started)

    def places(self) -> list[Place]:
        """What runs and waits, in the order in which it comes."""
        with self._lock:
            alive = [group for group in self._groups if group.alive()]
            return [group.place(position) for position, group in enumerate(alive, 1)]

    def has_room(self, owner: str, address: str = "") -> bool:
        """Whether one more group would be taken now, or turned away because Easel ends."""
        with self._lock:
            return not self.is_open or self._refusal(owner, address) is None

    def cancel(self, job_id: str) -> bool:
        """Stop a waiting or running job; whether there was one.

        The name is remembered: what comes under it later, such as the next part of a run, or a job
        on its way here, is stopped before it begins.
        """
        with self._lock:
            self._cancelled[job_id] = None
            while len(self._cancelled) > REMEMBERED:
                del self._cancelled[next(iter(self._cancelled))]
            job = self._jobs.get(job_id)
            if job is None:
                return False
            job.stopped = True
            if job.checkpointer is not None:
                job.checkpointer.ask(False)  # who stops wants pictures
            if not job.started:
                del self._jobs[job_id]
                job.finish(Cancelled(NOT_BEGUN))
        return True

    def close(self) -> None:
        """Stop every job and end the device's thread; a run that can be paused is.

        Who waits reads that the job will not begin; what runs ends within a step, as it does
        when it is stopped, and its reader reads that too.
        """
        with self._lock:
            self.is_open = False
            jobs = list(self._jobs.values())
        for job in jobs:
            if job.checkpointer is not None and job.started:
                job.checkpointer.ask()
                job.stopped = True  # should there be no room to pause it
            elif job.started:
                self.cancel(job.job_id)
            else:
                self._turn_away(job)
        self._device.shutdown(wait=True, cancel_futures=True)

    def tell_the_rest(self) -> None:
        """Tell the readers of jobs that are in the middle of a step that they hear no more.

        A step may take longer than a server has to end; the process ends in its middle then.
        """
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.finish(Busy(CUT_SHORT if job.checkpointer is None else CUT_AND_KEPT))

    def _turn_away(self, job: Job) -> None:
        """End a job that has not begun."""
        with self._lock:
            job.stopped = True
            if job.started:  # meanwhile
                return
            self._jobs.pop(job.job_id, None)
        if job.checkpointer is not None:
            job.checkpointer.release()
        job.finish(Busy(CLOSING))

    # What follows runs in the reader's thread.

    def events(self, group: Group) -> Generator[RunEvent]:
        """Queue a group and read its events, in the order in which they were said."""
        try:
            self._submit(group)
        except EaselError:
            for job in group.jobs:
                if job.checkpointer is not None:
                    job.checkpointer.release()
            raise
        changed, unread = group.jobs[0].changed, list(group.jobs)
        shown_s = time.monotonic()
        try:
            while unread:
                with changed:
                    if not any(job.events or job.finished for job in unread):
                        changed.wait(MESSAGE_EVERY_S)
                    taken = [(job, job.take()) for job in unread]
                posted = [each for _, (events, _) in taken for each in events]
                yield from sorted(posted, key=lambda each: each.at_s)
                unread = [job for job, (_, finished) in taken if not finished]
                if posted and time.monotonic() - shown_s < MESSAGE_EVERY_S:
                    continue
                shown_s = time.monotonic()
                yield from [RunEvent(job.index, self._waiting(group), job.usage)
                            for job in unread if not job.started]
        finally:
            for job in group.jobs:
                job.abandoned = True

    def _waiting(self, group: Group) -> Progress:
        with self._lock:
            index = self._groups.index(group) if group in self._groups else 0
            ahead = [other for other in self._groups[:index] if other.alive()]
        elapsed_s = time.monotonic() - group.submitted_s
        if not ahead:
            message = "Waiting for the others." if group.started() else "Waiting: next in line."
            return Progress(elapsed_s=elapsed_s, message=message, ahead=0)
        wait_s = self._pace.wait_s(ahead)
        parts = [Sentence("Waiting: {} ahead", len(ahead))]
        if wait_s is not None:
            parts.append(Sentence("about {} s", max(1, round(wait_s))))
        return Progress(elapsed_s=elapsed_s, message=joined(", ", parts, end="."),
                        ahead=len(ahead))

    def _submit(self, group: Group) -> None:
        with self._lock:
            for job in group.jobs:
                if job.job_id in self._jobs:
                    raise InvalidRequest("A job called {!r} is on its way already.",
                                         job.job_id[:40])
            if not self.is_open:
                raise Busy(CLOSING)
            if (refusal := self._refusal(group.owner, group.address)) is not None:
                raise refusal
            self._device.submit(self._run, group)
            self._groups.append(group)
            for job in group.jobs:
                if job.job_id in self._cancelled:
                    job.stopped = True
                    job.finish(Cancelled(NOT_BEGUN))
                else:
                    self._jobs[job.job_id] = job

    def _refusal(self, owner: str, address: str) -> Busy | None:
        """Why there is no room for one more group now; None where there is."""
        alive = [g for g in self._groups if g.alive()]
        if len(alive) > self.max_waiting:
            return Busy("The queue is full, {} jobs are waiting: try again in a minute.",
                        self.max_waiting)
        own = sum(g.owner == owner for g in alive) if owner else 0
        if self.max_per_owner is not None and own >= self.max_per_owner:
            return Busy(TOO_MANY_OF_ONE, own)
        near = sum(g.address == address for g in alive) if address else 0
        if self.max_per_address is not None and near >= self.max_per_address:
            return Busy("{} jobs from your address are on their way, which is the most: try "
                        "again in a minute.", near)
        if (wait_s := self._allowance.wait_s(owner)) > 0:
            return Busy("You have had your seconds of the device for now, {} in a minute: try "
                        "again in {} s.", round(self._allowance.seconds or 0), math.ceil(wait_s))
        return None

    # What follows runs in the device's thread.

    def _run(self, group: Group) -> None:
        """Run a group to its end; never raises."""
        try:
            self._scheduler.run(group)
        finally:
            self._allowance.spend(group.owner, sum(job.usage.device_s for job in group.jobs))
            with self._lock:
                self._groups.remove(group)

    def _admit(self, job: Job) -> bool:
        with self._lock:
            job.started, job.wait_s = True, time.monotonic() - job.submitted_s
            return not (job.finished or job.cancelled())

    def _end(self, job: Job, error: EaselError | None) -> None:
        with self._lock:
            if self._jobs.get(job.job_id) is job:
                del self._jobs[job.job_id]
        if job.checkpointer is not None:
            job.checkpointer.end(error)
        job.finish(error)
        self._pace.note(job)
        self.metrics.note(job)
        logger.info("%s %s after %.2f s on the device and %.2f s of waiting", job.kind,
                    job.outcome(), job.usage.device_s, job.wait_s)


class Pace:
    """Device seconds of the last finished jobs of each kind."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}

    def note(self, job: Job) -> None:
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

    def wait_s(self, ahead: Sequence[Group]) -> float | None:
        """Seconds until the groups ahead are done; None where that is not known of one."""
        parts = [self.expected_s(job) for group in ahead for job in group.jobs
                 if not job.abandoned]
        return sum(p for p in parts if p is not None) if None not in parts else None

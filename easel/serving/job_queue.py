"""The device's queue: one job at a time or a few in turn, Stop within a step, nothing left behind.

Gradio frees its own concurrency slot before a cancelled step has ended, resumes a generator on
whichever thread is free, and may never resume it at all. The device therefore belongs to one
thread of the queue, which takes each step of each run; readers only read what it posts. Two
steps cannot overlap, and a reader that goes away holds nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from easel.serving.jobs import Group, Job, Place, RunEvent, read_events
from easel.serving.line import CLOSING, Line
from easel.serving.metrics import Metrics
from easel.serving.scheduler import Recorder, Scheduler
from pipelines.core.errors import Busy, EaselError
from pipelines.core.events import Progress
from pipelines.models.cache.cache import ModelCache

logger = logging.getLogger(__name__)
CUT_SHORT = "Easel is shutting down, in the middle of a step: nothing of this run is kept."
CUT_AND_KEPT = ("Easel is shutting down, in the middle of a step: the run is paused where it was "
                "saved last.")


class Watch(Protocol):
    """Somebody who hears on the device's thread of every job."""

    def began(self, job: Job) -> None:
        """A job is about to take its first step."""
        ...

    def ended(self, job: Job) -> None:
        """A job has ended, and its reader was told."""
        ...


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
        line: who waits, and who has the device; to be asked through the queue's methods.
        metrics: what has been done.
        watch: hears of every job; None for nobody.
    """

    def __init__(self, cache: ModelCache, max_waiting: int = 20, max_per_owner: int | None = None,
                 record: Recorder | None = None, minute_s: float | None = None) -> None:
        self.line = Line(max_waiting, max_per_owner, minute_s)
        self.watch: Watch | None = None
        self._lock = threading.Lock()
        self.metrics = Metrics(self.counts, lambda: {"": cache.stats()})
        self._scheduler = Scheduler(cache, self._admit, self._end, self._over, record)
        self._device = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")

    @property
    def is_open(self) -> bool:
        """Whether it still takes jobs."""
        return self.line.is_open

    def find(self, job_id: str) -> Job | None:
        """An unfinished job by its name."""
        with self._lock:
            return self.line.jobs.get(job_id)

    def counts(self) -> tuple[int, int]:
        """How many jobs run, and how many wait."""
        with self._lock:
            return self.line.counts()

    def places(self) -> list[Place]:
        """What runs and waits, in the order in which it comes."""
        with self._lock:
            return self.line.places()

    def has_room(self, owner: str, address: str = "") -> bool:
        """Whether one more group would be taken now, or turned away because Easel ends."""
        with self._lock:
            return self.line.has_room(owner, address)

    def cancel(self, job_id: str) -> bool:
        """Stop a waiting or running job, or one that comes later; whether there was one."""
        with self._lock:
            job = self.line.cancel(job_id)
            if job is not None and job.checkpointer is not None:
                job.checkpointer.ask(False)  # who stops wants pictures
        return job is not None

    def suspend(self, but: str = "") -> None:
        """Stop the jobs of all users but one, and take no more of them."""
        with self._lock:
            others = self.line.suspend(but)
        for job_id in others:
            self.cancel(job_id)

    def unsuspend(self) -> None:
        """Take jobs of everybody again."""
        self.line.exempt = None

    def is_suspended(self) -> bool:
        """Whether no more jobs are taken of most."""
        return self.line.exempt is not None

    def close(self) -> None:
        """Stop every job and end the device's thread; a run that can be paused is.

        Who waits reads that the job will not begin; what runs ends within a step, as it does
        when it is stopped, and its reader reads that too.
        """
        with self._lock:
            self.line.is_open = False
            jobs = list(self.line.jobs.values())
        for job in jobs:
            if job.started:
                self.end(job)
            else:
                self._turn_away(job)
        self._device.shutdown(wait=True, cancel_futures=True)

    def end(self, job: Job) -> None:
        """End a job that has begun: a run that can be paused is, and any other stopped."""
        if job.checkpointer is not None:
            job.checkpointer.ask()
            job.stopped = True  # should there be no room to pause it
        else:
            self.cancel(job.job_id)

    def abort_jobs(self) -> None:
        """End jobs that are in the middle of a step with an error, so that their readers return.

        A step may take longer than a server has to end; the process ends in its middle then.
        """
        with self._lock:
            jobs = list(self.line.jobs.values())
        for job in jobs:
            job.finish(Busy(CUT_SHORT if job.checkpointer is None else CUT_AND_KEPT))

    def _turn_away(self, job: Job) -> None:
        """End a job that has not begun."""
        with self._lock:
            job.stopped = True
            if job.started:  # meanwhile
                return
            self.line.forget(job)
        if job.checkpointer is not None:
            job.checkpointer.release()
        job.finish(Busy(CLOSING))

    # What follows runs in the reader's thread.

    def events(self, make: Callable[[], Group], read: Callable[[RunEvent], Any],
               ) -> Generator[Any]:
        """Queue a group and read its events, in the order in which they were said.

        Args:
            make: makes the group, once somebody reads.
            read: what is yielded of an event; what it raises ends the group.
        """
        return read_events(make, self._submit, self._waiting, read)

    def _waiting(self, group: Group) -> Progress:
        with self._lock:
            return self.line.waiting(group)

    def _submit(self, group: Group) -> None:
        try:
            with self._lock:
                self.line.join(group)
                self._device.submit(self._scheduler.run, group)
        except EaselError:
            for job in group.jobs:
                if job.checkpointer is not None:
                    job.checkpointer.release()
            raise

    # What follows runs in the device's thread.

    def _over(self, group: Group) -> None:
        with self._lock:
            self.line.leave(group)

    def _admit(self, job: Job) -> bool:
        with self._lock:
            job.started, job.wait_s = True, time.monotonic() - job.submitted_s
        if self.watch is not None:
            self.watch.began(job)
        return not (job.finished or job.cancelled())

    def _end(self, job: Job, error: EaselError | None) -> None:
        with self._lock:
            self.line.forget(job)
        if job.checkpointer is not None:
            job.checkpointer.end(error)
        job.finish(error)
        with self._lock:
            self.line.runtimes.observe(job)
        self.metrics.note(job)
        logger.info("%s %s after %.2f s on the device and %.2f s of waiting", job.kind,
                    job.outcome(), job.usage.device_s, job.wait_s)
        if self.watch is not None:
            self.watch.ended(job)


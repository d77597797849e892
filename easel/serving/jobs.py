"""Jobs on their way through the queue: their flags, their events, and what they took."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pipelines.core.errors import Cancelled, EaselError, InvalidRequest
from pipelines.core.events import Event, Preview, Progress

if TYPE_CHECKING:
    from pipelines.checkpointer import Checkpointer

MESSAGE_EVERY_S = 1.0
GRACE_EVENTS = 8  # what a stopped run may still say before its Result (ranking, say)


@dataclass(frozen=True)
class Usage:
    """What a run took of the device, whoever else had it meanwhile.

    Attributes:
        device_s: seconds of its own steps, without the loading of models.
        peak_memory_bytes: the most that its own steps held beside the models; None where the
            device or the system does not say.
    """

    device_s: float = 0.0
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class Found:
    """What work other than a generator's run brought, its last event.

    Attributes:
        value: as the method of the backend that did it says.
    """

    value: Any


@dataclass(frozen=True, eq=False)
class RunEvent:
    """Everything that a job says, on its way from the device's thread to whoever reads it.

    Attributes:
        index: which of its group's jobs, which of a comparison's requests.
        event: of the run; the last one is a Result, a Found, or the error that ended it.
        usage: what the job took so far.
        at_s: when it was said, by ``time.monotonic()``.
    """

    index: int
    event: Event | Found | EaselError
    usage: Usage
    at_s: float = field(default_factory=time.monotonic)


class Requester(NamedTuple):
    """Who a job is for, as far as limits count it.

    Attributes:
        visitor: id of a visitor; empty for nobody's, such as the command line's.
        address: where it was asked for; empty where that says nothing, as on this machine.
    """

    visitor: str = ""
    address: str = ""


@dataclass(frozen=True)
class Place:
    """Where work stands in the device's queue.

    Attributes:
        position: 1 for what comes first.
        owner: whose it is; empty for nobody's.
        kinds: names of the pipelines that draw, or what else is done, without repetition.
        about: the prompt, for the owner's eyes alone; empty where there is none.
        running: whether it has had the device already.
        job_ids: what it is cancelled by, for the owner alone.
        progress: of the job that was asked for first.
    """

    position: int
    owner: str
    kinds: tuple[str, ...]
    about: str
    running: bool
    job_ids: tuple[str, ...]
    progress: Progress


class RunnerCounts(NamedTuple):
    """How many runners a cluster has.

    Attributes:
        here: how many there are.
        wanted: how many there are to be now.
        least: how many at least.
        most: how many at most.
    """

    here: int
    wanted: int
    least: int
    most: int


@dataclass(eq=False)
class Job:
    """Something to do on the device.

    ``stopped`` and ``abandoned`` are plain flags, set without any lock: a generator may be closed
    by the garbage collector inside whatever code happens to run.

    Attributes:
        work: makes the generator of its steps; each yields an event for the reader, the last a
            Result or a Found.
        kind: name of the pipeline, or what else is done.
        about: the prompt, for its owner alone; empty where there is none.
        models: catalogue ids that it needs at the same time, as far as they are known.
        budget_s: device seconds after which it is stopped; None for no limit.
        limit_s: device seconds that nobody's job may exceed; it is stopped then, as by Stop.
        waits_s: seconds that it waited for each of its models.
        wait_s: seconds that it waited to begin.
        changed: shared by the jobs that one reader reads.
        checkpointer: of a run that can be paused.
        provenance: says what it takes to draw its pictures again, once they are drawn.
        index: which of its group's jobs it is.
    """

    job_id: str
    work: Callable[[Job], Generator[Event | Found]]
    kind: str = ""
    about: str = ""
    models: tuple[str, ...] = ()
    budget_s: float | None = None
    limit_s: float | None = None
    stopped: bool = False
    abandoned: bool = False
    started: bool = False
    finished: bool = False
    out_of_time: bool = False
    over_limit: bool = False
    error: EaselError | None = None
    usage: Usage = field(default_factory=Usage)
    progress: Progress = field(default_factory=Progress)
    waits_s: list[float] = field(default_factory=list)
    wait_s: float = 0.0
    submitted_s: float = field(default_factory=time.monotonic)
    events: list[RunEvent] = field(default_factory=list)
    changed: threading.Condition = field(
        default_factory=lambda: threading.Condition(threading.Lock()))
    checkpointer: Checkpointer | None = None
    provenance: Callable[[], dict[str, Any]] = dict
    index: int = 0
    _late: int = 0

    def cancelled(self) -> bool:
        """Whether the run should end at its next step."""
        return self.stopped or self.abandoned

    def overdue(self) -> bool:
        """Whether a run that was told to end has said as much as it may since; for each event."""
        self._late += self.cancelled()
        return self.abandoned or self._late > GRACE_EVENTS

    def outcome(self) -> Literal["done", "stopped", "failed"]:
        """How a finished job ended; one that used up its budget is done."""
        stopped = self.cancelled() or isinstance(self.error, Cancelled)
        if stopped and not self.out_of_time:
            return "stopped"
        return "done" if self.error is None else "failed"

    def post(self, event: Event | Found) -> None:
        """Hand an event to the reader; a newer preview replaces one that was not read yet."""
        with self.changed:
            if isinstance(event, Preview):
                self.events = [e for e in self.events if not isinstance(e.event, Preview)]
            elif isinstance(event, Progress):
                self.progress = event
            self.events.append(RunEvent(self.index, event, self.usage))
            self.changed.notify_all()

    def finish(self, error: EaselError | None) -> None:
        """Record the outcome, once; an error is the last event."""
        with self.changed:
            if not self.finished:
                self.finished, self.error = True, error
                if error is not None:
                    self.events.append(RunEvent(self.index, error, self.usage))
            self.changed.notify_all()

    def take(self) -> tuple[list[RunEvent], bool]:
        """The events since the last call, and whether there will be no more; holds ``changed``."""
        events, self.events = self.events, []
        return events, self.finished


@dataclass(eq=False)
class Group:
    """Jobs that share a place in the queue and then the device, step by step in turn.

    Attributes:
        jobs: at least one.
        owner: whose they are; empty for nobody's.
        together: how many of them share the device at the same time.
        address: where they were asked for; empty where that does not count.
    """

    jobs: tuple[Job, ...]
    owner: str = ""
    together: int = 1
    address: str = ""
    submitted_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        for index, job in enumerate(self.jobs):
            job.index = index

    def alive(self) -> bool:
        """Whether anybody still waits for any of the jobs."""
        for job in self.jobs:  # noqa: SIM110 - asked of a whole line; any() takes thrice as long
            if not (job.finished or job.abandoned):
                return True
        return False

    def started(self) -> bool:
        """Whether one of the jobs has had the device."""
        for job in self.jobs:  # noqa: SIM110
            if job.started:
                return True
        return False

    def device_s(self) -> float:
        """Device seconds that the jobs took so far."""
        return sum(job.usage.device_s for job in self.jobs)

    def is_over(self) -> bool:
        """Whether all jobs have ended."""
        return all(job.finished for job in self.jobs)

    def place(self, position: int) -> Place:
        """Where it stands, if it is the one at that position."""
        left = [job for job in self.jobs if not (job.finished or job.abandoned)] or self.jobs[:1]
        return Place(position, self.owner, tuple(dict.fromkeys(job.kind for job in self.jobs)),
                     next((job.about for job in self.jobs if job.about), ""), self.started(),
                     tuple(job.job_id for job in left), left[0].progress)


def read_events(make: Callable[[], Group], submit: Callable[[Group], None],
                waiting: Callable[[Group], Progress], read: Callable[[RunEvent], Any],
                ) -> Generator[Any]:
    """Queue a group and read its events, in the order in which they were said, to the last.

    Args:
        make: makes the group, once somebody reads.
        submit: queues it.
        waiting: what is said, about once a second, of its jobs that have not begun; of one that has
            begun since and says nothing itself, a progress without words is read once.
        read: what is yielded of an event; what it raises ends the group.
    """
    group = make()
    submit(group)
    changed, unread = group.jobs[0].changed, list(group.jobs)
    shown_s, waited = time.monotonic(), set[int]()
    try:
        while unread:
            with changed:
                if not any(job.events or job.finished for job in unread):
                    changed.wait(MESSAGE_EVERY_S)
                taken = [(job, job.take()) for job in unread]
            posted = [each for _, (events, _) in taken for each in events]
            for each in sorted(posted, key=lambda each: each.at_s):
                waited.discard(each.index)
                yield read(each)
            unread = [job for job, (_, finished) in taken if not finished]
            if posted and time.monotonic() - shown_s < MESSAGE_EVERY_S:
                continue
            shown_s = time.monotonic()
            progress = waiting(group)
            for job in unread:
                if not job.started:
                    waited.add(job.index)
                    yield read(RunEvent(job.index, progress, job.usage))
                elif job.index in waited:
                    waited.discard(job.index)
                    yield read(RunEvent(job.index, Progress(), job.usage))
    finally:
        for job in group.jobs:
            job.abandoned = True


def compared(requests: Sequence[Any], job_ids: Sequence[str] | None,
             job_of: Callable[[Any, str | None], Job]) -> tuple[Job, ...]:
    """The jobs of a comparison.

    Args:
        requests: checked ones.
        job_ids: their names; None for new ones.
        job_of: makes the job of a request under a name.

    Raises:
        InvalidRequest: there is none of them, or two of them have one name.
    """
    if not requests:
        raise InvalidRequest("There is nothing to compare.", field="pipeline")
    jobs = tuple(job_of(request, job_id) for request, job_id in
                 zip(requests, job_ids or [None] * len(requests), strict=True))
    for job in jobs:
        job.changed = jobs[0].changed
    if len({job.job_id for job in jobs}) < len(jobs):
        raise InvalidRequest("Two jobs of a comparison have one name.")
    return jobs


def drawn_elsewhere(job: Job) -> Generator[Any]:
    """The ``work`` of a job that this process knows of and another one does."""
    raise AssertionError(f"the job {job.job_id} is not drawn here")

"""The device's queue: one job at a time or a few in turn, Stop within a step, nothing left behind.

Gradio frees its own concurrency slot before a cancelled step has ended, resumes a generator on
whichever thread is free, and may never resume it at all. The device therefore belongs to one
thread of the backend, which takes each step of each run; readers only read what it posts. Two
steps cannot overlap, and a reader that goes away holds nothing.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np

from pipelines.errors import Busy, Cancelled, EaselError, InvalidRequest
from pipelines.events import Event, Preview, Progress, Result
from pipelines.features import Features, embed_images, embed_texts
from pipelines.metadata import provenance
from pipelines.model_cache import ModelCache
from pipelines.registry import Registry, RunContext
from pipelines.request import Request, resolve_seed, validate
from pipelines.rerank import RANKER, rank
from pipelines.walk import Walk, walk
from serving.interface import Backend, Requested
from serving.jobs import Group, Job, RunEvent, Usage
from serving.metrics import Metrics
from serving.pace import Pace
from serving.paused_runs import Continuation, PausedRuns, RunKeeper
from serving.turns import Recorder, Turns

__all__ = ["Backend", "LocalBackend"]
logger = logging.getLogger(__name__)
MESSAGE_EVERY_S = 1.0
GRACE_EVENTS = 8  # what a stopped run may still say before its Result (ranking, say)


class LocalBackend:
    """Runs jobs one after the other on this machine's device, on a thread of its own.

    The jobs of a comparison take turns. Nothing else does: a queue that moves on is shorter for
    everybody than one in which all wait for all.

    Args:
        registry: the pipelines.
        cache: the models; its device and dtype are those of the runs.
        max_waiting: how many jobs may wait while one runs.
        max_per_owner: how many jobs of one user may wait or run; None for no limit.
        record: keeps every result for its owner, as ``history.recorder.Recorder`` does, before
            it is posted; None to keep nothing.
        paused: where runs are kept that are paused; None where none can be.
    """

    def __init__(self, registry: Registry, cache: ModelCache, max_waiting: int = 20,
                 max_per_owner: int | None = None, record: Recorder | None = None,
                 paused: PausedRuns | None = None) -> None:
        self.registry, self.cache, self.paused = registry, cache, paused
        self.max_waiting, self.max_per_owner = max_waiting, max_per_owner
        self._jobs: dict[str, Job] = {}  # unfinished
        self._groups: list[Group] = []  # unfinished, in the order of their coming
        self._lock = threading.Lock()
        self._pace = Pace()
        self.metrics = Metrics(cache, self.queue)
        self._open = True
        self._turns = Turns(cache, self._admit, self._end, record)
        self._device = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")

    def stream(self, request: Requested, job_id: str | None = None, owner: str = "",
               can_pause: bool = True, pause_after: int | None = None,
               ) -> Generator[Event, None, None]:
        """Run a request; see ``Backend.stream``."""
        job = self._job(request, job_id)
        if self.paused is not None and can_pause and self.registry.get(job.kind).can_pause:
            job.keeper = RunKeeper(self.paused, owner, pause_after=pause_after)
        if pause_after is not None:
            self._may_pause(job)
        yield from self._alone(job, owner)

    def go_on(self, continuation: Continuation, job_id: str | None = None,
              ) -> Generator[Event, None, None]:
        """Let a paused run go on; see ``Backend.go_on``."""
        job = self._job(continuation.request, job_id)
        job.keeper = continuation.keeper
        yield from self._alone(job, continuation.keeper.owner)

    def pause(self, job_id: str) -> bool:
        """Put a run aside; see ``Backend.pause``."""
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            return False
        self._may_pause(job).ask()
        return True

    def compare(self, requests: Sequence[Requested], job_ids: Sequence[str] | None = None,
                budget_s: float | None = None, together: int = 4, owner: str = "",
                ) -> Generator[RunEvent, None, None]:
        """Run several requests in turn; see ``Backend.compare``."""
        if not requests:
            raise InvalidRequest("There is nothing to compare.", "pipeline")
        changed = threading.Condition(threading.Lock())
        jobs = [self._job(request, job_id, budget_s, changed) for request, job_id in
                zip(requests, job_ids or [None] * len(requests), strict=True)]
        if len({job.job_id for job in jobs}) < len(jobs):
            raise InvalidRequest("Two jobs of a comparison have one name.")
        with closing(self._events(Group(tuple(jobs), owner, together))) as events:
            for job, event, usage in events:
                yield RunEvent(jobs.index(job), event, usage)

    def rank(self, images: Sequence[np.ndarray], prompts: Sequence[str],
             ) -> list[dict[str, Any]]:
        """Rank pictures by the embedded ranker; see ``Backend.rank``."""
        def work(job: Job) -> list[dict[str, Any]]:
            with self.cache.lease(RANKER, cancelled=job.cancelled) as clip:
                return rank(images, prompts, clip)

        return self._take_turn(work, "rank")

    def embed(self, model_id: str, images: Sequence[np.ndarray] = (), texts: Sequence[str] = (),
              job_id: str | None = None) -> Features:
        """Features of pictures and texts; see ``Backend.embed``."""
        def work(job: Job) -> Features:
            with self.cache.lease(model_id, cancelled=job.cancelled) as clip:
                fingerprint = self.cache.fingerprints([model_id])[model_id] or "not known"
                return Features(
                    model_id, fingerprint, clip.image_size, clip.logit_scale,
                    embed_images(images, clip, job.cancelled),
                    embed_texts(texts, clip, job.cancelled))

        return self._take_turn(work, "embed", job_id)

    def walk(self, plan: Walk, job_id: str | None = None, owner: str = "",
             ) -> Generator[Progress | Preview | np.ndarray, None, None]:
        """Frames between two prompts or pictures; see ``Backend.walk``."""
        yield from self._turn(lambda job: walk(plan, self.cache, job.cancelled, job.post), "walk",
                              job_id, owner)

    def cancel(self, job_id: str) -> bool:
        """Stop a waiting or running job; see ``Backend.cancel``."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return False
            job.stopped = True
            if job.keeper is not None:
                job.keeper.ask(False)  # who stops wants pictures
            if not job.started:
                del self._jobs[job_id]
                job.finish(Cancelled("The job was stopped before it began."))
        return True

    def queue(self) -> tuple[int, int]:
        """How many jobs run, and how many wait."""
        with self._lock:
            started = [job.started for job in self._jobs.values() if not job.abandoned]
        return sum(started), len(started) - sum(started)

    def is_open(self) -> bool:
        """Whether it still takes jobs."""
        return self._open

    def close(self) -> None:
        """Stop every job and end the device's thread; a run that can be paused is."""
        self._open = False
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            if job.keeper is not None and job.started:
                job.keeper.ask()
                job.stopped = True  # should there be no room to pause it
            else:
                self.cancel(job.job_id)
        self._device.shutdown(wait=True, cancel_futures=True)

    # What follows runs in the reader's thread.

    def _job(self, request: Requested, job_id: str | None, budget_s: float | None = None,
             changed: threading.Condition | None = None) -> Job:
        checked = validate(request, self.registry)
        checked = checked.model_copy(update={"seed": resolve_seed(checked)})
        models = self.registry.get(checked.pipeline).models_of(checked)
        return Job(job_id or uuid.uuid4().hex, partial(self._steps, checked), checked.pipeline,
                   models, budget_s,
                   changed=changed or threading.Condition(threading.Lock()))

    def _take_turn(self, work: Callable[[Job], Any], kind: str, job_id: str | None = None) -> Any:
        """Wait for the device, and for work on it that says nothing meanwhile."""
        *_, found = self._turn(work, kind, job_id)
        return found

    def _turn(self, work: Callable[[Job], Any], kind: str, job_id: str | None = None,
              owner: str = "") -> Generator[Any]:
        """The events of work on the device, then what it found."""
        found: list[Any] = []

        def steps(job: Job) -> Generator[Event]:
            found.append(work(job))
            yield from ()

        job = Job(job_id or uuid.uuid4().hex, steps, kind)
        yield from self._alone(job, owner)
        yield found[0]

    def _alone(self, job: Job, owner: str) -> Generator[Event]:
        with closing(self._events(Group((job,), owner))) as events:
            for _, event, _ in events:
                if isinstance(event, EaselError):
                    raise event
                yield event

    def _may_pause(self, job: Job) -> RunKeeper:
        """What a run is paused by.

        Raises:
            InvalidRequest: it is of a kind that cannot be paused.
            PausedRunError: its owner has the most paused runs already.
        """
        if job.keeper is None or self.paused is None:
            raise InvalidRequest("This run cannot be paused.", "pause_after")
        if job.keeper.start is None:
            self.paused.check_room(job.keeper.owner)
        return job.keeper

    def _submit(self, group: Group) -> None:
        with self._lock:
            for job in group.jobs:
                if job.job_id in self._jobs:
                    raise InvalidRequest(f"A job called {job.job_id[:40]!r} is on its way "
                                         "already.")
            alive = [g for g in self._groups if g.alive()]
            if len(alive) > self.max_waiting:
                raise Busy(f"The queue is full, {self.max_waiting} jobs are waiting: try again "
                           "in a minute.")
            own = sum(g.owner == group.owner for g in alive) if group.owner else 0
            if self.max_per_owner is not None and own >= self.max_per_owner:
                raise Busy(f"{own} jobs of yours are on their way, which is the most: wait for "
                           "one to end, or stop one.")
            try:
                self._device.submit(self._run, group)
            except RuntimeError:  # the executor's word for closed
                raise Busy("Easel is shutting down and takes no more jobs.") from None
            self._groups.append(group)
            self._jobs.update((job.job_id, job) for job in group.jobs)

    def _events(self, group: Group) -> Generator[tuple[Job, Event | EaselError, Usage]]:
        """Queue a group and read its events; each job's last is its Result or its error."""
        try:
            self._submit(group)
        except EaselError:
            for job in group.jobs:
                if job.keeper is not None:
                    job.keeper.release()
            raise
        try:
            yield from self._read(group)
        finally:
            for job in group.jobs:
                job.abandoned = True

    def _read(self, group: Group) -> Iterator[tuple[Job, Event | EaselError, Usage]]:
        changed = group.jobs[0].changed
        unread = list(group.jobs)
        told_s = time.monotonic()
        while unread:
            with changed:
                if not any(job.events or job.finished for job in unread):
                    changed.wait(MESSAGE_EVERY_S)
                taken = [(job, *job.take()) for job in unread]
            posted = [(job, each) for job, events, _ in taken for each in events]
            for job, each in sorted(posted, key=lambda pair: pair[1].at_s):
                yield job, each.event, each.usage
            for job, _, finished in taken:
                if finished:
                    unread.remove(job)
                    if job.error is not None:
                        yield job, job.error, job.usage
            if (any(events or finished for _, events, finished in taken)
                    and time.monotonic() - told_s < MESSAGE_EVERY_S):
                continue
            told_s = time.monotonic()
            for job in unread:
                if not job.started:
                    yield job, self._waiting(group), job.usage

    def _waiting(self, group: Group) -> Progress:
        with self._lock:
            index = self._groups.index(group) if group in self._groups else 0
            ahead = [other for other in self._groups[:index] if other.alive()]
        elapsed_s = time.monotonic() - group.submitted_s
        if not ahead:
            message = "Waiting for the others." if group.started() else "Waiting: next in line."
            return Progress(elapsed_s=elapsed_s, message=message)
        wait_s = self._pace.wait_s(ahead)
        about = "" if wait_s is None else f", about {max(1, round(wait_s))} s"
        return Progress(elapsed_s=elapsed_s, message=f"Waiting: {len(ahead)} ahead{about}.")

    # What follows runs in the device's thread.

    def _run(self, group: Group) -> None:
        """Run a group to its end; never raises."""
        try:
            self._turns.run(group)
        finally:
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
        if job.keeper is not None:
            job.keeper.end(error)
        job.finish(error)
        self._pace.note(job)
        self.metrics.note(job)
        logger.info("%s %s after %.2f s on the device and %.2f s of waiting", job.kind,
                    job.outcome(), job.usage.device_s, job.wait_s)

    def _steps(self, request: Request, job: Job) -> Generator[Event]:
        pipeline = self.registry.get(request.pipeline)
        context = RunContext(self.cache, self.cache.device, self.cache.dtype, job.cancelled,
                             waits_s=job.waits_s, keeper=job.keeper)
        late = 0
        run = cast("Generator[Event, None, None]", pipeline.run(request, context))
        with closing(run) as events:
            for event in events:
                if isinstance(event, Result):
                    yield self._with_provenance(event, request, job, context)
                    return
                late += job.cancelled()
                if job.abandoned or late > GRACE_EVENTS:
                    raise Cancelled
                yield event
        if job.cancelled():
            raise Cancelled
        raise RuntimeError(f"{pipeline.name} ended without a Result")

    def _with_provenance(self, result: Result, request: Request, job: Job,
                         context: RunContext) -> Result:
        """The result with what it takes to draw it again."""
        facts = provenance(request, self.cache.fingerprints(context.used_models))
        return replace(result, metadata={**facts, **result.metadata, "job_id": job.job_id})

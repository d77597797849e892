"""One job at a time on the device: a bounded queue, Stop within a step, nothing left behind.

Gradio frees its own concurrency slot before a cancelled step has ended, resumes a generator on
whichever thread is free, and may never resume it at all. The device therefore belongs to one
thread of the backend, which takes each step of each run; readers only read what it posts. Two runs
cannot overlap, and a reader that goes away holds nothing.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, cast

import numpy as np

from pipelines.errors import Busy, Cancelled, EaselError, InvalidRequest, OutOfMemory
from pipelines.events import Event, Preview, Progress, Result
from pipelines.metadata import provenance
from pipelines.model_cache import MEMORY_ERRORS, ModelCache
from pipelines.registry import Registry, RunContext
from pipelines.request import Request, resolve_seed, validate
from pipelines.rerank import RANKER, rank

logger = logging.getLogger(__name__)
MESSAGE_EVERY_S = 1.0
GRACE_EVENTS = 8  # what a stopped run may still say before its Result (ranking, say)


class Backend(Protocol):
    """Runs requests and streams their events."""

    def stream(self, request: Request | Mapping[str, Any], job_id: str | None = None,
               ) -> Generator[Event, None, None]:
        """Run a request.

        Args:
            request: a request, or its fields by name; checked before anything else.
            job_id: name for ``cancel``, chosen by the caller; a new one where None.

        Yields:
            ``Progress`` while waiting in the queue, then the events of the run; the last is a
            ``Result``. Closing the generator ends the job and frees the device.

        Raises:
            InvalidRequest: the request cannot be run.
            Busy: the queue is full.
            Cancelled: the job was stopped and has nothing to keep.
            EaselError: everything else that goes wrong, as one sentence.
        """
        ...

    def rank(self, images: Sequence[np.ndarray], prompts: Sequence[str],
             ) -> list[dict[str, Any]]:
        """Rank pictures by the embedded ranker, in turn with the other jobs.

        Args:
            images: (H, W, 3) uint8 RGB each, at least one.
            prompts: at least one.

        Returns:
            See ``pipelines.rerank.rank``.

        Raises:
            Busy: the queue is full.
            EaselError: everything else that goes wrong, as one sentence.
        """
        ...

    def cancel(self, job_id: str) -> bool:
        """Stop a waiting or running job within a step; False where there is no such job."""
        ...


@dataclass(eq=False)
class _Job:
    """Something to do on the device, on its way through the queue.

    ``stopped`` and ``abandoned`` are plain flags, set without any lock: a generator may be closed
    by the garbage collector inside whatever code happens to run.
    """

    job_id: str
    work: Callable[[_Job], None]
    stopped: bool = False
    abandoned: bool = False
    started: bool = False
    finished: bool = False
    error: EaselError | None = None
    events: list[Event] = field(default_factory=list)
    changed: threading.Condition = field(
        default_factory=lambda: threading.Condition(threading.Lock()))

    def cancelled(self) -> bool:
        """Whether the run should end at its next step."""
        return self.stopped or self.abandoned

    def post(self, event: Event) -> None:
        """Hand an event to the reader; a newer preview replaces one that was not read yet."""
        with self.changed:
            if isinstance(event, Preview):
                self.events = [e for e in self.events if not isinstance(e, Preview)]
            self.events.append(event)
            self.changed.notify_all()

    def finish(self, error: EaselError | None) -> None:
        """Record the outcome, once."""
        with self.changed:
            if not self.finished:
                self.finished, self.error = True, error
            self.changed.notify_all()


class LocalBackend:
    """Runs jobs one after the other on this machine's device, on a thread of its own.

    Args:
        registry: the pipelines.
        cache: the models; its device and dtype are those of the runs.
        max_waiting: how many jobs may wait while one runs.
    """

    def __init__(self, registry: Registry, cache: ModelCache, max_waiting: int = 20) -> None:
        self.registry, self.cache, self.max_waiting = registry, cache, max_waiting
        self._jobs: dict[str, _Job] = {}  # unfinished, in the order of their coming
        self._lock = threading.Lock()
        self._device = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")

    def stream(self, request: Request | Mapping[str, Any], job_id: str | None = None,
               ) -> Generator[Event, None, None]:
        """Run a request; see ``Backend.stream``."""
        checked = validate(request, self.registry)
        checked = checked.model_copy(update={"seed": resolve_seed(checked)})
        job = self._submit(_Job(job_id or uuid.uuid4().hex, partial(self._steps, checked)))
        try:
            yield from self._read(job)
        finally:
            job.abandoned = True

    def rank(self, images: Sequence[np.ndarray], prompts: Sequence[str],
             ) -> list[dict[str, Any]]:
        """Rank pictures by the embedded ranker; see ``Backend.rank``."""
        found: list[dict[str, Any]] = []

        def work(job: _Job) -> None:
            with self.cache.lease(RANKER, cancelled=job.cancelled) as clip:
                found.extend(rank(images, prompts, clip))

        for _ in self._read(self._submit(_Job(uuid.uuid4().hex, work))):
            pass
        return found

    def cancel(self, job_id: str) -> bool:
        """Stop a waiting or running job; see ``Backend.cancel``."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return False
            job.stopped = True
            if not job.started:
                del self._jobs[job_id]
                job.finish(Cancelled("The job was stopped before it began."))
        return True

    def close(self) -> None:
        """Stop every job and end the device's thread."""
        with self._lock:
            job_ids = list(self._jobs)
        for job_id in job_ids:
            self.cancel(job_id)
        self._device.shutdown(wait=True, cancel_futures=True)

    # What follows runs in the reader's thread.

    def _submit(self, job: _Job) -> _Job:
        with self._lock:
            if job.job_id in self._jobs:
                raise InvalidRequest(f"A job called {job.job_id[:40]!r} is on its way already.")
            alive = [j for j in self._jobs.values() if not j.abandoned]
            if len(alive) > self.max_waiting:
                raise Busy(f"The queue is full, {self.max_waiting} jobs are waiting: try again "
                           "in a minute.")
            try:
                self._device.submit(self._run, job)
            except RuntimeError:  # the executor's word for closed
                raise Busy("Easel is shutting down and takes no more jobs.") from None
            self._jobs[job.job_id] = job
        return job

    def _read(self, job: _Job) -> Iterator[Event]:
        start = time.monotonic()
        while True:
            with job.changed:
                if not job.events and not job.finished:
                    job.changed.wait(MESSAGE_EVERY_S)
                events, job.events = job.events, []
                finished = job.finished
            yield from events
            if finished:
                break
            if not job.started and not events:
                yield Progress(elapsed_s=time.monotonic() - start, message=self._position(job))
        if job.error is not None:
            raise job.error

    def _position(self, job: _Job) -> str:
        with self._lock:
            ahead = 0
            for other in self._jobs.values():
                if other is job:
                    break
                ahead += not other.abandoned
        return f"Waiting: {ahead} ahead." if ahead else "Waiting: next in line."

    # What follows runs in the device's thread.

    def _run(self, job: _Job) -> None:
        """Run a job to its end; never raises."""
        with self._lock:
            job.started = True
            skip = job.cancelled()
        error: EaselError | None = Cancelled()
        try:
            if not skip:
                error = self._outcome(job)
        finally:
            with self._lock:
                if self._jobs.get(job.job_id) is job:
                    del self._jobs[job.job_id]
            job.finish(error)

    def _outcome(self, job: _Job) -> EaselError | None:
        """Post the events of a run; returns what went wrong, without the frames it held."""
        try:
            job.work(job)
        except EaselError as error:
            plain = error
        except MEMORY_ERRORS:
            logger.exception("job %s ran out of memory", job.job_id)
            self.cache.evict_idle()
            plain = OutOfMemory("The device ran out of memory: ask for fewer or smaller pictures.")
        except Exception:
            logger.exception("job %s failed", job.job_id)
            plain = EaselError(f"Something went wrong inside Easel; the server's log has the "
                               f"details under job {job.job_id}.")
        else:
            return None
        # A traceback keeps the frames of the run, and with them its tensors, alive.
        plain.__cause__ = plain.__context__ = None
        return plain.with_traceback(None)

    def _steps(self, request: Request, job: _Job) -> None:
        pipeline = self.registry.get(request.pipeline)
        context = RunContext(self.cache, self.cache.device, self.cache.dtype, job.cancelled)
        late = 0
        run = cast("Generator[Event, None, None]", pipeline.run(request, context))
        with closing(run) as events:
            for event in events:
                if isinstance(event, Result):
                    job.post(self._with_provenance(event, request, job, context))
                    return
                late += job.cancelled()
                if job.abandoned or late > GRACE_EVENTS:
                    raise Cancelled
                job.post(event)
        if job.cancelled():
            raise Cancelled
        raise RuntimeError(f"{pipeline.name} ended without a Result")

    def _with_provenance(self, result: Result, request: Request, job: _Job,
                         context: RunContext) -> Result:
        """The result with what it takes to draw it again."""
        facts = provenance(request, self.cache.fingerprints(context.used_models))
        return replace(result, metadata={**facts, **result.metadata, "job_id": job.job_id})

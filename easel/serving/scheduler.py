"""Jobs on the device's thread: step by step in turn, whoever has had least of it first.

With equal shares, a run of few long steps and one of many short ones get the same seconds, which
round robin by steps would not give them. Source: Waldspurger and Weihl, "Stride Scheduling"
(1995), section 2, with all tickets equal and the measured seconds as the stride.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import cached_property

import structlog

from easel.history.records import KeptLater
from easel.serving.jobs import Found, Group, Job
from easel.serving.usage import StepProfiler
from pipelines.core.errors import Cancelled, EaselError, InvalidRequest, OutOfMemory
from pipelines.core.events import Event, Result
from pipelines.models.batches import is_out_of_memory
from pipelines.models.cache.cache import ModelCache

logger = logging.getLogger(__name__)


Recorder = Callable[[Result, str], Result]


@dataclass(eq=False)
class _RunningJob:
    """A job that has begun."""

    job: Job
    owner: str

    @cached_property
    def steps(self) -> Generator[Event | Found]:
        """Its steps; they are made by the first one."""
        return self.job.work(self.job)


class Scheduler:
    """Runs groups of jobs to their ends, on the thread that calls ``run``.

    Args:
        cache: the models; idle ones are dropped where memory runs out.
        admit: marks a job as started and says whether it should begin; False ends it.
        end: takes every job that has ended, and what went wrong with it.
        over: takes every group whose jobs have all ended.
        record: keeps a result for its owner and returns it as kept; None to keep nothing.
    """

    def __init__(self, cache: ModelCache, admit: Callable[[Job], bool],
                 end: Callable[[Job, EaselError | None], None], over: Callable[[Group], None],
                 record: Recorder | None = None) -> None:
        self._cache, self._admit, self._end_job = cache, admit, end
        self._over, self._record = over, record
        self._profiler = StepProfiler(cache)

    def run(self, group: Group) -> None:
        """Run the jobs of a group; never raises."""
        waiting, running = list(group.jobs), list[_RunningJob]()
        try:
            while self._begin(waiting, running, group):
                # Who was stopped has only to hand over what there is.
                current = min(running, key=lambda t: (not t.job.cancelled(), t.job.usage.device_s))
                job = current.job
                with structlog.contextvars.bound_contextvars(job_id=job.job_id, kind=job.kind):
                    try:
                        with self._profiler.step(job):
                            event = _checked(job, current.steps, next(current.steps, None))
                    except BaseException as error:
                        over = self._end(job, self._plain(job, error))
                    else:
                        over = self._post(current, event)
                if over:
                    running.remove(current)
        finally:
            self._over(group)

    def _begin(self, waiting: list[Job], running: list[_RunningJob], group: Group) -> bool:
        """Let jobs begin whose models fit beside those of the jobs that have begun; whether any
        job has begun."""
        for job in list(waiting):
            if len(running) >= group.together:
                break
            models = {m for current in running for m in current.job.models} | set(job.models)
            if running and not job.cancelled() and not self._cache.fits(models):
                continue
            waiting.remove(job)
            if self._admit(job):
                running.append(_RunningJob(job, group.owner))
            else:
                self._end(job, Cancelled())
        return bool(running)

    def _post(self, current: _RunningJob, event: Event | Found) -> bool:
        """Post what a step brought; True where it was the last."""
        job = current.job
        if isinstance(event, Result):
            return self._finish(current, replace(event, metadata={**event.metadata,
                                                                  **_facts(job)}))
        job.post(event)
        if job.limit_s is not None and job.usage.device_s >= job.limit_s:
            job.over_limit = job.over_limit or not job.cancelled()
            job.stopped = True
        if job.budget_s is not None and job.usage.device_s >= job.budget_s:
            job.out_of_time = job.out_of_time or not job.stopped
            job.stopped = True
        return isinstance(event, Found) and self._end(job, None)

    def _finish(self, current: _RunningJob, result: Result) -> bool:
        """Keep a result, then post it; where it cannot be kept, it is posted all the same."""
        error = None
        try:
            if self._record is not None:
                result = self._record(result, current.owner)
        except KeptLater as fault:
            result, error = fault.result, self._plain(current.job, fault)
        except Exception as fault:
            error = self._plain(current.job, fault)
        current.job.post(result)
        return self._end(current.job, error)

    def _end(self, job: Job, error: EaselError | None) -> bool:
        self._profiler.forget(job)
        self._end_job(job, error)
        return True

    def _plain(self, job: Job, error: BaseException) -> EaselError:
        """What went wrong as a sentence, without the frames that the run held."""
        if isinstance(error, Cancelled) and job.over_limit:
            plain: EaselError = InvalidRequest(
                "The run was ended after {:,} s on the device, the most that one may take here: "
                "ask for fewer or smaller pictures.", job.limit_s)
        elif isinstance(error, EaselError):
            plain = error
        elif is_out_of_memory(error):
            logger.error("job %s ran out of memory", job.job_id, exc_info=error)
            self._cache.evict_idle()
            plain = OutOfMemory("The device ran out of memory: ask for fewer or smaller pictures.")
        else:
            logger.error("job %s failed", job.job_id, exc_info=error)
            plain = EaselError("Something went wrong inside Easel; the server's log has the "
                               "details under job {}.", job.job_id)
        # A traceback keeps the frames of the run, and with them its tensors, alive.
        plain.__cause__ = plain.__context__ = None
        return plain.with_traceback(None)


def _checked(job: Job, steps: Generator[Event | Found], event: Event | Found | None,
             ) -> Event | Found:
    """What a step brought; a result with what it takes to draw it again.

    Raises:
        Cancelled: the job was to end, and does not, or has nothing to show for it.
    """
    if event is None:
        raise Cancelled if job.cancelled() else RuntimeError(f"{job.kind} ended without a Result")
    if isinstance(event, Result):
        steps.close()  # before its reader hears of it: nothing is leased then
        return replace(event, metadata={**job.provenance(), **event.metadata})
    if job.overdue():
        steps.close()
        raise Cancelled
    return event


def _facts(job: Job) -> dict[str, float | int]:
    """What a run took, JSON-ready, for the metadata of its pictures."""
    facts: dict[str, float | int] = {"device_s": round(job.usage.device_s, 3)}
    if job.usage.peak_memory_bytes is not None:
        facts["peak_memory_bytes"] = job.usage.peak_memory_bytes
    if job.budget_s is not None:
        facts["time_budget_s"] = job.budget_s
    if job.over_limit and job.limit_s is not None:
        facts["time_limit_s"] = job.limit_s
    return facts

"""Requests as jobs on this machine's device, and what other work is done on it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from easel.serving.interface import Answer
from easel.serving.job_queue import JobQueue
from easel.serving.jobs import Found, Group, Job, Place, Requester, RunEvent, compared
from easel.serving.paused_runs import PausedRuns, check_pause
from easel.serving.scheduler import Recorder
from easel.serving.told import found_of
from pipelines.checkpointer import Checkpointer
from pipelines.core.errors import EaselError, PausedRunError
from pipelines.core.events import Event, Preview, Progress
from pipelines.core.metadata import provenance
from pipelines.core.request import CheckedRequest
from pipelines.inside.question import Question
from pipelines.models.cache.cache import ModelCache
from pipelines.models.cache.inventory import ModelInventory, inventory_of
from pipelines.models.clip_features import Features, embed_images, embed_texts
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from pipelines.suited import FAMILIARITY, unlike_the_world
from pipelines.unclip.walk import Walk, walk


class LocalBackend:
    """Runs requests one after the other on this machine's device, those of a comparison in turn.

    Args:
        registry: the pipelines.
        cache: the models; its device and dtype are those of the runs.
        max_waiting: how many jobs may wait while one runs.
        max_per_owner: how many jobs of one user may wait or run; None for no limit.
        record: keeps every result for its owner, as ``easel.history.recorder.Recorder`` does,
            before it is posted; None to keep nothing.
        paused: where runs are kept that are paused; None where none can be.
        max_job_s: device seconds of one visitor's job; None for no limit.
        minute_s: device seconds of one visitor in a minute, on average; None for no limit.

    Attributes:
        requester: tells who asks now, so that jobs without an owner's name are counted too.
        jobs: the device's queue.
        metrics: what has been done.
    """

    def __init__(self, registry: Registry, cache: ModelCache, max_waiting: int = 20,
                 max_per_owner: int | None = None, record: Recorder | None = None,
                 paused: PausedRuns | None = None, max_job_s: float | None = None,
                 minute_s: float | None = None) -> None:
        self.registry, self.cache, self.paused = registry, cache, paused
        self.jobs = JobQueue(cache, max_waiting, max_per_owner, record, minute_s)
        self.metrics = self.jobs.metrics
        self.max_job_s = max_job_s
        self.requester: Callable[[], Requester] = Requester

    def stream(self, request: CheckedRequest[Any], job_id: str | None = None, owner: str = "",
               can_pause: bool = True, pause_after: int | None = None,
               ) -> Generator[Event, None, None]:
        """Run a request; see ``Backend.stream``."""
        job = self._job(request, job_id)
        keeps = bool(owner) and can_pause and self.registry.get(job.kind).can_pause
        if self.paused is not None and keeps:
            job.checkpointer = self.paused.checkpointer(owner, pause_after=pause_after)
        if pause_after is not None:
            self._may_pause(job)
        return self.jobs.events(lambda: self._group((job,), owner), opened)

    def resume(self, owner: str, run_id: str, changes: Mapping[str, Any] | None = None,
               branch: bool = False, pause_after: int | None = None, job_id: str | None = None,
               ) -> Generator[Event, None, None]:
        """Resume a paused run; see ``Backend.resume``."""
        def group() -> Group:
            if self.paused is None:
                raise PausedRunError("No run can be paused here.")
            checkpointer = self.paused.resume(owner, run_id, self.registry, changes, branch,
                                              pause_after)
            try:
                assert checkpointer.request is not None
                job = self._job(checkpointer.request, job_id)
                job.checkpointer = checkpointer
                return self._group((job,), owner)
            except BaseException:
                checkpointer.release()
                raise

        return self.jobs.events(group, opened)

    def pause(self, job_id: str) -> bool:
        """Pause a run; see ``Backend.pause``."""
        job = self.jobs.find(job_id)
        if job is None:
            return False
        self._may_pause(job).ask()
        return True

    def compare(self, requests: Sequence[CheckedRequest[Any]], job_ids: Sequence[str] | None = None,
                budget_s: float | None = None, together: int = 4, owner: str = "",
                ) -> Generator[RunEvent, None, None]:
        """Run several requests in turn; see ``Backend.compare``."""
        def group() -> Group:
            return self._group(compared(requests, job_ids, lambda request, job_id:
                                        self._job(request, job_id, budget_s)), owner, together)

        return self.jobs.events(group, lambda said: said)

    def embed(self, model_id: str, images: Sequence[np.ndarray] = (), texts: Sequence[str] = (),
              job_id: str | None = None) -> Features:
        """Features of pictures and texts; see ``Backend.embed``."""
        def work(job: Job) -> Features:
            with self._context(job).lease(model_id) as clip:
                fingerprint = self.cache.fingerprints([model_id])[model_id] or "not known"
                return Features(
                    model_id, fingerprint, clip.image_size, clip.logit_scale,
                    embed_images(clip, images, job.cancelled),
                    embed_texts(clip, texts, job.cancelled))

        return self._found(work, "embed", job_id)

    def unlike_the_world(self, images: Sequence[np.ndarray], job_id: str | None = None,
                         ) -> np.ndarray:
        """Whether pictures are unlike the embedded world; see ``Backend.unlike_the_world``."""
        def work(job: Job) -> np.ndarray:
            with self._context(job).lease(FAMILIARITY) as model:
                return unlike_the_world(images, model)

        return self._found(work, "look", job_id)

    def inside(self, question: Question[Answer], job_id: str | None = None) -> Answer:
        """What models say to a question; see ``Backend.inside``."""
        return self._found(lambda job: question.answer(self.cache, job.cancelled), "inside", job_id)

    def walk(self, plan: Walk, job_id: str | None = None, owner: str = "",
             ) -> Generator[Progress | Preview | Found, None, None]:
        """Frames between two prompts or pictures; see ``Backend.walk``."""
        return self._work(lambda job: walk(plan, self._context(job), job.post), "walk", job_id,
                          owner)

    def cancel(self, job_id: str) -> bool:
        """Stop a waiting or running job; see ``Backend.cancel``."""
        return self.jobs.cancel(job_id)

    def suspend(self, but: str = "") -> None:
        """Stop everybody's jobs and take no more; see ``Backend.suspend``."""
        self.jobs.suspend(but)

    def unsuspend(self) -> None:
        """Take everybody's jobs again."""
        self.jobs.unsuspend()

    def is_suspended(self) -> bool:
        """Whether most may not draw now."""
        return self.jobs.is_suspended()

    def places(self) -> list[Place]:
        """What runs and waits; see ``Backend.places``."""
        return self.jobs.places()

    def has_room(self, owner: str) -> bool:
        """Whether one more job would be taken; see ``Backend.has_room``."""
        requester = self.requester()
        return self.jobs.has_room(owner or requester.visitor, requester.address)

    def queue(self) -> tuple[int, int]:
        """How many jobs run, and how many wait."""
        return self.jobs.counts()

    def device(self) -> str:
        """What it computes on."""
        return str(self.cache.device)

    def figures(self) -> bytes:
        """What it has done and holds; see ``Backend.figures``."""
        return self.metrics.render()

    def models(self, offline: bool = False) -> ModelInventory | None:
        """Its models; see ``Backend.models``."""
        return inventory_of(self.cache, offline)

    def runners(self) -> None:
        """None: it draws itself; see ``Backend.runners``."""
        return

    def is_open(self) -> bool:
        """Whether it still takes jobs."""
        return self.jobs.is_open

    def close(self) -> None:
        """Stop every job and end the device's thread; a run that can be paused is."""
        self.jobs.close()

    def abort_jobs(self) -> None:
        """After a ``close`` that takes too long: end every job, so that its readers return."""
        self.jobs.abort_jobs()

    def _job(self, request: CheckedRequest[Any], job_id: str | None, budget_s: float | None = None,
             ) -> Job:
        models = self.registry.get(request.pipeline).models_of(request)
        return Job(job_id or uuid.uuid4().hex, partial(self._begin, request), request.pipeline,
                   request.prompt, models, budget_s)

    def _found(self, work: Callable[[Job], Any], kind: str, job_id: str | None = None) -> Any:
        """What work on the device brings; see ``found_of``."""
        return found_of(self._work(work, kind, job_id))

    def _work(self, work: Callable[[Job], Any], kind: str, job_id: str | None = None,
              owner: str = "") -> Generator[Any]:
        """The events of work on the device, the last of them what it brings."""
        def steps(job: Job) -> Generator[Found]:
            yield Found(work(job))

        job = Job(job_id or uuid.uuid4().hex, steps, kind)
        return self.jobs.events(lambda: self._group((job,), owner), opened)

    def _group(self, jobs: tuple[Job, ...], owner: str, together: int = 1) -> Group:
        requester = self.requester()
        if requester.visitor:
            for job in jobs:
                job.limit_s = self.max_job_s
        return Group(jobs, owner or requester.visitor, together, requester.address)

    def _may_pause(self, job: Job) -> Checkpointer:
        """What a run is paused by; errors are those of ``check_pause``."""
        by = job.checkpointer or Checkpointer()
        check_pause(self.paused, job.checkpointer is not None, by.owner, by.start is not None)
        return by

    def _context(self, job: Job) -> RunContext:
        """What the run of a job may use."""
        return RunContext(self.cache, self.cache.device, self.cache.dtype, job.cancelled,
                          waits_s=job.waits_s, checkpointer=job.checkpointer or Checkpointer())

    def _begin(self, request: CheckedRequest[Any], job: Job) -> Generator[Event]:
        """The steps of a job that draws."""
        context = self._context(job)
        job.provenance = lambda: provenance(
            request, self.cache.fingerprints(context.used_models)) | {"job_id": job.job_id}
        return cast("Generator[Event]", self.registry.get(request.pipeline).run(request, context))


def opened(said: RunEvent) -> Any:
    """What a job that is read alone says, without its envelope; its error is raised."""
    if isinstance(said.event, EaselError):
        raise said.event
    return said.event

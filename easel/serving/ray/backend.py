"""The backend of a front end: it draws nothing itself, and sends what is asked for to runners."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

from easel.serving.backend import opened
from easel.serving.interface import Answer
from easel.serving.job_queue import CUT_AND_KEPT, CUT_SHORT
from easel.serving.jobs import (
    Found,
    Group,
    Job,
    Place,
    Requester,
    RunEvent,
    RunnerCounts,
    compared,
    read_events,
)
from easel.serving.line import CLOSING
from easel.serving.metrics import Metrics
from easel.serving.paused_runs import PausedRuns, check_pause
from easel.serving.ray.calls import Call, CallOf, always, far_job
from easel.serving.ray.fleet import FleetInventory
from easel.serving.ray.link import SOON_S, Link
from easel.serving.ray.messages import Kept, Ticket
from easel.serving.ray.trip import Trip
from easel.serving.told import found_of
from pipelines.core.errors import Busy, EaselError, PausedRunError
from pipelines.core.events import Event, Preview, Progress
from pipelines.core.request import CheckedRequest
from pipelines.inside.question import Question
from pipelines.models.cache.cache import ModelCache
from pipelines.models.cache.inventory import Models
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.clip_features import Features
from pipelines.registry import Registry
from pipelines.suited import FAMILIARITY
from pipelines.unclip.walk import Walk

logger = logging.getLogger(__name__)
BEAT_EVERY_S = 2.0


class RayBackend:
    """Runs requests on the runners of a cluster; see ``easel.serving.interface.Backend``.

    Args:
        registry: the pipelines, which check requests here.
        link: to the cluster.
        paused: where runs are kept that are paused, by runners too; None where none can be.
        catalogue: of the runners' models; None where they come from none.

    Attributes:
        link: to the cluster.
    """

    def __init__(self, registry: Registry, link: Link, paused: PausedRuns | None = None,
                 catalogue: Catalogue | None = None) -> None:
        self.registry, self.paused = registry, paused
        self._fleet = None if catalogue is None else FleetInventory(link.models, catalogue)
        self.requester: Callable[[], Requester] = Requester
        self.metrics = Metrics(self.queue, self._holdings, self.runners)
        self.link, self._front = link, uuid.uuid4().hex
        self._trips: set[Trip] = set()
        self._lock = threading.Lock()
        self._open, self._over = True, threading.Event()
        self._left = SimpleQueue[Trip | None]()  # trips that nobody reads any more
        for work in (self._beat, self._leave):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    @property
    def cache(self) -> ModelCache | None:
        """None: the models are the runners'."""
        return None

    def stream(self, request: CheckedRequest[Any], job_id: str | None = None, owner: str = "",
               can_pause: bool = True, pause_after: int | None = None,
               ) -> Generator[Event, None, None]:
        """Run a request; see ``Backend.stream``."""
        job = self._job(request, job_id)
        keeps = (self.paused is not None and bool(owner) and can_pause
                 and self.registry.get(job.kind).can_pause)
        if pause_after is not None:
            check_pause(self.paused, keeps, owner, resumes=False)

        def call(left: Sequence[int], kept: Kept | None) -> Call:
            if kept is not None and self._saved_s(owner, kept):
                return Call("resume", {"owner": owner, "run_id": kept.run_id,
                                       "job_id": job.job_id, "pause_after": pause_after})
            return Call("stream", {"request": request, "job_id": job.job_id, "owner": owner,
                                   "can_pause": keeps, "pause_after": pause_after})

        return self._events(lambda: ((job,), call), opened, owner, keeps)

    def resume(self, owner: str, run_id: str, changes: Mapping[str, Any] | None = None,
               branch: bool = False, pause_after: int | None = None, job_id: str | None = None,
               ) -> Generator[Event, None, None]:
        """Resume a paused run; see ``Backend.resume``."""
        def make() -> tuple[tuple[Job, ...], CallOf]:
            if self.paused is None:
                raise PausedRunError("No run can be paused here.")
            job = self._job(self.paused.plan(owner, run_id, self.registry, changes, branch), job_id)
            saved_s = self.paused.saved_s(owner, run_id)

            def call(left: Sequence[int], kept: Kept | None) -> Call:
                # What a lost runner has kept since has the changes in it.
                if kept is not None and self._saved_s(owner, kept) not in (0.0, saved_s):
                    return Call("resume", {"owner": owner, "run_id": kept.run_id, "changes": None,
                                           "branch": False, "job_id": job.job_id,
                                           "pause_after": pause_after})
                return Call("resume", {"owner": owner, "run_id": run_id, "changes": changes,
                                       "branch": branch, "job_id": job.job_id,
                                       "pause_after": pause_after})

            return (job,), call

        return self._events(make, opened, owner, True, True)

    def pause(self, job_id: str) -> bool:
        """Pause a run; see ``Backend.pause``."""
        ticket: Ticket | None = self.link.ask("find", job_id)
        if ticket is None:
            return False
        check_pause(self.paused, ticket.can_pause, ticket.requester.visitor, ticket.resumes)
        return self.link.ask("pause", job_id)

    def compare(self, requests: Sequence[CheckedRequest[Any]], job_ids: Sequence[str] | None = None,
                budget_s: float | None = None, together: int = 4, owner: str = "",
                ) -> Generator[RunEvent, None, None]:
        """Run several requests in turn; see ``Backend.compare``."""
        def make() -> tuple[tuple[Job, ...], CallOf]:
            jobs = compared(requests, job_ids, lambda request, job_id:
                            self._job(request, job_id, budget_s))

            def call(left: Sequence[int], kept: Kept | None) -> Call:
                return Call("compare", {"requests": [requests[index] for index in left],
                                        "job_ids": [jobs[index].job_id for index in left],
                                        "budget_s": budget_s, "together": together,
                                        "owner": owner})

            return jobs, call

        return self._events(make, lambda said: said, owner)

    def embed(self, model_id: str, images: Sequence[np.ndarray] = (), texts: Sequence[str] = (),
              job_id: str | None = None) -> Features:
        """Features of pictures and texts; see ``Backend.embed``."""
        return self._found("embed", "embed", (model_id,), job_id,
                           {"model_id": model_id, "images": images, "texts": texts})

    def unlike_the_world(self, images: Sequence[np.ndarray], job_id: str | None = None,
                         ) -> np.ndarray:
        """Whether pictures are unlike the embedded world; see ``Backend.unlike_the_world``."""
        return self._found("unlike_the_world", "look", (FAMILIARITY,), job_id, {"images": images})

    def inside(self, question: Question[Answer], job_id: str | None = None) -> Answer:
        """What models say to a question; see ``Backend.inside``."""
        return self._found("inside", "inside", question.models, job_id, {"question": question})

    def walk(self, plan: Walk, job_id: str | None = None, owner: str = "",
             ) -> Generator[Progress | Preview | Found, None, None]:
        """Frames between two prompts or pictures; see ``Backend.walk``."""
        job = far_job(job_id, "walk")
        call = always("walk", plan=plan, job_id=job.job_id, owner=owner)
        return self._events(lambda: ((job,), call), opened, owner)

    def cancel(self, job_id: str) -> bool:
        """Stop a waiting or running job; see ``Backend.cancel``."""
        return self.link.ask("cancel", job_id)

    def queue(self) -> tuple[int, int]:
        """How many jobs run, and how many wait, of all front ends.

        Raises:
            EaselError: the cluster does not say so within some seconds.
        """
        return (facts := self.link.facts(SOON_S)).running, facts.waiting

    def suspend(self, but: str = "") -> None:
        """Stop everybody's jobs and take no more; see ``Backend.suspend``."""
        self.link.ask("suspend", but)

    def unsuspend(self) -> None:
        """Take everybody's jobs again."""
        self.link.ask("suspend", None)

    def is_suspended(self) -> bool:
        """Whether most may not draw now."""
        return self.link.facts(SOON_S).suspended

    def places(self) -> list[Place]:
        """What runs and waits; see ``Backend.places``."""
        return self.link.ask("places")

    def has_room(self, owner: str) -> bool:
        """Whether one more job would be taken; see ``Backend.has_room``."""
        requester = self.requester()
        return self.link.ask("has_room", owner or requester.visitor, requester.address)

    def device(self) -> str:
        """What the runners compute on."""
        runners = self.link.facts(SOON_S).runners
        return ", ".join(sorted({each.report.device for each in runners})) or "none"

    def figures(self) -> bytes:
        """What it has done, and what the runners hold; see ``Backend.figures``."""
        return self.metrics.render()

    def models(self, offline: bool = False) -> Models | None:
        """The models of all runners; whether these are offline was said when they began."""
        return self._fleet

    def runners(self) -> RunnerCounts:
        """How many runners there are, and are to be."""
        return self.link.facts(SOON_S).runner_counts()

    def is_open(self) -> bool:
        """Whether it still takes jobs."""
        return self._open

    def close(self) -> None:
        """Take no more jobs, and end those of this front end; see ``Backend.close``."""
        self._open = False
        try:
            self.link.ask("close", self._front)
            while not self.link.ended(self._front):  # asked for a second each time
                continue
        except EaselError as error:  # what it has on its way ends without the cluster
            logger.warning("%s", error)
            self.abort_jobs()
        self._over.set()
        self._left.put(None)
        self.link.close()

    def abort_jobs(self) -> None:
        """End every job, so that its readers return; see ``Backend.abort_jobs``."""
        with self._lock:
            trips = list(self._trips)
        for trip in trips:
            for job in trip.group.jobs:
                job.finish(Busy(CUT_AND_KEPT if trip.ticket.can_pause else CUT_SHORT))

    def _job(self, request: CheckedRequest[Any], job_id: str | None, budget_s: float | None = None,
             ) -> Job:
        models = self.registry.get(request.pipeline).models_of(request)
        return far_job(job_id, request.pipeline, request.prompt, models, budget_s)

    def _found(self, method: str, kind: str, models: tuple[str, ...], job_id: str | None,
               arguments: Mapping[str, Any]) -> Any:
        job = far_job(job_id, kind, models=models)
        call = always(method, **arguments, job_id=job.job_id)
        return found_of(self._events(lambda: ((job,), call), opened, ""))

    def _events(self, make: Callable[[], tuple[tuple[Job, ...], CallOf]],
                read: Callable[[RunEvent], Any], owner: str, can_pause: bool = False,
                resumes: bool = False) -> Generator[Any]:
        """Send jobs on their way and read their events; see ``read_events``.

        Args:
            make: makes the jobs, once somebody reads, and what runners are to do for them.
        """
        trips: list[Trip] = []

        def group() -> Group:
            if not self._open:
                raise Busy(CLOSING)
            jobs, call = make()
            trips.append(Trip(self.link, self._front, jobs, self.requester(), owner, call,
                              can_pause, resumes, self._ended))
            return trips[0].group

        def submit(group: Group) -> None:
            with self._lock:
                self._trips.add(trips[0])
            trips[0].begin()

        try:
            yield from read_events(group, submit, lambda group: trips[0].told, read)
        finally:
            # The garbage collector may close this in the middle of anything: no lock is taken here.
            for trip in trips:
                self._left.put(trip)

    def _ended(self, job: Job) -> None:
        self.metrics.note(job)
        logger.info("%s %s after %.2f s on the device and %.2f s of waiting", job.kind,
                    job.outcome(), job.usage.device_s, job.wait_s)

    def _saved_s(self, owner: str, kept: Kept) -> float:
        """When a run of a lost runner was kept last, as Unix time; 0 where it was not.

        Its lease is ended: should the runner live, it keeps the run no more.
        """
        if self.paused is None:
            return 0.0
        self.paused.end_lease(kept.lease)
        return self.paused.saved_s(owner, kept.run_id)

    def _holdings(self) -> Mapping[str, Any]:
        return {each.report.runner: each.report.holding for each in self.link.facts(SOON_S).runners}

    def _leave(self) -> None:
        """Let runners and desk go of what nobody reads any more."""
        while (trip := self._left.get()) is not None:
            with self._lock:
                self._trips.discard(trip)
            trip.leave()

    def _beat(self) -> None:
        """Let the desk know that this front end lives, and what it waits for."""
        said = ""
        while not self._over.wait(BEAT_EVERY_S):
            with self._lock:
                trips = {trip.ticket.token: trip for trip in self._trips}
            try:
                for token in self.link.ask("beat", self._front, tuple(trips)):
                    trips[token].join_anew(token)
                said = ""
            except EaselError as error:
                if str(error) != said:  # once
                    logger.warning("%s", error)
                said = str(error)
            except Exception:
                logger.exception("the desk was not told that this front end lives")

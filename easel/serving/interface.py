"""What every backend offers, whether it runs here or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from easel.serving.jobs import Found, Place, Requester, RunEvent, RunnerCounts
from easel.serving.paused_runs import PausedRuns
from pipelines.core.events import Event, Preview, Progress
from pipelines.core.request import CheckedRequest
from pipelines.models.cache.cache import ModelCache
from pipelines.models.cache.inventory import Models
from pipelines.models.clip_features import Features
from pipelines.registry import Registry

if TYPE_CHECKING:
    from pipelines.inside.question import Question
    from pipelines.unclip.walk import Walk

Answer = TypeVar("Answer")


class Backend(Protocol):
    """Runs requests and streams their events, and tells how it fares.

    All that doors, pages and the command line ask of one is here, so that none of them has to know
    which kind it is.

    Attributes:
        registry: the pipelines that it runs; checks requests for it.
        paused: where runs are kept that are paused; None where none can be.
        requester: tells who asks now, so that jobs without an owner's name are counted too.
    """

    registry: Registry
    paused: PausedRuns | None
    requester: Callable[[], Requester]

    @property
    def cache(self) -> ModelCache | None:
        """Its models, where they are in this process; None where they are elsewhere."""
        ...

    def stream(self, request: CheckedRequest[Any], job_id: str | None = None, owner: str = "",
               can_pause: bool = True, pause_after: int | None = None,
               ) -> Generator[Event, None, None]:
        """Run a request.

        Args:
            request: what to draw.
            job_id: name for ``cancel``, chosen by the caller; a new one where None.
            owner: the visitor who asks, whose history the pictures go to and whose jobs are
                counted; ``LOCAL`` on the command line, empty where nothing is kept.
            can_pause: keep the state of a run whose pipeline can be paused.
            pause_after: steps after which it is paused by itself; None for never.

        Yields:
            ``Progress`` while waiting in the queue, then the events of the run; the last is a
            ``Result``. Closing the generator ends the job and frees the device.

        Raises:
            InvalidRequest: the run cannot be paused, though ``pause_after`` asks for it, or its
                name is taken.
            Busy: the queue is full, or this user has too many jobs in it.
            Cancelled: the job was stopped and has nothing to keep.
            Paused: the run was paused.
            HistoryError: after the ``Result``, where its pictures could not be kept.
            EaselError: everything else that goes wrong, as one sentence.
        """
        ...

    def resume(self, owner: str, run_id: str, changes: Mapping[str, Any] | None = None,
               branch: bool = False, pause_after: int | None = None, job_id: str | None = None,
               ) -> Generator[Event, None, None]:
        """Resume a paused run by its name, or a branch of it, from its state.

        Args:
            owner: the visitor whose run it must be.
            run_id: its name among the paused runs.
            changes: what is to be different from here on, see ``saved_run.checked_changes``.
            branch: leave the run as it is and begin another one from its state.
            pause_after: steps after which it is paused again by itself; None for never.
            job_id: as for ``stream``.

        Yields:
            As ``stream``; the first ``Progress`` of the run itself has what is ``earlier``.

        Raises:
            PausedRunError: it is not there, damaged, or under way.
            InvalidRequest: the change cannot be made, or a branch without any is asked for.
            EaselError: as ``stream``.
        """
        ...

    def pause(self, job_id: str) -> bool:
        """Pause a run within a step; False where there is no such job.

        Raises:
            InvalidRequest: it is of a kind that cannot be paused.
            PausedRunError: its owner has the most paused runs already.
        """
        ...

    def compare(self, requests: Sequence[CheckedRequest[Any]], job_ids: Sequence[str] | None = None,
                budget_s: float | None = None, together: int = 4, owner: str = "",
                ) -> Generator[RunEvent, None, None]:
        """Run several requests in one place of the queue, step by step in turn.

        Args:
            requests: at least one.
            job_ids: a name for ``cancel`` for each; new ones where None.
            budget_s: device seconds that each run gets; then it keeps its best so far.
            together: how many runs share the device at the same time; the others follow.
            owner: as for ``stream``.

        Yields:
            The events of all runs as they come. A run ends with a ``Result`` or with the error
            that ended it, and the others continue. Closing the generator ends all of them.

        Raises:
            InvalidRequest: there is none of them, or two of them have one name.
            Busy: the queue is full, or this user has too many jobs in it.
        """
        ...

    def embed(self, model_id: str, images: Sequence[np.ndarray] = (), texts: Sequence[str] = (),
              job_id: str | None = None) -> Features:
        """Features of pictures and texts by a CLIP, in turn with the other jobs.

        Args:
            model_id: id of a CLIP in the catalogue.
            images: (H, W, 3) uint8 RGB each; none is fine, for the facts of the CLIP alone.
            texts: any number.
            job_id: name for ``cancel``, chosen by the caller; a new one where None.

        Raises:
            Busy: the queue is full.
            Cancelled: the job was stopped.
            EaselError: everything else that goes wrong, as one sentence.
        """
        ...

    def unlike_the_world(self, images: Sequence[np.ndarray], job_id: str | None = None,
                         ) -> np.ndarray:
        """Whether pictures are unlike anything that the embedded world's CLIPs have seen.

        Args:
            images: (H, W, 3) uint8 RGB each.
            job_id: name for ``cancel``, chosen by the caller; a new one where None.

        Returns:
            (N,) bool.

        Raises:
            Busy: the queue is full.
            Cancelled: the job was stopped.
            EaselError: everything else that goes wrong, as one sentence.
        """
        ...

    def inside(self, question: Question[Answer], job_id: str | None = None) -> Answer:
        """What models say to a question of ``pipelines.inside``, in turn with the other jobs.

        Args:
            question: plain data, checked.
            job_id: name for ``cancel``, chosen by the caller; a new one where None.

        Raises:
            Busy: the queue is full.
            Cancelled: the job was stopped.
            EaselError: everything else that goes wrong, as one sentence.
        """
        ...

    def walk(self, plan: Walk, job_id: str | None = None, owner: str = "",
             ) -> Generator[Progress | Preview | Found, None, None]:
        """Draw the frames of a walk by unCLIP, in turn with the other jobs.

        Args:
            plan: from where to where, checked.
            job_id: name for ``cancel``, chosen by the caller; a new one where None.
            owner: whose job it is; empty for nobody's.

        Yields:
            How far it is, and the frames so far; as the last all frames found, (frames, H, W, 3)
            uint8 RGB. The walk ends where the generator is closed.

        Raises:
            Busy: the queue is full.
            Cancelled: the job was stopped.
            EaselError: everything else that goes wrong, as one sentence.
        """
        ...

    def cancel(self, job_id: str) -> bool:
        """Stop a waiting or running job within a step; False where there is no such job.

        A name is cancelled for good: a job that comes under it later is stopped before it begins,
        so that nobody has to ask twice.
        """
        ...

    def suspend(self, but: str = "") -> None:
        """Stop what runs and waits of all visitors but one, and take no more of theirs.

        What is nobody's, such as the command line's, is not a visitor's and goes on.

        Args:
            but: whose jobs are taken as before; empty for none's.
        """
        ...

    def unsuspend(self) -> None:
        """Take everybody's jobs again."""
        ...

    def is_suspended(self) -> bool:
        """Whether ``suspend`` was the last of the two."""
        ...

    def queue(self) -> tuple[int, int]:
        """How many jobs run, and how many wait.

        Raises:
            EaselError: what draws does not answer, as for ``device`` and ``figures``.
        """
        ...

    def device(self) -> str:
        """What it computes on, for those who watch it, such as "cpu" or "cuda:0"."""
        ...

    def figures(self) -> bytes:
        """What it has done and holds, in Prometheus's text format."""
        ...

    def models(self, offline: bool = False) -> Models | None:
        """Its models and what may be done with them; None where they come from no catalogue.

        Args:
            offline: nothing may be downloaded.
        """
        ...

    def runners(self) -> RunnerCounts | None:
        """How many runners of a cluster there are, and are to be; None where this machine draws.

        Raises:
            EaselError: the cluster does not say so.
        """
        ...

    def is_open(self) -> bool:
        """Whether it still takes jobs."""
        ...

    def close(self) -> None:
        """Take no more jobs and end those that there are, each with what is finished.

        Who waits reads ``Busy``; what runs is paused where it can be, and else stopped.
        """
        ...

    def abort_jobs(self) -> None:
        """After a ``close`` that takes too long: end every job, so that its readers return."""
        ...

    def places(self) -> Sequence[Place]:
        """What runs and waits, in the order in which it comes; of all owners."""
        ...

    def has_room(self, owner: str) -> bool:
        """Whether one more job of a visitor would be taken now rather than refused as too many."""
        ...

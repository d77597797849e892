"""A run under way keeps its state and what it has behind it, so that it can be resumed.

Where the states go is not the engine's affair: whoever wants them hands a ``CheckpointStore`` in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from pipelines.core.errors import Cancelled, EaselError, Paused, PausedRunError, RunTakenOver
from pipelines.core.request import CheckedRequest
from pipelines.core.video import Film
from pipelines.saved_run import SavedRun

SAVE_EVERY_S = 5.0
SAVE_SHARE = 10.0  # a state that took a second to keep is followed by no other for so many


class CheckpointStore(Protocol):
    """Where the states of one run are kept, each in place of the one before.

    Nobody else has the run meanwhile, unless this process was not heard of for too long.

    Attributes:
        run_id: the run's name.
        lease: name of the right to the run that this store has, for whoever is to end it should
            this process be lost.
    """

    run_id: str
    lease: str

    def put(self, run: SavedRun, paused: bool) -> None:
        """Keep a state, whole or not at all.

        Args:
            run: the state.
            paused: whether a person paused the run.

        Raises:
            RunTakenOver: the run is somebody else's by now.
            PausedRunError: there is no room for it, or it cannot be written.
        """
        ...

    def renew(self) -> None:
        """Say that the run is under way still.

        Raises:
            RunTakenOver: it is somebody else's by now.
        """
        ...

    def drop(self) -> None:
        """Remove what is kept of the run; what cannot be removed now is left to others."""
        ...

    def release(self) -> None:
        """Let others have the run."""
        ...


class Checkpointer:
    """Keeps the state of one run, so that it can be paused, or found again after a crash.

    Args:
        store: where states go; None to keep nothing.
        owner: whose run it is; empty for nobody's.
        pause_after: steps after which the run is paused by itself; None for never.
        resumes: whether it goes on with the run that the store has, which a Stop leaves there.

    Attributes:
        keeps: whether anything is kept.
        run_id: the run's name; empty where nothing is kept.
        lease: see ``CheckpointStore``.
        request: what a run that is resumed draws from here on; None for one that begins.
        start: the state to resume from; None for a run that begins.
        film: the previews so far.
        notice: why the run could not be paused, in a sentence; empty where nothing went wrong.
    """

    def __init__(self, store: CheckpointStore | None = None, owner: str = "",
                 pause_after: int | None = None, resumes: bool = False) -> None:
        self.keeps = store is not None
        self.run_id, self.lease = (store.run_id, store.lease) if store is not None else ("", "")
        self.owner = owner
        self.request: CheckedRequest[Any] | None = None
        self.start: SavedRun | None = None
        self.film, self.notice = Film(), ""
        self._kept: SavedRun | None = None
        self._store, self._resumes = store, resumes
        self._asked, self._after = False, pause_after
        self._saved_s, self._every_s = time.monotonic(), 0.0

    def ask(self, asked: bool = True) -> None:
        """Have the run paused before its next step, or no more."""
        self._asked = asked

    def pausing(self, step: int) -> bool:
        """Whether the run should be paused, now that it has taken ``step`` steps."""
        return self._asked or (self._after is not None and step >= self._after)

    def begin(self, request: CheckedRequest[Any], total: int, weights: Mapping[str, str | None],
              ) -> None:
        """The run takes its first step here, or its first one since it was paused.

        Args:
            request: as it runs.
            total: steps that it is to take.
            weights: SHA-256 of the weights in use, by model id.

        Raises:
            PausedRunError: what it resumes from was made with other weights.
        """
        start = self.start
        if start is not None:
            for model, digest in start.weights.items():
                if digest != weights.get(model):
                    raise PausedRunError("The run was paused with other weights of {} than those "
                                         "that are here now, so it cannot go on.", model[:60])
            self.film = Film(start.frames)
        self._kept = SavedRun(
            request=request.plain(), step=start.step if start else 0, total=total, facts={},
            weights=dict(weights), marks=list(start.marks) if start else [],
            losses={name: list(points) for name, points in start.losses.items()} if start else {},
            branch_of=start.branch_of if start else "")

    def note(self, step: int, losses: Mapping[str, float]) -> None:
        """Take in what a step brought."""
        if self._kept is not None:
            for name, value in losses.items():
                self._kept.losses.setdefault(name, []).append((step, value))

    def save(self, step: int, state: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]],
             ) -> None:
        """Keep the state where it is time to, or where the run is to be paused.

        What cannot be kept is no reason to end the run; ``notice`` says why. That others have it
        is one: it would be drawn twice.

        Args:
            step: steps taken.
            state: tensors and JSON-ready facts that the next step depends on.

        Raises:
            Paused: it was, and is kept.
            RunTakenOver: others have the run.
        """
        kept, pausing = self._kept, self.pausing(step)
        due = pausing or time.monotonic() - self._saved_s >= max(SAVE_EVERY_S, self._every_s)
        if self._store is None or kept is None or step >= kept.total or not due:
            return
        tensors, facts = state()
        try:
            self._write(self._store, kept.model_copy(update={
                "step": step, "facts": facts, "tensors": tensors, "frames": self.film.frames}),
                pausing)
        except RunTakenOver:
            raise
        except PausedRunError as error:
            self.notice = str(error) if pausing else self.notice
            return
        if pausing:
            raise Paused(self.run_id, step, kept.total)

    def metadata(self) -> dict[str, Any]:
        """JSON-ready facts of a run that was changed on its way; {} for any other."""
        marks = self._kept.marks if self._kept is not None else []
        return {"changes": [{"step": step, **changes} for step, changes in marks]} if marks else {}

    def finish(self) -> None:
        """All steps are taken, and what was drawn is about to be kept.

        Raises:
            RunTakenOver: others have the run, and draw the same.
        """
        if self._store is not None:
            self._store.renew()

    def _write(self, store: CheckpointStore, run: SavedRun, paused: bool) -> None:
        """Keep a state in place of the one before.

        Raises:
            PausedRunError: there is no room for it, or it cannot be written.
        """
        begun_s = time.monotonic()
        try:
            store.put(run, paused)
        except PausedRunError:
            if paused:  # or it would be tried again after each step
                self._asked, self._after = False, None
            raise
        finally:
            self._saved_s = time.monotonic()
            self._every_s = SAVE_SHARE * (self._saved_s - begun_s)

    def end(self, error: EaselError | None) -> None:
        """The run is over: its state is of use only where no pictures came of it.

        Args:
            error: what ended it; None where it has its pictures.
        """
        done = error is None or (isinstance(error, Cancelled) and not isinstance(error, Paused)
                                 and not self._resumes)
        if self._store is not None and done:
            self._store.drop()
        self.release()

    def release(self) -> None:
        """Let others have the run."""
        if self._store is not None:
            self._store.release()

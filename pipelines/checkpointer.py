"""A run under way keeps its state and what it has behind it in a file, locked meanwhile.

The system releases the lock of a killed process, and what is unlocked is a paused run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from pipelines.core.errors import Cancelled, EaselError, Paused, PausedRunError, reason
from pipelines.core.files import atomic_write
from pipelines.core.request import CheckedRequest
from pipelines.core.video import Film
from pipelines.saved_run import SavedRun, next_number

SAVE_EVERY_S = 5.0
LOCK = ".lock"
UNDER_WAY = "This run is on its way already."
CLAIM_S = 0.5  # for those who only look whether a run is under way


def _any_size(path: Path, size_bytes: int) -> None:
    """Room for a file of any size."""


class Checkpointer:
    """Keeps the state of one run, so that it can be paused, or found again after a crash.

    Args:
        path: the state's file, named by the run's id; its folder is made where it is not there.
            Nothing is kept where None.
        owner: whose run it is; empty for nobody's.
        pause_after: steps after which the run is paused by itself; None for never.
        make_room: refuses a file at a path of a size in bytes by ``PausedRunError``.

    Attributes:
        run_id: the run's name.
        request: what a run that is resumed draws from here on; None for one that begins.
        start: the state to resume from; None for a run that begins.
        film: the previews so far.
        notice: why the run could not be paused, in a sentence; empty where nothing went wrong.
    """

    def __init__(self, path: Path | None = None, owner: str = "", pause_after: int | None = None,
                 make_room: Callable[[Path, int], None] = _any_size) -> None:
        self.keeps = path is not None
        path = path or Path(os.devnull)
        self.run_id, self.owner = path.stem, owner
        self.request: CheckedRequest[Any] | None = None
        self.start: SavedRun | None = None
        self.film, self.notice = Film(), ""
        self._kept: SavedRun | None = None
        self._path, self._make_room = path, make_room
        self._resumes = self.keeps and path.exists()
        self._lock = FileLock(f"{path}{LOCK}", thread_local=False)
        self._asked, self._after = False, pause_after
        self._number = 0
        self._saved_s = time.monotonic()

    def ask(self, asked: bool = True) -> None:
        """Have the run paused before its next step, or no more."""
        self._asked = asked

    def claim(self) -> None:
        """Make the run this process's own.

        Raises:
            PausedRunError: it is under way already, or the folder cannot be used.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=CLAIM_S, poll_interval=0.02)
        except Timeout:
            raise PausedRunError(UNDER_WAY) from None
        except OSError as error:
            raise _not_kept(error) from None

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

        What cannot be kept is no reason to end the run; ``notice`` says why.

        Args:
            step: steps taken.
            state: tensors and JSON-ready facts that the next step depends on.

        Raises:
            Paused: it was, and is kept.
        """
        kept, pausing = self._kept, self.pausing(step)
        due = pausing or time.monotonic() - self._saved_s >= SAVE_EVERY_S
        if not self.keeps or kept is None or step >= kept.total or not due:
            return
        tensors, facts = state()
        try:
            self._write(kept.model_copy(update={"step": step, "facts": facts, "tensors": tensors,
                                                "frames": self.film.frames}), pausing)
        except PausedRunError as error:
            self.notice = str(error) if pausing else self.notice
            return
        if pausing:
            raise Paused(self.run_id, step, kept.total)

    def metadata(self) -> dict[str, Any]:
        """JSON-ready facts of a run that was changed on its way; {} for any other."""
        marks = self._kept.marks if self._kept is not None else []
        return {"changes": [{"step": step, **changes} for step, changes in marks]} if marks else {}

    def _write(self, run: SavedRun, paused: bool) -> None:
        """Keep a state in place of the one before.

        Raises:
            PausedRunError: there is no room for it, or it cannot be written.
        """
        self._saved_s = time.monotonic()
        try:
            self.claim()  # counts; the first one takes the lock
            if paused or not self._number:  # looked up again only where somebody's pause counts
                self._number = next_number(self._path)
            data = run.encode(paused, time.time(), self._number)
            self._make_room(self._path, len(data))
            atomic_write(self._path, data)
        except (PausedRunError, OSError) as error:
            if paused:  # or it would be tried again after each step
                self._asked, self._after = False, None
            raise (error if isinstance(error, PausedRunError) else _not_kept(error)) from None

    def end(self, error: EaselError | None) -> None:
        """The run is over: its state is of use only where no pictures came of it.

        Args:
            error: what ended it; None where it has its pictures.
        """
        done = error is None or (isinstance(error, Cancelled) and not isinstance(error, Paused)
                                 and not self._resumes)
        if done:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let others have the run."""
        if self._lock.is_locked:
            with suppress(OSError):
                Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release(force=True)


def is_under_way(path: Path) -> bool:
    """Whether the run of a file is under way, here or in another process."""
    lock = Path(f"{path}{LOCK}")
    if not lock.exists():
        return False
    probe = FileLock(lock, thread_local=False)
    try:
        probe.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    probe.release()
    return False


def drop_lock(path: Path) -> None:
    """Remove the lock that a killed process left of a run; one that is held stays."""
    lock = FileLock(f"{path}{LOCK}", thread_local=False)
    with suppress(Timeout, OSError):
        lock.acquire(timeout=0)
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is held, so that nobody else has it
        lock.release(force=True)


def _not_kept(error: OSError) -> PausedRunError:
    return PausedRunError("The run could not be paused: {}.", reason(error))

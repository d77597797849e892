"""One run under way: its file is locked, its state kept every few seconds and put aside if asked.

The system releases the lock of a killed process, and what is unlocked is a paused run.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from pipelines.core.errors import Cancelled, EaselError, Paused, PausedRunError
from pipelines.core.files import atomic_write
from pipelines.core.request import CheckedRequest
from pipelines.saved_run import Change, Snapshot

if TYPE_CHECKING:
    from easel.serving.paused_runs import PausedRuns

SAVE_EVERY_S = 5.0
CLAIM_S = 0.5  # for those who only look whether a run is under way


class RunKeeper:
    """Keeps the state of one run; see ``pipelines.pipeline.Keeper``.

    Args:
        runs: where.
        owner: whose run it is.
        run_id: name of a run that goes on; a new one where None.
        pause_after: steps after which the run is paused by itself.
    """

    def __init__(self, runs: PausedRuns, owner: str, run_id: str | None = None,
                 pause_after: int | None = None) -> None:
        self.run_id, self.owner = run_id or secrets.token_hex(16), owner
        self.start: Snapshot | None = None
        self.change = Change()
        self._runs, self._goes_on = runs, run_id is not None
        self._path = runs.path(owner, self.run_id)
        self._lock = FileLock(f"{self._path}.lock", thread_local=False)
        self._asked, self._after = False, pause_after
        self._saved_s = time.monotonic()

    def ask(self, asked: bool = True) -> None:
        """Have the run put aside before its next step, or no more."""
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
            raise PausedRunError("This run is on its way already.") from None
        except OSError as error:
            raise _not_kept(error) from None

    def pausing(self, step: int) -> bool:
        """Whether the run should be put aside, now that it has taken ``step`` steps."""
        return self._asked or (self._after is not None and step >= self._after)

    def due(self) -> bool:
        """Whether it is time to keep the state."""
        return time.monotonic() - self._saved_s >= SAVE_EVERY_S

    def save(self, snapshot: Snapshot, paused: bool) -> None:
        """Keep a state in place of the one before; see ``Keeper.save``."""
        self._saved_s = time.monotonic()
        try:
            self.claim()  # counts; the first one takes the lock
            data = snapshot.encode(paused, time.time())
            self._runs.make_room(self._path, len(data))
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
                                 and not self._goes_on)
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


@dataclass(frozen=True)
class Continuation:
    """A paused run that may go on.

    Attributes:
        request: what it draws from here on.
        keeper: with its state and the change; the run is claimed.
    """

    request: CheckedRequest[Any]
    keeper: RunKeeper


def is_locked(path: Path) -> bool:
    """Whether a run is under way, here or in another process."""
    lock = Path(f"{path}.lock")
    if not lock.exists():
        return False
    probe = FileLock(lock, thread_local=False)
    try:
        probe.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    probe.release()
    return False


def _not_kept(error: OSError) -> PausedRunError:
    return PausedRunError(f"The run could not be paused: {reason(error)}.")


def reason(error: OSError) -> str:
    """What the system says, to end a sentence with."""
    return (error.strerror or str(error)).lower()

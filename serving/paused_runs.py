"""Paused runs in the data folder: each visitor's own, few, and whole or not there at all.

A run that can be paused is kept every few seconds too, so that one whose server was killed can go
on. While a run is under way its file is locked; the system releases the lock of a killed process,
and what is unlocked is a paused run.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.errors import Cancelled, EaselError, InvalidRequest, Paused, PausedRunError
from pipelines.files import atomic_write
from pipelines.registry import Registry
from pipelines.request import Request, validate
from pipelines.snapshot import Change, Snapshot, read_header

logger = logging.getLogger(__name__)
SAVE_EVERY_S = 5.0
MAX_AGE_S = 30 * 86400.0
CLAIM_S = 0.5  # for those who only look whether a run is under way
_SUFFIX = ".safetensors"
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_GONE = "There is no such paused run: it was continued, deleted, or never yours."


@dataclass(frozen=True)
class PausedRun:
    """A run that waits to go on.

    Attributes:
        prompt: what it draws now.
        step: steps taken.
        total: steps that it is to take.
        saved_s: Unix time of its state.
        interrupted: its server ended, rather than a person pausing it.
        frame: the last preview, a JPEG file; None where there is none.
        fault: why it cannot go on; empty where it can.
    """

    run_id: str
    size_bytes: int
    saved_s: float
    prompt: str = ""
    pipeline: str = ""
    num_images: int = 0
    step: int = 0
    total: int = 0
    interrupted: bool = False
    frame: bytes | None = None
    fault: str = ""

    def public(self) -> dict[str, object]:
        """What programs are told of it, JSON-ready."""
        return {"run_id": self.run_id, "pipeline": self.pipeline, "prompt": self.prompt,
                "num_images": self.num_images, "step": self.step, "total": self.total,
                "saved_s": round(self.saved_s, 3), "interrupted": self.interrupted,
                "size_bytes": self.size_bytes, "fault": self.fault}


class RunKeeper:
    """Keeps the state of one run; see ``pipelines.registry.Keeper``.

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

    request: Request
    keeper: RunKeeper


class PausedRuns:
    """The paused runs of all visitors.

    Args:
        folder: where they are; made when the first is kept.
        quota_bytes: what all of them may take together.
        max_per_owner: how many one visitor may have.
    """

    def __init__(self, folder: Path, quota_bytes: int = 2 * 10**9, max_per_owner: int = 10) -> None:
        self.folder, self.quota_bytes, self.max_per_owner = folder, quota_bytes, max_per_owner

    def path(self, owner: str, run_id: str) -> Path:
        """Where the file of a run is or would be.

        Raises:
            PausedRunError: it is no name of a run.
        """
        if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
            raise PausedRunError(_GONE)
        return self._folder_of(owner) / f"{run_id}{_SUFFIX}"

    def of(self, owner: str) -> list[PausedRun]:
        """The paused runs of a visitor, the newest first, without those that are under way."""
        found = [self._described(path) for path in self._files(self._folder_of(owner))
                 if not _is_locked(path)]
        return sorted((run for run in found if run is not None), key=lambda run: -run.saved_s)

    def check_room(self, owner: str) -> None:
        """Refuse another paused run of a visitor who has the most already.

        Raises:
            PausedRunError: so it is.
        """
        count = len(self.of(owner))
        if count >= self.max_per_owner:
            raise PausedRunError(f"{count} runs of yours are paused, which is the most: let one go "
                                 "on to its end, or delete one.")

    def go_on(self, owner: str, run_id: str, registry: Registry, change: Change | None = None,
              branch: bool = False, pause_after: int | None = None) -> Continuation:
        """Read a paused run and make it ready to go on.

        Args:
            owner: whose it must be.
            run_id: its name.
            registry: the pipelines.
            change: what is to be different from here on.
            branch: leave the run as it is and begin another one from its state.
            pause_after: as for ``RunKeeper``.

        Raises:
            PausedRunError: it is not there, damaged, or under way.
            InvalidRequest: the change cannot be made, or a branch without any is asked for.
        """
        change = change or Change()
        path = self.path(owner, run_id)
        if not path.is_file():
            raise PausedRunError(_GONE)
        keeper = RunKeeper(self, owner, None if branch else run_id, pause_after)
        if not branch:
            keeper.claim()
        try:
            start = Snapshot.decode(_read(path))
            request = _changed(start, change, registry)
            total = int(request.options.get("iterations", start.total))
            snapshot = start.changed(request, change, total, run_id if branch else "")
            if branch and set(snapshot.earlier.marks[-1].changes) == {"branch_of"}:
                raise InvalidRequest("A branch needs a change: another prompt, number of steps, "
                                     "seed or noise.", "prompt")
        except BaseException:
            keeper.release()
            raise
        keeper.start, keeper.change = snapshot, change
        return Continuation(request, keeper)

    def delete(self, owner: str, run_id: str) -> None:
        """Remove a paused run.

        Raises:
            PausedRunError: it is not there, or under way.
        """
        path = self.path(owner, run_id)
        if not path.is_file():
            raise PausedRunError(_GONE)
        keeper = RunKeeper(self, owner, run_id)
        keeper.claim()
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise PausedRunError("The paused run could not be deleted: "
                                 f"{_reason(error)}.") from None
        finally:
            keeper.release()

    def make_room(self, path: Path, size_bytes: int) -> None:
        """Refuse a file that would take all of them over the quota.

        Raises:
            PausedRunError: so it would.
        """
        others = sum(_size(file) for file in self._files(self.folder, "*/*") if file != path)
        if others + size_bytes > self.quota_bytes:
            raise PausedRunError("The run could not be paused: the paused runs of all visitors "
                                 "take all the room that they may.")

    def sweep(self, max_age_s: float = MAX_AGE_S) -> int:
        """Remove what has waited for too long, and what killed processes left half written.

        Returns:
            How many runs were removed.
        """
        removed = 0
        oldest_s = time.time() - max_age_s
        for path in self.folder.glob("*/*"):
            with suppress(OSError):
                if path.stat().st_mtime >= oldest_s or _is_locked(path):
                    continue
                path.unlink()
                removed += path.suffix == _SUFFIX
        return removed

    def _folder_of(self, owner: str) -> Path:
        return self.folder / hashlib.sha256(owner.encode()).hexdigest()[:32]

    def _files(self, folder: Path, pattern: str = "*") -> Iterator[Path]:
        return (path for path in folder.glob(f"{pattern}{_SUFFIX}") if _RUN_ID.fullmatch(path.stem))

    def _described(self, path: Path) -> PausedRun | None:
        try:
            status = path.stat()
        except FileNotFoundError:  # it went on meanwhile
            return None
        try:
            header, frame = read_header(path)
        except PausedRunError as error:
            return PausedRun(path.stem, status.st_size, status.st_mtime, fault=str(error))
        return PausedRun(path.stem, status.st_size, header.saved_s, header.request.prompt,
                         header.request.pipeline, header.request.num_images, header.step,
                         header.total, not header.paused, frame)


def _changed(start: Snapshot, change: Change, registry: Registry) -> Request:
    """The request of a run from here on."""
    options = dict(start.request.options)
    if change.iterations is not None:
        if change.iterations <= start.step:
            raise InvalidRequest(f"The run has taken {start.step} steps already: ask for more than "
                                 "that in all.", "iterations")
        options["iterations"] = change.iterations
    prompt = start.request.prompt if change.prompt is None else change.prompt
    request = validate(start.request.model_copy(update={"prompt": prompt, "options": options}),
                       registry)
    if not registry.get(request.pipeline).can_pause:
        raise PausedRunError(f"{registry.get(request.pipeline).title} cannot let a run go on.")
    return request


def _is_locked(path: Path) -> bool:
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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise PausedRunError(_GONE) from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _not_kept(error: OSError) -> PausedRunError:
    return PausedRunError(f"The run could not be paused: {_reason(error)}.")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()

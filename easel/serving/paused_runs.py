"""Paused runs in the data folder: each visitor's own, few, and whole or not there at all.

A run that can be paused is kept every few seconds too (``pipelines.checkpointer``), so that one
whose server was killed can be resumed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easel.history.records import LOCAL
from pipelines.checkpointer import LOCK, UNDER_WAY, Checkpointer, drop_lock, is_under_way
from pipelines.core.amounts import megabytes
from pipelines.core.errors import InvalidRequest, PausedRunError, reason
from pipelines.core.request import CheckedRequest
from pipelines.registry import Registry
from pipelines.saved_run import SUFFIX, SavedRun, read_header

MAX_AGE_S = 30 * 86400.0
SHARES = 4  # of the room for all of them a visitor has one: nobody alone leaves others none
PART_S = 3600.0  # older than any writing that still goes on
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_GONE = "There is no such paused run: it was continued, deleted, or never yours."


@dataclass(frozen=True)
class PausedRun:
    """A run that waits to be resumed.

    Attributes:
        prompt: what it draws now.
        step: steps taken.
        total: steps that it is to take.
        saved_s: Unix time of its state.
        number: counts up in the order of pausing, also when the clock steps back; 0 in older files.
        interrupted: its server ended, rather than a person pausing it.
        frame: the last preview, a JPEG file; None where there is none.
        fault: why it cannot be resumed; empty where it can.
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
    number: int = 0

    def public(self) -> dict[str, object]:
        """What programs read of it, JSON-ready."""
        return {"run_id": self.run_id, "pipeline": self.pipeline, "prompt": self.prompt,
                "num_images": self.num_images, "step": self.step, "total": self.total,
                "saved_s": round(self.saved_s, 3), "interrupted": self.interrupted,
                "size_bytes": self.size_bytes, "fault": self.fault}


class PausedRuns:
    """The paused runs of all visitors.

    Args:
        folder: where they are; made when the first is kept.
        quota_bytes: what all of them may take together, those of one visitor a quarter of it; the
            command line's, whose machine it is, may take all.
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
        return self._folder_of(owner) / f"{run_id}{SUFFIX}"

    def of(self, owner: str) -> list[PausedRun]:
        """The paused runs of a visitor, the newest first, without those that are under way."""
        found = [self._described(path) for path in self._files(self._folder_of(owner))
                 if not is_under_way(path)]
        return sorted((run for run in found if run is not None),
                      key=lambda run: (-run.number, -run.saved_s))

    def check_room(self, owner: str) -> None:
        """Refuse another paused run of a visitor who has the most already.

        Raises:
            PausedRunError: so it is.
        """
        count = len(self.of(owner))
        if count >= self.max_per_owner:
            raise PausedRunError("{} runs of yours are paused, which is the most: let one go on "
                                 "to its end, or delete one.", count)

    def checkpointer(self, owner: str, run_id: str | None = None, pause_after: int | None = None,
                     ) -> Checkpointer:
        """What keeps the state of a visitor's run; of a new one where ``run_id`` is None.

        Raises:
            PausedRunError: it is no name of a run.
        """
        path = self.path(owner, run_id or secrets.token_hex(16))
        return Checkpointer(path, owner, pause_after, self.make_room)

    def plan(self, owner: str, run_id: str, registry: Registry,
             changes: Mapping[str, Any] | None = None, branch: bool = False,
             ) -> CheckedRequest[Any]:
        """What a paused run would draw from here on; it stays as it is.

        Args and errors are those of ``resume``.
        """
        path = self.path(owner, run_id)
        if not branch and is_under_way(path):
            raise PausedRunError(UNDER_WAY)
        return _changed(path, registry, changes or {}, branch)[1]

    def resume(self, owner: str, run_id: str, registry: Registry,
               changes: Mapping[str, Any] | None = None, branch: bool = False,
               pause_after: int | None = None) -> Checkpointer:
        """Read a paused run and claim it for this process; for a backend, where it runs.

        Args:
            owner: whose it must be.
            run_id: its name.
            registry: the pipelines.
            changes: what is to be different from here on, see ``saved_run.checked_changes``.
            branch: leave the run as it is and begin another one from its state.
            pause_after: steps after which it is paused again by itself; None for never.

        Returns:
            What the run starts from and draws; to be released, whatever happens.

        Raises:
            PausedRunError: it is not there, damaged, or under way.
            InvalidRequest: the change cannot be made, or a branch without any is asked for.
        """
        path = self.path(owner, run_id)
        if not path.is_file():
            raise PausedRunError(_GONE)
        found = self.checkpointer(owner, None if branch else run_id, pause_after)
        if not branch:
            found.claim()
        try:
            found.start, found.request = _changed(path, registry, changes or {}, branch)
        except BaseException:
            found.release()
            raise
        return found

    def delete(self, owner: str, run_id: str) -> None:
        """Remove a paused run.

        Raises:
            PausedRunError: it is not there, or under way.
        """
        path = self.path(owner, run_id)
        if not path.is_file():
            raise PausedRunError(_GONE)
        claimed = self.checkpointer(owner, run_id)
        claimed.claim()
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise PausedRunError("The paused run could not be deleted: {}.",
                                 reason(error)) from None
        finally:
            claimed.release()

    def make_room(self, path: Path, size_bytes: int) -> None:
        """Refuse a file that would take all of them over the quota, or a visitor over the share.

        Raises:
            PausedRunError: so it would.
        """
        others = {file: _size(file) for file in self._files(self.folder, "*/*") if file != path}
        if sum(others.values()) + size_bytes > self.quota_bytes:
            raise PausedRunError("The run could not be paused: the paused runs of all visitors "
                                 "take all the room that they may.")
        own = sum(size for file, size in others.items() if file.parent == path.parent)
        share = self.quota_bytes // SHARES
        if own + size_bytes > share and path.parent != self._folder_of(LOCAL):
            raise PausedRunError("The run could not be paused: with it your paused runs would take "
                                 "more than the {} of one visitor; delete one, or let one go on "
                                 "to its end.", megabytes(share))

    def sweep(self, max_age_s: float = MAX_AGE_S) -> int:
        """Remove what has waited for too long, and what killed processes left half written.

        Returns:
            How many runs were removed.
        """
        removed, now_s = 0, time.time()
        for path in self.folder.glob("*/*"):
            with suppress(OSError):
                is_run = path.suffix == SUFFIX
                if now_s - path.stat().st_mtime <= (max_age_s if is_run else PART_S):
                    continue
                if path.suffix == LOCK:
                    drop_lock(path.with_suffix(""))
                elif not is_under_way(path):
                    path.unlink()
                    removed += is_run
        return removed

    def _folder_of(self, owner: str) -> Path:
        if not owner:
            raise ValueError("an owner must be named")
        owner = "" if owner == LOCAL else owner  # as the folder of the command line has always been
        return self.folder / hashlib.sha256(owner.encode()).hexdigest()[:32]

    def _files(self, folder: Path, pattern: str = "*") -> Iterator[Path]:
        return (path for path in folder.glob(f"{pattern}{SUFFIX}") if _RUN_ID.fullmatch(path.stem))

    def _described(self, path: Path) -> PausedRun | None:
        try:
            status = path.stat()
        except FileNotFoundError:  # it was resumed meanwhile
            return None
        try:
            found = read_header(path)
        except PausedRunError as error:
            return PausedRun(path.stem, status.st_size, status.st_mtime, fault=str(error))
        return PausedRun(path.stem, status.st_size, found.saved_s, found.request.prompt,
                         found.request.pipeline, found.request.num_images, found.step,
                         found.total, not found.paused, found.frames[0] if found.frames else None,
                         number=found.number)


def check_pause(paused: PausedRuns | None, can_pause: bool, owner: str, resumes: bool) -> None:
    """Refuse to pause what cannot be paused.

    Args:
        paused: the paused runs; None where none can be.
        can_pause: whether the run is of a kind that can be paused, and kept.
        owner: whose it is.
        resumes: it goes on from a paused run, and so takes no more room than that.

    Raises:
        InvalidRequest: it cannot be paused.
        PausedRunError: its owner has the most paused runs already.
    """
    if not can_pause or paused is None:
        raise InvalidRequest("This run cannot be paused.", field="pause_after")
    if not resumes:
        paused.check_room(owner)


def _changed(path: Path, registry: Registry, changes: Mapping[str, Any], branch: bool,
             ) -> tuple[SavedRun, CheckedRequest[Any]]:
    """What a run of a file starts from, and its request from here on."""
    start = SavedRun.decode(_read(path))
    options = dict(start.request.options)
    if "iterations" in changes:
        if changes["iterations"] <= start.step:
            raise InvalidRequest("The run has taken {} steps already: ask for more than that in "
                                 "all.", start.step, field="iterations")
        options["iterations"] = changes["iterations"]
    prompt = changes.get("prompt", start.request.prompt)
    request = registry.check(
        start.request.model_copy(update={"prompt": prompt, "options": options}), kept=True)
    if not registry.get(request.pipeline).can_pause:
        raise PausedRunError("{} cannot let a run go on.", registry.get(request.pipeline).title)
    total = int(getattr(request.options, "iterations", start.total))
    changed = start.changed(request.plain(), changes, total, path.stem if branch else "")
    if branch and set(changed.changes) == {"branch_of"}:
        raise InvalidRequest("A branch needs a change: another prompt, number of steps, seed or "
                             "noise.", field="prompt")
    return changed, request


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

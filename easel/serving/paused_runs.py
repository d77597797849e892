"""Paused runs: each visitor's own, few, and whole or not there at all.

A run that can be paused is kept every few seconds too (``pipelines.checkpointer``), so that one
whose server was killed can be resumed, on any machine that has the same history.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easel.history.records import LOCAL
from easel.history.tables import PausedState
from easel.serving.kept_run import KeptRun
from easel.serving.leases import Leases
from easel.serving.older_runs import RUN_ID, take_in
from easel.serving.paused_rows import GONE, PausedRows, Used, owner_key
from pipelines.checkpointer import Checkpointer
from pipelines.core.amounts import megabytes
from pipelines.core.errors import InvalidRequest, PausedRunError
from pipelines.core.request import CheckedRequest
from pipelines.registry import Registry
from pipelines.saved_run import DAMAGED, FORMAT, OTHER_VERSION, SavedRun

MAX_AGE_S = 30 * 86400.0
SHARES = 4  # of the room for all of them a visitor has one: nobody alone leaves others none
RENEWALS = 4  # of a lease, before it runs out


@dataclass(frozen=True)
class PausedRun:
    """A run that waits to be resumed.

    Attributes:
        prompt: what it draws now.
        step: steps taken.
        total: steps that it is to take.
        saved_s: Unix time of its state.
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

    def public(self) -> dict[str, object]:
        """What programs read of it, JSON-ready."""
        return {"run_id": self.run_id, "pipeline": self.pipeline, "prompt": self.prompt,
                "num_images": self.num_images, "step": self.step, "total": self.total,
                "saved_s": round(self.saved_s, 3), "interrupted": self.interrupted,
                "size_bytes": self.size_bytes, "fault": self.fault}


class PausedRuns:
    """The paused runs of all visitors.

    Args:
        rows: where they are kept.
        quota_bytes: what all of them may take together, those of one visitor a quarter of it; the
            command line's, whose machine it is, may take all.
        max_per_owner: how many one visitor may have.
        older: folder in which older versions kept them; None for none.
    """

    def __init__(self, rows: PausedRows, quota_bytes: int = 2 * 10**9, max_per_owner: int = 10,
                 older: Path | None = None) -> None:
        self.quota_bytes, self.max_per_owner = quota_bytes, max_per_owner
        self._rows, self._older = rows, older
        self._leases = Leases(rows.renew, rows.lease_s / RENEWALS)

    def of(self, owner: str) -> list[PausedRun]:
        """The paused runs of a visitor, the newest first, without those that are under way.

        Raises:
            HistoryError: the database cannot be used.
        """
        return [_described(state) for state in self._rows.waiting(owner_key(owner))]

    def saved_s(self, owner: str, run_id: str) -> float:
        """When a run that waits was kept last, as Unix time; 0 where there is none that can be
        resumed.

        Raises:
            HistoryError: the database cannot be used.
        """
        return next((run.saved_s for run in self.of(owner)
                     if run.run_id == run_id and not run.fault), 0.0)

    def check_room(self, owner: str) -> None:
        """Refuse another paused run of a visitor who has the most already.

        Raises:
            PausedRunError: so it is.
            HistoryError: the database cannot be used.
        """
        self._check_count(len(self.of(owner)))

    def checkpointer(self, owner: str, pause_after: int | None = None) -> Checkpointer:
        """What keeps the state of a new run of a visitor."""
        return Checkpointer(self._kept(owner, secrets.token_hex(16)), owner, pause_after)

    def plan(self, owner: str, run_id: str, registry: Registry,
             changes: Mapping[str, Any] | None = None, branch: bool = False,
             ) -> CheckedRequest[Any]:
        """What a paused run would draw from here on; it stays as it is.

        Args and errors are those of ``resume``.
        """
        return _changed(self._read(owner, run_id, branch), run_id, registry, changes or {},
                        branch)[1]

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
            HistoryError: the database or the store of the files cannot be used.
        """
        if branch:
            found = self.checkpointer(owner, pause_after)
        else:
            kept = self._kept(owner, _checked(run_id))
            kept.claim()
            found = Checkpointer(kept, owner, pause_after, resumes=True)
        try:
            data = self._read(owner, run_id, busy=True)
            found.start, found.request = _changed(data, run_id, registry, changes or {}, branch)
        except BaseException:
            found.release()
            raise
        return found

    def delete(self, owner: str, run_id: str) -> None:
        """Remove a paused run.

        Raises:
            PausedRunError: it is not there, or under way.
            HistoryError: the database cannot be used.
        """
        self._rows.delete(owner_key(owner), _checked(run_id))

    def end_lease(self, lease: str) -> None:
        """Let others have a run whose process is known to be lost.

        Raises:
            HistoryError: the database cannot be used.
        """
        self._rows.release(lease)

    def check_fits(self, owner: str, size_bytes: int, is_another: bool, used: Used) -> None:
        """Refuse a state that would take all of them over the quota, or a visitor over the share,
        or another run over the most of one visitor.

        Args:
            owner: by ``owner_key``.
            size_bytes: length of the state.
            is_another: whether somebody pauses a run that was not paused before.
            used: what other runs have.

        Raises:
            PausedRunError: so it would.
        """
        if is_another:
            self._check_count(used.own_runs)
        if used.all_bytes + size_bytes > self.quota_bytes:
            raise PausedRunError("The run could not be paused: the paused runs of all visitors "
                                 "take all the room that they may.")
        share = self.quota_bytes // SHARES
        if owner != owner_key(LOCAL) and used.own_bytes + size_bytes > share:
            raise PausedRunError("The run could not be paused: with it your paused runs would take "
                                 "more than the {} of one visitor; delete one, or let one go on "
                                 "to its end.", megabytes(share))

    def _check_count(self, count: int) -> None:
        if count >= self.max_per_owner:
            raise PausedRunError("{} run of yours is paused, which is the most: let it go on to "
                                 "its end, or delete it." if count == 1 else
                                 "{} runs of yours are paused, which is the most: let one go on to "
                                 "its end, or delete one.", count)

    def sweep(self, max_age_s: float = MAX_AGE_S) -> int:
        """Take in what older versions kept; remove what has waited for too long, and what killed
        processes left.

        Returns:
            How many runs were removed.

        Raises:
            HistoryError: the database or the store of the files cannot be used.
        """
        self.take_in()
        return self._rows.sweep(max_age_s)

    def take_in(self) -> None:
        """Take in the runs that older versions kept as files; what cannot be taken in stays."""
        if self._older is not None:
            take_in(self._older, self._rows)

    def _kept(self, owner: str, run_id: str) -> KeptRun:
        return KeptRun(self._rows, self._leases, owner_key(owner), run_id, self.check_fits)

    def _read(self, owner: str, run_id: str, busy: bool) -> bytes:
        """The state of a run, which may be under way where ``busy``, and then be replaced.

        Raises:
            PausedRunError: it is not there, damaged, or under way.
        """
        key = ""
        while True:
            state = self._rows.find(owner_key(owner), _checked(run_id), free=not busy)
            try:
                return self._rows.read(state)
            except OSError:
                if state.key == key:
                    raise PausedRunError(DAMAGED) from None
            key = state.key


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


def _changed(data: bytes, run_id: str, registry: Registry, changes: Mapping[str, Any],
             branch: bool) -> tuple[SavedRun, CheckedRequest[Any]]:
    """What a run starts from, and its request from here on."""
    start = SavedRun.decode(data)
    options = dict(start.request.options)
    if "iterations" in changes:
        if changes["iterations"] <= start.step:
            raise InvalidRequest("The run has taken {} step already: ask for more than that in all."
                                 if start.step == 1 else
                                 "The run has taken {} steps already: ask for more than that in "
                                 "all.", start.step, field="iterations")
        options["iterations"] = changes["iterations"]
    prompt = changes.get("prompt", start.request.prompt)
    request = registry.check(
        start.request.model_copy(update={"prompt": prompt, "options": options}), kept=True)
    if not registry.get(request.pipeline).can_pause:
        raise PausedRunError("{} cannot let a run go on.", registry.get(request.pipeline).title)
    total = int(getattr(request.options, "iterations", start.total))
    changed = start.changed(request.plain(), changes, total, run_id if branch else "")
    if branch and set(changed.changes) == {"branch_of"}:
        raise InvalidRequest("A branch needs a change: another prompt, number of steps, seed or "
                             "noise.", field="prompt")
    return changed, request


def _checked(run_id: str) -> str:
    """A run's name.

    Raises:
        PausedRunError: it is none.
    """
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise PausedRunError(GONE)
    return run_id


def _described(state: PausedState) -> PausedRun:
    header = state.header
    fault = str(header.get("fault", ""))
    if fault or header.get("format") != FORMAT:
        return PausedRun(state.run_id, state.size_bytes, state.saved_s,
                         fault=fault or OTHER_VERSION)
    return PausedRun(state.run_id, state.size_bytes, state.saved_s, header["prompt"],
                     header["pipeline"], header["num_images"], header["step"], header["total"],
                     state.interrupted, state.frame)

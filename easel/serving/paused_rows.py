"""Paused runs as rows of the history's database, with leases, and their states as files beside it.

A state is written under a name of its own; then its row names it; then the one before is removed.
A run's row goes before its state. So whatever a killed process leaves, a row names a whole state,
and a state that no row names is removed once it is old.

Who has a run has a lease on it, by the database's clock: one statement gives it to one of all who
ask. It is renewed while its process lives, and else runs out. Whoever had it writes no more: each
statement of his names his lease. That the database's clock goes on evenly is taken for granted: one
that is set back lets a dead server have its runs for so much longer, and one that is set forward
lets others take what is under way, which then ends where it was.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from sqlalchemy import ColumnElement, delete, func, not_, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from easel.history.database import Database, now_s, take_turns
from easel.history.records import LOCAL, HistoryError
from easel.history.shelves import Shelf
from easel.history.tables import PausedState
from pipelines.core.errors import PausedRunError, RunTakenOver
from pipelines.saved_run import SUFFIX

KIND = "paused"
LEASE_S = 20.0
ROOM_LOCK = 0x_EA5E2  # of those who look for room; any number of its own
ORPHAN_S = 3600.0  # older than any writing that still goes on
SWEEP_BATCH = 200  # states looked at in one transaction
GONE = "There is no such paused run: it was continued, deleted, or never yours."
UNDER_WAY = "This run is on its way already."
TAKEN_OVER = ("The run is no longer this server's, which was not heard of for too long: it was "
              "taken over or deleted.")


class Used(NamedTuple):
    """What other runs than one have of the room.

    Attributes:
        all_bytes: length of all their states.
        own_bytes: length of the states of those of its owner.
        own_runs: how many of its owner's were paused, or wait.
    """

    all_bytes: int
    own_bytes: int
    own_runs: int


Check = Callable[[Used], None]  # raises where that leaves no room


def owner_key(owner: str) -> str:
    """What rows call a visitor, 32 hex digits.

    Raises:
        ValueError: nobody is named.
    """
    if not owner:
        raise ValueError("an owner must be named")
    owner = "" if owner == LOCAL else owner  # as the command line has always been called here
    return hashlib.sha256(owner.encode()).hexdigest()[:32]


class PausedRows:
    """The rows of all paused runs, and their states.

    Args:
        database: the history's.
        shelf: where the history's files lie.
        lease_s: how long a process that says nothing keeps its runs.
    """

    def __init__(self, database: Database, shelf: Shelf, lease_s: float = LEASE_S) -> None:
        self.lease_s = lease_s
        self._database, self._shelf = database, shelf

    def waiting(self, owner: str) -> list[PausedState]:
        """Those of an owner that nobody has, the newest first."""
        with self._database.read() as session:
            return list(session.scalars(select(PausedState).where(
                PausedState.owner == owner, _is_free(session)).order_by(
                    PausedState.number.desc(), PausedState.saved_s.desc())))

    def find(self, owner: str, run_id: str, free: bool = False) -> PausedState:
        """A run.

        Args:
            owner: whose it must be.
            run_id: its name.
            free: whether nobody may have it.

        Raises:
            PausedRunError: it is not there, or under way.
        """
        with self._database.read() as session:
            found = session.execute(select(PausedState, _is_free(session)).where(
                *_mine(owner, run_id))).first()
        if found is None or (free and not found[1]):
            raise PausedRunError(GONE if found is None else UNDER_WAY)
        return found[0]

    def claim(self, owner: str, run_id: str, lease: str) -> None:
        """Make a run that nobody has one's own.

        Raises:
            PausedRunError: it is not there, or under way.
        """
        with self._database.write() as session:
            claimed = session.execute(update(PausedState).where(
                *_mine(owner, run_id), _is_free(session)).values(
                    self._leased(session, lease)).returning(PausedState.run_id)).first()
        if claimed is None:
            self._refuse(owner, run_id)

    def read(self, state: PausedState) -> bytes:
        """The state that a row names.

        Raises:
            OSError: it is not there.
            HistoryError: the store of the files cannot be used.
        """
        return self._shelf.read(state.key)

    def put(self, owner: str, run_id: str, lease: str, is_new: bool, counts: bool, data: bytes,
            facts: Mapping[str, Any], check: Check) -> None:
        """Keep a state of a run that one has, or of a new one, and have it from then on.

        Of several that look for room at once, each sees what those before it have taken.

        Args:
            is_new: whether the run may not be there yet.
            counts: whether its place in the order of pausing is the newest from now on.
            data: the state.
            facts: values of the row's other columns, without "number".
            check: whether there is room beside what others have; what it raises is raised.

        Raises:
            RunTakenOver: somebody else has it, or deleted it.
            OSError: the state cannot be written.
            HistoryError: it cannot be kept.
        """
        check(self.used(owner, run_id))  # before anything is written in vain
        key = self._put_state(run_id, data)
        try:
            old, kept = self._put_row(owner, run_id, lease, is_new, counts, check,
                                      {**facts, "key": key, "size_bytes": len(data)})
        except PausedRunError:
            self._remove_state(key)
            raise
        if old is not None or not kept:  # not where this is not known: then it is an orphan
            self._remove_state(key if not kept else str(old))
        if not kept:
            raise RunTakenOver(TAKEN_OVER)

    def add(self, run_id: str, data: bytes, facts: Mapping[str, Any]) -> None:
        """Keep the state of a run that nobody has; one that is there already is left as it is.

        Args:
            facts: values of all other columns.

        Raises:
            OSError: the state cannot be written.
            HistoryError: it cannot be kept.
        """
        key = self._put_state(run_id, data)
        with self._database.write() as session:
            added = _insert(session, {**facts, "run_id": run_id, "key": key,
                                      "size_bytes": len(data), "holder": "", "lease_until_s": 0.0})
        if not added:
            self._remove_state(key)

    def renew(self, leases: Collection[str]) -> int:
        """Have runs for longer; how many of the leases hold."""
        with self._database.write() as session:
            return len(session.execute(update(PausedState).where(
                PausedState.holder.in_(leases)).values(
                    lease_until_s=now_s(session) + self.lease_s)
                .returning(PausedState.run_id)).all())

    def release(self, lease: str) -> None:
        """Let others have the run of a lease."""
        with self._database.write() as session:
            session.execute(update(PausedState).where(PausedState.holder == lease)
                            .values(holder="", lease_until_s=0.0))

    def drop(self, lease: str) -> None:
        """Remove the run of a lease, if it holds."""
        self._remove([PausedState.holder == lease])

    def delete(self, owner: str, run_id: str) -> None:
        """Remove a run that nobody has.

        Raises:
            PausedRunError: it is not there, or under way.
        """
        if not self._remove(_mine(owner, run_id), only_free=True):
            self._refuse(owner, run_id)

    def used(self, owner: str, run_id: str) -> Used:
        """What others than a run of an owner have of the room."""
        with self._database.read() as session:
            return _used(session, owner, run_id)

    def sweep(self, max_age_s: float) -> int:
        """Remove runs that were kept so long ago, and states that no row names.

        Returns:
            How many runs were removed.
        """
        with self._database.read() as session:
            oldest_s = session.scalar(select(now_s(session) - max_age_s))
        removed = self._remove([PausedState.saved_s < oldest_s], only_free=True)
        old = list(self._shelf.old(KIND, ORPHAN_S))
        for first in range(0, len(old), SWEEP_BATCH):
            batch = old[first:first + SWEEP_BATCH]
            with self._database.read() as session:
                named = set(session.scalars(select(PausedState.key).where(
                    PausedState.key.in_(batch))))
            for key in batch:
                if key not in named:
                    self._remove_state(key)
        return removed

    def _put_row(self, owner: str, run_id: str, lease: str, is_new: bool, counts: bool,
                 check: Check, facts: Mapping[str, Any]) -> tuple[str | None, bool]:
        """The state that a run had before, and whether the one that ``facts`` name is its now."""
        with self._database.write() as session:
            take_turns(session, ROOM_LOCK)
            check(_used(session, owner, run_id))
            old = session.scalar(select(PausedState.key).where(
                PausedState.run_id == run_id, PausedState.holder == lease).with_for_update())
            values = {**facts, **self._leased(session, lease)}
            if counts or old is None:
                values["number"] = session.scalar(
                    select(func.coalesce(func.max(PausedState.number), 0) + 1).where(
                        PausedState.owner == owner))
            if old is not None:
                session.execute(update(PausedState).where(PausedState.run_id == run_id)
                                .values(values))
            return old, old is not None or (is_new and _insert(
                session, {**values, "run_id": run_id, "owner": owner}))

    def _put_state(self, run_id: str, data: bytes) -> str:
        key = f"{KIND}/{run_id}-{secrets.token_hex(8)}{SUFFIX}"
        self._shelf.put(key, data)
        return key

    def _leased(self, session: Session, lease: str) -> dict[str, Any]:
        return {"holder": lease, "lease_until_s": now_s(session) + self.lease_s}

    def _remove(self, chosen: list[ColumnElement[bool]], only_free: bool = False) -> int:
        """Remove runs; the rows first, so that none is without its state."""
        with self._database.write() as session:
            free = [_is_free(session)] if only_free else []
            keys = list(session.scalars(delete(PausedState).where(*chosen, *free)
                                        .returning(PausedState.key)))
        for key in keys:
            self._remove_state(key)
        return len(keys)

    def _remove_state(self, key: str) -> None:
        """Remove what no row names; what cannot be removed now is an orphan, which is swept."""
        with suppress(OSError, HistoryError):
            self._shelf.remove(key)

    def _refuse(self, owner: str, run_id: str) -> NoReturn:
        """Say why a run could not be had."""
        self.find(owner, run_id)
        raise PausedRunError(UNDER_WAY)


def _mine(owner: str, run_id: str) -> list[ColumnElement[bool]]:
    return [PausedState.run_id == run_id, PausedState.owner == owner]


def _used(session: Session, owner: str, run_id: str) -> Used:
    size = PausedState.size_bytes
    mine = PausedState.owner == owner
    # One that is about to be let go of was paused already.
    placed = mine & or_(_is_free(session), not_(PausedState.interrupted))
    found = session.execute(select(
        func.coalesce(func.sum(size), 0), func.coalesce(func.sum(size).filter(mine), 0),
        func.count().filter(placed)).where(PausedState.run_id != run_id)).one()
    return Used(*map(int, found))


def _is_free(session: Session) -> ColumnElement[bool]:
    return PausedState.lease_until_s <= now_s(session)


def _insert(session: Session, values: Mapping[str, Any]) -> bool:
    """Add a row; False where its run is there already."""
    made = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    return session.execute(made.insert(PausedState).values(values).on_conflict_do_nothing(
        index_elements=[PausedState.run_id]).returning(PausedState.run_id)).first() is not None

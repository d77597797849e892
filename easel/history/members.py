"""The shared history: who signed in to it with the operator's password."""

from __future__ import annotations

import hashlib
import hmac
import time

from sqlalchemy import delete

from easel.history.database import Database
from easel.history.lockout import Lockout
from easel.history.records import HistoryError
from easel.history.tables import Member

SHARED = "shared"  # the owner of what members make


class Members:
    """Visitors who see and fill the shared history in place of their own.

    Args:
        database: where memberships survive a restart.
        password: who knows it may sign in; with another one all members must sign in again.
    """

    def __init__(self, database: Database, password: str) -> None:
        self._database = database
        self._fingerprint = hashlib.scrypt(password.encode(), salt=b"easel shared history",
                                           n=2**14, r=8, p=1, dklen=32).hex()
        self._password = password.encode()
        self._lockout = Lockout()

    def __contains__(self, visitor: str) -> bool:
        with self._database.read() as session:
            member = session.get(Member, visitor)
        return member is not None and member.fingerprint == self._fingerprint

    def sign_in(self, visitor: str, password: str, address: str = "") -> None:
        """Let a visitor in.

        Args:
            visitor: who asks.
            password: as it was typed.
            address: where from, as ``lockout.source_of`` gives it; empty where it is not known.

        Raises:
            HistoryError: the password is wrong, or too many wrong ones came from there in a
                minute.
        """
        if self._lockout.blocked(visitor, address):
            raise HistoryError("There were too many wrong passwords: try again in a minute.")
        if not hmac.compare_digest(password.encode(errors="replace"), self._password):
            self._lockout.note(visitor, address)
            raise HistoryError("That is not the password of the shared history.")
        with self._database.write() as session:
            session.merge(Member(visitor=visitor, fingerprint=self._fingerprint,
                                 since_s=time.time()))

    def sign_out(self, visitor: str) -> None:
        """Let a visitor go back to a history of their own."""
        with self._database.write() as session:
            session.execute(delete(Member).where(Member.visitor == visitor))

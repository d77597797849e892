"""Votes of one address: whoever makes up visitors gets no more of them than a room has people."""

from __future__ import annotations

import threading
from collections import OrderedDict

from pipelines.core.errors import Busy

REMEMBERED = 20_000  # pictures and addresses; the oldest are forgotten


class Ballots:
    """Who voted for which picture from where, since this process began; nothing of it is kept.

    A visitor is a token, which costs nothing to make up; a room behind one address has as many as
    people in it.

    Args:
        most: visitors of one address who may vote for a picture.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._voters: OrderedDict[tuple[str, str], set[str]] = OrderedDict()
        self._lock = threading.Lock()

    def cast(self, picture_id: str, visitor: str, address: str) -> None:
        """Note a vote before it is counted.

        Args:
            picture_id: for which picture.
            visitor: who votes; a second vote of theirs is none.
            address: where from; empty where that is not known, or this machine, which is free.

        Raises:
            Busy: so many others voted from there.
        """
        if not address:
            return
        with self._lock:
            voters = self._voters.setdefault((picture_id, address), set())
            if len(voters - {visitor}) >= self.most:
                raise Busy("{} visitors have voted for this picture from your address, which is "
                           "the most.", self.most)
            voters.add(visitor)
            while len(self._voters) > REMEMBERED:
                self._voters.popitem(last=False)

    def take_back(self, picture_id: str, visitor: str, address: str) -> None:
        """Forget a vote that no longer counts."""
        with self._lock:
            self._voters.get((picture_id, address), set()).discard(visitor)

"""Who reads files of strangers now: a few of one visitor, of one address, and of all.

Pictures are decoded and archives unpacked before there is a job, in the server's own threads; the
queue's limits see nothing of it. Nobody waits for a turn, which would hold a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from easel.guard.visitors import requester
from easel.serving.jobs import Requester
from easel.serving.line import ADDRESS_SHARE
from pipelines.core.errors import Busy
from pipelines.core.heap import give_back

MAX_EACH, MAX_ALL = 2, 8  # of 80 threads; of the eight, six of one address


class Turns:
    """What is read at the same time.

    Args:
        each: the most of one visitor.
        most: the most of all, of which ``ADDRESS_SHARE`` may come from one address.
    """

    def __init__(self, each: int = MAX_EACH, most: int = MAX_ALL) -> None:
        self.each, self.most = each, most
        self._reading: list[Requester] = []
        self._lock = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """For whoever reads files outside the device's queue; memory is given back at the end.

        Raises:
            Busy: so many are being read of this visitor, from this address, or in all.
        """
        who = requester()
        with self._lock:
            if (refusal := self._refusal(who)) is not None:
                raise refusal
            self._reading.append(who)
        try:
            yield
        finally:
            with self._lock:
                self._reading.remove(who)
            give_back()

    def turn_for(self, pictures: Mapping[str, Any]) -> AbstractContextManager[None]:
        """A turn for checking a request where it brings pictures, which are decoded then.

        Args:
            pictures: its fields that hold pictures.
        """
        return self.turn() if any(pictures.values()) else nullcontext()

    def _refusal(self, who: Requester) -> Busy | None:
        own = sum(each.visitor == who.visitor for each in self._reading)
        if who.visitor and own >= self.each:
            return Busy("Files of yours are being read {} times already, which is the most: wait "
                        "for one to end, and try again.", own)
        near = sum(each.address == who.address for each in self._reading)
        if who.address and near >= max(self.each, int(self.most * ADDRESS_SHARE)):
            return Busy("Files from your address are being read {} times already, which is the "
                        "most: try again in a minute.", near)
        if len(self._reading) >= self.most:
            return Busy("Files of others are being read, {} at the same time is the most: try "
                        "again in a minute.", self.most)
        return None


reading = Turns()

"""Guessing of passwords, made slow for whoever guesses and for nobody else."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict

WINDOW_S = 60.0
MAX_WRONG = 10  # of one visitor in a window
MAX_WRONG_AT = 30  # of one address: anyone can be many visitors, and some addresses are an office's
MAX_KEYS = 10_000


class Lockout:
    """Counts the wrong passwords of the last minute by who gave them and from where.

    There is no count of all of them together: ten requests a minute from anyone would then keep
    out everyone who knows the password.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    def blocked(self, visitor: str, address: str = "") -> bool:
        """Whether too many wrong passwords came from a visitor, or from an address.

        Args:
            visitor: id of a visitor.
            address: as ``source_of`` gives it; empty where it is not known.
        """
        now = time.monotonic()
        with self._lock:
            return (len(self._recent(visitor, now)) >= MAX_WRONG
                    or (bool(address) and len(self._recent(address, now)) >= MAX_WRONG_AT))

    def note(self, visitor: str, address: str = "") -> None:
        """A wrong password came from there."""
        now = time.monotonic()
        with self._lock:
            for caller in filter(None, (visitor, address)):
                self._wrong[caller] = [*self._recent(caller, now), now]
                self._wrong.move_to_end(caller)
            while len(self._wrong) > MAX_KEYS:
                self._wrong.popitem(last=False)

    def _recent(self, caller: str, now: float) -> list[float]:
        return [at for at in self._wrong.get(caller, ()) if now - at < WINDOW_S]


def source_of(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that an IPv6 one is picked from."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)

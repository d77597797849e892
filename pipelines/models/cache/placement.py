"""Which models are on the device, which wait in host memory, and which leave when room is short.

Two places with a budget of bytes each, above the disk. What must leave the device goes to the host
where it fits, and what must leave the host is dropped. Nothing here moves a tensor or takes a
lock: the cache calls it with its lock held and carries the moves out afterwards, in this order.

The least recently used leave first.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import nn

Place = Literal["disk", "host", "device"]


class ModelKey(NamedTuple):
    """What makes two leases share one copy."""

    model_id: str
    device: str
    dtype: torch.dtype


@dataclass(eq=False)
class Entry:
    """All that is known of one key.

    ``leases`` also counts those who wait for the model in flight, so that it cannot be evicted
    between its arrival and its first use. While ``future`` is set, the model is on its way to the
    device, and its place is counted there already.

    An ``offloaded`` model is on the device with ``size_bytes``, while its weights, ``host_bytes``,
    stay in host memory. When it leaves the device it leaves both.
    """

    key: ModelKey
    model: nn.Module | None = None
    place: Place = "disk"
    future: Future[None] | None = None
    leases: int = 0
    pinned: bool = False
    size_bytes: int = 0
    offloaded: bool = False
    host_bytes: int = 0
    load_s: float | None = None
    move_s: float | None = None
    last_used: int = 0
    hits: int = 0
    misses: int = 0
    evictions: int = 0  # how often it left the device for want of room

    @property
    def idle(self) -> bool:
        """Whether it may leave the device: nobody uses it, awaits it, or has pinned it."""
        return not self.leases and not self.pinned and self.future is None


class Move(NamedTuple):
    """A model that must be moved to host memory now."""

    entry: Entry
    model: nn.Module


@dataclass
class Placement:
    """The entries and where they are.

    Args:
        device_budget_bytes: None for no limit.
        host_budget_bytes: likewise; 0 to keep nothing there.
    """

    device_budget_bytes: int | None
    host_budget_bytes: int | None
    entries: dict[ModelKey, Entry] = field(default_factory=dict)
    _uses: int = 0

    def entry(self, key: ModelKey) -> Entry:
        """The entry of a key, a new one where there is none."""
        if key not in self.entries:
            self.entries[key] = Entry(key)
        return self.entries[key]

    def touch(self, entry: Entry) -> None:
        """Note that a model was used just now."""
        self._uses += 1
        entry.last_used = self._uses

    def used_bytes(self, place: Place) -> int:
        """Bytes of what is in a place or on its way there."""
        whole = sum(e.size_bytes for e in self.entries.values() if e.place == place)
        return whole + (sum(e.host_bytes for e in self.entries.values()) if place == "host" else 0)

    def held_bytes(self) -> int:
        """Bytes on the device that cannot leave now."""
        return sum(e.size_bytes for e in self.entries.values()
                   if e.place == "device" and not e.idle)

    def admit(self, entry: Entry, need: int) -> list[Move] | None:
        """Count a lease of an entry and its place on the device, and make room for it there.

        Args:
            entry: one that is not on the device.
            need: bytes that it will take.

        Returns:
            What to carry out first; None where even the idle models' room is not enough, and then
            nothing was changed.
        """
        budget = self.device_budget_bytes
        if budget is not None and self.held_bytes() + need > budget:
            return None
        # Counted first, so that it neither stands in its own way on the host nor is evicted.
        entry.leases += 1
        entry.place, entry.size_bytes = "device", need
        return self._evict_to_budget()

    def admit_offloaded(self, entry: Entry, need: int) -> list[Move] | None:
        """As ``admit``, for a model whose weights stay in host memory.

        Args:
            entry: one that is not on the device.
            need: bytes of its weights; what it takes on the device is measured later.
        """
        budget = self.host_budget_bytes
        held = sum(e.host_bytes for e in self.entries.values() if not e.idle)
        if budget is not None and held + need > budget:
            return None
        moves = self.admit(entry, 0)
        if moves is not None:
            entry.offloaded, entry.host_bytes = True, need
            self._make_host_room(0)
        return moves

    def remeasure(self, entry: Entry, size_bytes: int, host_bytes: int = 0) -> list[Move] | None:
        """Note the bytes that a model on the device really takes; see ``admit``."""
        budget = self.device_budget_bytes
        entry.size_bytes, entry.host_bytes = size_bytes, host_bytes
        if budget is not None and self.held_bytes() > budget:
            return None
        if host_bytes and not self._make_host_room(0):
            return None
        return self._evict_to_budget()

    def _evict_to_budget(self) -> list[Move]:
        budget = self.device_budget_bytes
        if budget is None:
            return []
        return self.evict(lambda: self.used_bytes("device") <= budget)

    def evict(self, enough: Callable[[], bool]) -> list[Move]:
        """Take idle models off the device, the least recently used first, until ``enough``."""
        moves = []
        for entry in self._leaving("device"):
            if enough():
                break
            entry.evictions += 1
            if not entry.offloaded and self._make_host_room(entry.size_bytes):
                entry.place = "host"
                if entry.model is not None:
                    moves.append(Move(entry, entry.model))
            else:
                self.drop(entry)
        return moves

    def drop(self, entry: Entry) -> None:
        """Forget a model's copy in memory."""
        entry.model, entry.place = None, "disk"
        if entry.offloaded:
            entry.size_bytes = entry.host_bytes  # as a whole, should there be room next time
            entry.offloaded, entry.host_bytes = False, 0

    def _leaving(self, place: Place) -> list[Entry]:
        idle = [e for e in self.entries.values()
                if e.idle and (e.place == place or (place == "host" and e.offloaded))]
        return sorted(idle, key=lambda e: e.last_used)

    def _make_host_room(self, need: int) -> bool:
        budget = self.host_budget_bytes
        if budget is None:
            return True
        if need > budget:
            return False
        for entry in self._leaving("host"):
            if self.used_bytes("host") + need <= budget:
                break
            entry.evictions += entry.offloaded
            self.drop(entry)
        return self.used_bytes("host") + need <= budget

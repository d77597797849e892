"""Who holds which model, so that a lease that is never given back is reported."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass

# Frames between a lease and the code that asked for it.
_BETWEEN = ("contextlib", "pipelines.models.cache.leases",
            "pipelines.models.cache.cache", "pipelines.registry")


@dataclass(frozen=True, eq=False)
class LeaseNote:
    """One lease: of which model, since when (``time.monotonic``), taken where and by whom."""

    model_id: str
    since_s: float
    place: str
    thread: str

    def __str__(self) -> str:
        return (f"A lease of {self.model_id}, taken {time.monotonic() - self.since_s:.0f} s ago at "
                f"{self.place} by the thread {self.thread}, was never given back.")


class LeaseBook:
    """The leases that are held now."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # see ModelCache on the garbage collector
        self._notes: set[LeaseNote] = set()

    def begin(self, model_id: str) -> LeaseNote:
        """Note a lease."""
        note = LeaseNote(model_id, time.monotonic(), _caller(), threading.current_thread().name)
        with self._lock:
            self._notes.add(note)
        return note

    def end(self, note: LeaseNote) -> None:
        """Forget it."""
        with self._lock:
            self._notes.discard(note)

    def open(self) -> list[LeaseNote]:
        """The leases that are held, the oldest first."""
        with self._lock:
            return sorted(list(self._notes), key=lambda note: note.since_s)


def _caller() -> str:
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "") in _BETWEEN:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"

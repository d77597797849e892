"""Streams of what a page shows: how often, and several as one."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Iterator, Sequence

from easel.ui.parts.lines import Updates

# A page that is redrawn more often than people see costs the device's thread its time.
REDRAW_EVERY_S = 0.12


class Throttle:
    """Tells when something is worth showing again.

    Args:
        every_s: seconds between the end of one showing and the beginning of the next.
    """

    def __init__(self, every_s: float = REDRAW_EVERY_S) -> None:
        self.every_s, self._shown_s = every_s, float("-inf")

    def due(self) -> bool:
        """Whether the last showing is long enough ago."""
        return time.monotonic() - self._shown_s > self.every_s

    def shown(self) -> None:
        """It has been shown now."""
        self._shown_s = time.monotonic()


def merged(streams: Sequence[Iterator[Updates]]) -> Iterator[Updates]:
    """Updates of several streams as they come."""
    if len(streams) == 1:
        yield from streams[0]
        return
    waiting: queue.SimpleQueue[Updates | None] = queue.SimpleQueue()

    def pump(stream: Iterator[Updates]) -> None:
        try:
            for updates in stream:
                waiting.put(updates)
        finally:
            waiting.put(None)

    for stream in streams:
        context = contextvars.copy_context()  # the language of who asks, for one
        threading.Thread(target=context.run, args=(pump, stream), daemon=True).start()
    left = len(streams)
    while left:
        updates = waiting.get()
        if updates is None:
            left -= 1
        else:
            yield updates

"""Streams of what a page shows: how often."""

from __future__ import annotations

import time

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

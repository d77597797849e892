"""How much of the device each visitor may have in a minute, on average: a bucket of seconds each.

Source: the token bucket, as of Turner, "New Directions in Communications" (1986). What a run takes
beyond it is a debt, which has to be paid off by waiting before the next run begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MINUTE_S = 60.0
MAX_OWNERS = 10_000  # whose seconds are known


class Allowance:
    """Counts device seconds by owner; like the line that asks it, it has no lock.

    Args:
        seconds: that an owner gets in a minute, and may save up for one; None for no limit.
        clock: seconds that only grow.
    """

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._clock = seconds, clock
        self._left: dict[str, tuple[float, float]] = {}  # seconds left, and when that was so

    def spend(self, owner: str, seconds: float) -> None:
        """Count what somebody's work took."""
        if self.seconds is None or not owner:
            return
        left_s = self._now(owner) - seconds
        self._left.pop(owner, None)
        self._left[owner] = (left_s, self._clock())
        while len(self._left) > MAX_OWNERS:  # the one that took something the longest ago
            del self._left[next(iter(self._left))]

    def wait_s(self, owner: str) -> float:
        """How long an owner has to wait before more is allowed; 0 for not at all."""
        if self.seconds is None or not owner:
            return 0.0
        left_s = self._now(owner)
        return 0.0 if left_s > 0 else max(1.0, -left_s * MINUTE_S / self.seconds)

    def _now(self, owner: str) -> float:
        assert self.seconds is not None
        left_s, at_s = self._left.get(owner, (self.seconds, self._clock()))
        return min(self.seconds, left_s + (self._clock() - at_s) * self.seconds / MINUTE_S)

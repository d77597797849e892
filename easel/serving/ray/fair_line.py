"""The line before several devices: whoever has had least of them lately comes first."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from easel.serving.jobs import Group
from easel.serving.line import Line

HALF_LIFE_S = 600.0
PLACE_S = 5.0  # what each job of one's own that comes before counts for
MAX_OWNERS = 10_000


class FairLine(Line):
    """A line in order of what its owners had: device seconds, of which half are forgotten in ten
    minutes, and some more for each of one's own that comes before. Those that are run again,
    because what ran them was lost, come first.

    Args:
        max_waiting, max_per_owner, minute_s: see ``Line``.
        clock: seconds that only grow.
    """

    def __init__(self, max_waiting: int = 20, max_per_owner: int | None = None,
                 minute_s: float | None = None, clock: Callable[[], float] = time.monotonic,
                 ) -> None:
        super().__init__(max_waiting, max_per_owner, minute_s)
        self.devices = 0
        self.again: set[Group] = set()
        self._clock = clock
        self._spent: dict[str, tuple[float, float]] = {}  # seconds, and when they were that many

    def in_order(self) -> list[Group]:
        """What runs, in the order in which it came, then what waits."""
        groups = super().in_order()
        running, waiting = [g for g in groups if g.started()], [g for g in groups
                                                               if not g.started()]
        used: dict[str, float] = {}
        for group in running:
            used[group.owner] = used.get(group.owner, 0.0) + group.device_s()
        before = Counter(group.owner for group in running)
        ranks = []
        for number, group in enumerate(waiting):
            owner = group.owner
            had_s = self.spent_s(owner) + used.get(owner, 0.0) + PLACE_S * before[owner]
            ranks.append((group not in self.again, had_s, number))
            before[owner] += 1
        return running + [waiting[number] for *_, number in sorted(ranks)]

    def leave(self, group: Group) -> None:
        """Take a group out, and count what it took."""
        super().leave(group)
        self.again.discard(group)
        spent_s = self.spent_s(group.owner) + group.device_s()
        self._spent.pop(group.owner, None)
        self._spent[group.owner] = (spent_s, self._clock())
        while len(self._spent) > MAX_OWNERS:
            del self._spent[next(iter(self._spent))]

    def spent_s(self, owner: str) -> float:
        """Device seconds that count against an owner now, without those of what runs."""
        spent_s, at_s = self._spent.get(owner, (0.0, 0.0))
        return spent_s * 0.5 ** ((self._clock() - at_s) / HALF_LIFE_S) if spent_s else 0.0

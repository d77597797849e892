"""How many runners there are to be: more while people wait long, fewer after a quiet time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from easel.serving.jobs import Job
from easel.serving.line import RuntimeEstimator
from easel.serving.ray.messages import Terms

LOOKED_EVERY_S = 1.0
UNKNOWN_S = 10.0  # device seconds of a job where nothing like it has ended yet


@dataclass(frozen=True)
class Seen:
    """How a cluster fares at a moment.

    Attributes:
        runners: how many there are.
        working: how many of them have work.
        waiting: how many places of the line wait.
        work_s: device seconds that all that runs and waits may still take.
        waited_s: for how long the one that waits longest does.
        room: how many runners the machines have room for; None where more machines may come.
    """

    runners: int = 0
    working: int = 0
    waiting: int = 0
    work_s: float = 0.0
    waited_s: float = 0.0
    room: int | None = None


@dataclass(frozen=True)
class Wish:
    """How many runners there are to be.

    Attributes:
        runners: that many.
        peak: the most that were needed at the same time since then, fewer than there are.
        since_s: when all were needed last.
    """

    runners: int
    peak: int
    since_s: float


def decide(before: Wish | None, seen: Seen, terms: Terms, now_s: float) -> Wish:
    """How many runners there are to be from now on.

    While somebody waits there are so many that each has ``terms.wait_s`` of work at most, and one
    more than there are where somebody has waited for so long; never more than there are places in
    the line. Where for ``terms.idle_s`` not all were needed, there are as many as were needed at
    the same time in that while.

    Args:
        before: what was decided last; None where nothing is known, and there are as many as it is.
        seen: how the cluster fares.
        terms: what bounds it.
        now_s: by a clock that only grows.
    """
    most = terms.most if seen.room is None else max(terms.least, min(terms.most, seen.room))
    runners = min(max(terms.least, seen.runners if before is None else before.runners), most)
    needed = seen.working + seen.waiting
    if seen.waiting:
        wanted = math.ceil(seen.work_s / terms.wait_s)
        if seen.waited_s > terms.wait_s:
            wanted = max(wanted, seen.runners + 1)
        runners = max(runners, min(wanted, needed, most))
    if before is None or needed >= runners:
        return Wish(runners, 0, now_s)
    peak = max(before.peak, needed)
    if now_s - before.since_s < terms.idle_s:
        return replace(before, runners=runners, peak=peak)
    return Wish(max(terms.least, min(peak, runners)), 0, now_s)


def work_s(jobs: Iterable[Job], runtimes: RuntimeEstimator) -> float:
    """Device seconds that jobs may still take together."""
    found = 0.0
    for job in jobs:
        expected_s = runtimes.expected_s(job)
        found += UNKNOWN_S if expected_s is None else expected_s
    return found


class Scaler:
    """Sees now and then how many runners there are to be.

    Args:
        clock: seconds that only grow.
        begins_s: after so many nothing is decided yet, since not all that there are were heard of.
    """

    def __init__(self, clock: Callable[[], float], begins_s: float) -> None:
        self._clock, self._next_s = clock, clock() + begins_s
        self._wish: Wish | None = None

    def look(self, terms: Terms, seen: Callable[[], Seen]) -> None:
        """Decide anew, where it is time."""
        now_s = self._clock()
        if terms.least < terms.most and now_s >= self._next_s:
            self._next_s = now_s + LOOKED_EVERY_S
            self._wish = decide(self._wish, seen(), terms, now_s)

    def wanted(self, terms: Terms) -> int:
        """How many runners there are to be now; 0 where that is not known yet."""
        if terms.least == terms.most:
            return terms.least
        return self._wish.runners if self._wish is not None else 0

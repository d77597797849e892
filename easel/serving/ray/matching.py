"""Which of those who wait goes to which of the runners that are free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from easel.serving.jobs import Group
from easel.serving.ray.messages import Order, Report, Ticket

LOOKED_AT = 16  # of those who wait, when a runner is free; with 1 nobody is overtaken
OVERTAKEN = 6  # times at most


@dataclass(eq=False)
class Entry:
    """A ticket on its way.

    Attributes:
        runner: where it was granted to; empty while it waits.
        overtaken: how often another that came later was granted before it.
        pausing: jobs that are to be paused once they begin.
        left: its front end is through with it.
    """

    ticket: Ticket
    group: Group
    runner: str = ""
    overtaken: int = 0
    pausing: set[str] = field(default_factory=set)
    left: bool = False

    def job_ids(self) -> tuple[str, ...]:
        """Names of its jobs."""
        return tuple(job.job_id for job in self.group.jobs)

    def models(self) -> frozenset[str]:
        """Catalogue ids that its jobs need."""
        return frozenset(model for job in self.group.jobs for model in job.models)


@dataclass(eq=False)
class Runner:
    """A runner that reports.

    Attributes:
        seen_s: when it did last.
        token: of what it was granted and has not ended; empty where there is none.
        orders: what it has not been told yet.
        leaves: it takes no more work, because it is about to end.
    """

    report: Report
    seen_s: float
    token: str = ""
    orders: list[Order] = field(default_factory=list)
    leaves: bool = False

    def has_work(self) -> bool:
        """Whether it draws, or is about to."""
        return bool(self.token or self.report.running)

    def is_idle(self) -> bool:
        """Whether it can draw."""
        return not (self.has_work() or self.leaves)

    def holds(self, entry: Entry) -> bool:
        """Whether it holds all models of a ticket."""
        return entry.models() <= self.report.models


def match(waiting: Sequence[Entry], idle: Sequence[Runner], looked_at: int = LOOKED_AT,
          ) -> tuple[Entry, Runner]:
    """The next to draw, and where.

    A runner that holds the models of a ticket may draw it before those that came first and whose
    models it lacks, each of which is overtaken so a few times at most. Akin to delay scheduling,
    Zaharia et al., EuroSys 2010.

    Args:
        waiting: at least one, in order; those that are overtaken count it.
        idle: at least one.
        looked_at: how many of those who wait.
    """
    first = waiting[0]
    for number, entry in enumerate(waiting[:looked_at]):
        for runner in idle:
            if runner.holds(entry):
                for other in waiting[:number]:
                    other.overtaken += 1
                return entry, runner
        if entry.overtaken >= OVERTAKEN or entry.ticket.again:
            break  # nobody comes before this one any more
    return first, max(idle, key=lambda each: (len(first.models() & each.report.models),
                                              -len(each.report.models)))

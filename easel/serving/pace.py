"""How long jobs take here, to tell those who wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from easel.serving.jobs import Group, Job

REMEMBERED = 20


class Pace:
    """Device seconds of the last finished jobs of each kind."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}

    def note(self, job: Job) -> None:
        """Remember a job that ran to its end."""
        if job.outcome() == "done":
            self._seconds.setdefault(job.kind, deque(maxlen=REMEMBERED)).append(
                job.usage.device_s)

    def expected_s(self, job: Job) -> float | None:
        """Device seconds that a job may still take; None where nothing like it has ended here."""
        past = self._seconds.get(job.kind)
        if not past:
            return None
        if job.finished:
            return 0.0
        whole_s = sum(past) / len(past)
        step, total = job.progress.step, job.progress.total
        if job.started and 0 < step <= total:
            whole_s = job.usage.device_s * total / step
        if job.budget_s is not None:
            whole_s = min(whole_s, job.budget_s)
        return max(0.0, whole_s - job.usage.device_s)

    def wait_s(self, ahead: Sequence[Group]) -> float | None:
        """Seconds until the groups ahead are done; None where that is not known of one."""
        parts = [self.expected_s(job) for group in ahead for job in group.jobs
                 if not job.abandoned]
        return sum(p for p in parts if p is not None) if None not in parts else None

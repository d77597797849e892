"""A desk of a cluster whose runners do as a test says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from easel.serving.jobs import Requester, Usage
from easel.serving.ray.desk import Desk
from easel.serving.ray.messages import Ask, Ended, Outlook, Report, Ticket
from pipelines.core.events import Progress

MODELS = {"a": ("model-a",), "b": ("model-b",)}


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Hall:
    """A desk with runners that do as they are told, and no more."""

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.desk = Desk(clock=self.clock, **limits)
        self.reports: dict[str, Report] = {}

    def outlook(self, token: str) -> Outlook:
        """How a ticket fares that the desk knows."""
        found = self.desk.look(token)
        assert found is not None
        return found

    def runner(self, name: str, models: tuple[str, ...] = ()) -> None:
        """A runner comes, or says again what it has."""
        before = self.reports.get(name, Report(name, 0))
        self.say(replace(before, models=before.models | frozenset(models)))

    def say(self, report: Report) -> None:
        self.reports[report.runner] = replace(report, number=report.number + 1)
        self.desk.report(self.reports[report.runner])

    def join(self, token: str, owner: str = "", models: tuple[str, ...] = (), **fields: object,
             ) -> Exception | None:
        """A front end hands in a ticket for a job of the same name."""
        return self.desk.join(Ticket(token, "front", (Ask(token, "sketch", models=models),),
                                     Requester(owner), **fields))  # type: ignore[arg-type]

    def where(self, token: str) -> str | None:
        outlook = self.desk.look(token)
        return outlook.runner if outlook is not None else None

    def takes(self, name: str, token: str) -> None:
        """A runner has begun some work."""
        before = self.reports[name]
        self.say(replace(before, running={token: {token: (Usage(), Progress())}}))

    def ends(self, name: str, token: str, device_s: float = 1.0, outcome: str = "done") -> None:
        """A runner has ended some work."""
        before = self.reports[name]
        self.say(replace(before, running={}, ended={
            token: (Ended(token, outcome, Usage(device_s)),)}))

"""What front ends, the desk and the runners say to each other: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from easel.serving.jobs import Requester, RunnerCounts, Usage
from pipelines.core.errors import EaselError
from pipelines.core.events import Progress

ENDED = ("The cluster has ended: whoever runs Easel starts it again, and then the server of this "
         "page.")
OTHER_EASEL = ("The machine {} has another version of Easel than the desk of its cluster: give all "
               "machines the same.")


@dataclass(frozen=True)
class Ask:
    """A job as the desk knows it; see ``easel.serving.jobs.Job``."""

    job_id: str
    kind: str
    about: str = ""
    models: tuple[str, ...] = ()
    budget_s: float | None = None


@dataclass(frozen=True)
class Ticket:
    """A place in the line.

    Attributes:
        token: its name; new for every try.
        front: the front end that asks.
        asks: jobs that share the place.
        requester: whose they are, as far as limits count it.
        waited_s: seconds since it was asked for first.
        again: it is asked for because its runner was lost, and comes first.
        known: a desk that has forgotten it took it in once.
        runner: where it runs already, as far as that desk does not know; empty while it waits.
        can_pause: whether its run can be paused.
        resumes: whether it goes on from a paused run.
    """

    token: str
    front: str
    asks: tuple[Ask, ...]
    requester: Requester
    waited_s: float = 0.0
    again: bool = False
    known: bool = False
    runner: str = ""
    can_pause: bool = False
    resumes: bool = False


@dataclass(frozen=True)
class Outlook:
    """How a ticket fares.

    Attributes:
        runner: the one that is to draw it; empty while it waits.
        told: what those read who wait.
        ended: errors of the jobs that ended before they began, by index.
    """

    runner: str
    told: Progress
    ended: Mapping[int, EaselError]


@dataclass(frozen=True)
class Work:
    """What a runner is to do.

    Attributes:
        method: of its backend.
        arguments: of the method, by name.
        job_ids: names of the jobs that come of it.
    """

    token: str
    method: str
    arguments: Mapping[str, Any]
    job_ids: tuple[str, ...]
    requester: Requester


@dataclass(frozen=True)
class Kept:
    """A runner keeps the state of a run under way.

    Attributes:
        run_id: its name among the paused runs.
        lease: the runner's on it, which is over once the runner is lost.
    """

    run_id: str
    lease: str


class Order(NamedTuple):
    """What a runner is told about work that it has or is about to get.

    Attributes:
        what: "stop" it and keep what is drawn, "pause" it, "close" it: pause it where that can be
            and else stop it, "abandon" it, because nobody looks any more, or take it for an
            "orphan", whose front end was lost: close it, and begin nothing of it.
        job_id: of which job; empty for all of a token.
    """

    what: Literal["stop", "pause", "close", "abandon", "orphan"]
    token: str
    job_id: str = ""


@dataclass(frozen=True)
class Ended:
    """A job that has ended on a runner."""

    job_id: str
    outcome: str
    usage: Usage


@dataclass(frozen=True)
class Holding:
    """What a runner's model cache tells, see ``easel.serving.metrics.CacheFigures``."""

    used_bytes: int = 0
    hits: int = 0
    misses: int = 0
    evictions: int = 0


@dataclass(frozen=True)
class Terms:
    """What whoever runs a cluster said last of its line and the number of its runners.

    Attributes:
        max_waiting, max_per_owner, minute_s: limits of the line, see ``easel.serving.line.Line``.
        least: how many runners there are at least.
        most: how many there are at most.
        wait_s: seconds of work a runner that people may wait before there are more.
        idle_s: seconds in which never all were needed, after which there are fewer.
        takes: what a runner takes of a machine, by Ray's names; empty where more machines come as
            they are needed.
        said_s: when it was said, as Unix time.
    """

    max_waiting: int = 20
    max_per_owner: int | None = None
    minute_s: float | None = None
    least: int = 1
    most: int = 1
    wait_s: float = 30.0
    idle_s: float = 600.0
    takes: Mapping[str, float] = field(default_factory=dict)
    said_s: float = 0.0


@dataclass(frozen=True)
class Report:
    """How a runner fares.

    Attributes:
        runner: its name.
        number: grows with every report of a runner.
        running: tokens of what it has, with usage and progress by job id.
        ended: what has ended lately, by token; the jobs are those that had begun.
        models: ids of the models that it holds.
        holding: figures of its model cache.
        device: what it computes on.
        easel: which code it runs, see ``easel.serving.ray.environment.code_digest``.
        pid: of its process.
        host: name of its machine.
        terms: what was said when it was started, for a desk that has not heard of it.
    """

    runner: str
    number: int
    running: Mapping[str, Mapping[str, tuple[Usage, Progress]]] = field(default_factory=dict)
    ended: Mapping[str, tuple[Ended, ...]] = field(default_factory=dict)
    models: frozenset[str] = frozenset()
    holding: Holding = Holding()
    device: str = "cpu"
    easel: str = ""
    pid: int = 0
    host: str = ""
    terms: Terms | None = None


@dataclass(frozen=True)
class RunnerFacts:
    """A runner as the desk knows it, and the jobs that it has."""

    report: Report
    job_ids: tuple[str, ...]


@dataclass(frozen=True)
class DeskFacts:
    """What the desk knows now.

    Attributes:
        running: how many jobs run.
        waiting: how many wait.
        counts: how often it has granted a job to a runner that held its models ("warm"), to another
            ("cold"), and again because a runner was lost ("again").
        suspended: whether most may not draw now.
        easel: which code the cluster runs.
        pid: of the desk's process.
        wanted: how many runners there are to be now; 0 where it is not known yet.
        least: how many at least.
        most: how many at most.
    """

    running: int
    waiting: int
    drains: bool
    runners: tuple[RunnerFacts, ...]
    counts: Mapping[str, int]
    suspended: bool = False
    easel: str = ""
    pid: int = 0
    wanted: int = 0
    least: int = 0
    most: int = 0

    def runner_counts(self) -> RunnerCounts:
        """How many there are, and are to be."""
        return RunnerCounts(len(self.runners), self.wanted, self.least, self.most)

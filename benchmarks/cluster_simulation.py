"""A cluster on paper: the desk that ships, before runners that only wait as long as a run takes.

Real code: ``easel.serving.ray.desk`` with its line, its fairness, its limits and its choice of a
runner, and ``pipelines.models.cache.placement``, which decides what models leave a runner. What
they are told is modelled: when people come (at random, each as likely as any other), how long a
run and a load take (``benchmarks.cluster_mixes``), and that nothing fails.

Every answer of a desk is timed, in seconds of the processor, and a desk that has more to answer
than there is time for answers late: what it costs is measured on this machine, not modelled. It is
asked as often as in the product: a ticket is handed in, looked at and given back; a runner reports
once a second and at the end of a run; who waits looks once a second. Reports and beats are made
less often than that, and their time is counted so many times.
"""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from statistics import mean, median
from typing import Any
from zlib import crc32

from benchmarks.cluster_machine import Machine
from benchmarks.cluster_mixes import Kind, Mix
from easel.serving.jobs import Requester, Usage
from easel.serving.ray.desk import Desk
from easel.serving.ray.matching import LOOKED_AT, Entry
from easel.serving.ray.messages import Ask, Ended, Report, Ticket
from pipelines.core.events import Progress
from pipelines.models.cache.placement import Placement

FRONT = "front"
REPORT_EVERY_S, BEAT_EVERY_S = 1.0, 2.0  # of runners, of front ends
TICK_S = 4.0  # how often these are answered here
LOOK_EVERY_S = 1.0  # of who waits
PATIENCE_S = 30.0  # with a desk that is behind; then it is as good as gone, and all ends here
WARM_SHARE = 0.2  # of the runs, before which nothing is counted


@dataclass(frozen=True)
class Plan:
    """A cluster, and who asks it for what.

    Attributes:
        mix: what is drawn.
        runners: how many draw.
        users: how many different people ask.
        load: device seconds that are asked for, as a share of those that there are.
        runs: how many are asked for.
        desks: among which users and runners are divided.
        looked_at: of those who wait, when a runner is free; 1 lets nobody overtake.
        overhead_s: seconds that a run takes on its way to a runner and back.
        call_s: seconds that each answer of a desk takes beside its own, for Ray.
        queue: tickets that may wait, for each runner, 20 at least.
        user_jobs: tickets of one user at a time; None for no limit.
        warm: whether each runner has drawn every kind before.
        seed: of all that is random.
    """

    mix: Mix
    runners: int
    users: int
    load: float
    runs: int
    desks: int = 1
    looked_at: int = LOOKED_AT
    overhead_s: float = 0.0
    call_s: float = 0.0
    queue: int = 2
    user_jobs: int | None = 4
    warm: bool = True
    seed: int = 1


@dataclass(frozen=True)
class Arrival:
    """Somebody asks for a run, at some second."""

    at_s: float
    owner: str
    kind: Kind


def arrivals_of(plan: Plan) -> Iterator[Arrival]:
    """People who come at random (a Poisson process), as many as the load says."""
    chance = random.Random(plan.seed)
    kinds, shares = plan.mix.kinds, [kind.share for kind in plan.mix.kinds]
    rate = plan.load * plan.runners / (plan.mix.mean_run_s() + plan.overhead_s)
    at_s = 0.0
    for _ in range(plan.runs):
        at_s += chance.expovariate(rate)
        yield Arrival(at_s, f"user-{chance.randrange(plan.users)}",
                      chance.choices(kinds, shares)[0])


@dataclass(eq=False)
class Run:
    """A run on its way: when it came, was granted, had its models, and ended, in seconds."""

    arrival: Arrival
    granted_s: float = 0.0
    load_s: float = 0.0
    ended_s: float = 0.0


class Counter(Desk):
    """A desk that ships, and what it granted and took."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.granted: list[tuple[str, str]] = []
        self.busy_s, self.free_s = 0.0, 0.0

    def _begin(self, entry: Entry, runner: str) -> None:
        super()._begin(entry, runner)
        self.granted.append((entry.ticket.token, runner))


class Simulation:
    """Lets people come to a cluster, until all have what they came for.

    Args:
        plan: which cluster.
        arrivals: who comes, in order; as the plan says where None.
        processor_s: seconds of the processor so far; a clock that stands lets desks take no time.

    Attributes:
        runs: those that were taken in, by token.
        refused: when those came who were not.
    """

    def __init__(self, plan: Plan, arrivals: Iterable[Arrival] | None = None,
                 processor_s: Callable[[], float] = time.thread_time) -> None:
        self.plan, self.now_s = plan, 0.0
        self.refused: list[float] = []
        self.runs: dict[str, Run] = {}
        self._processor_s, self._asked_s = processor_s, processor_s()
        self._arrivals = iter(arrivals_of(plan) if arrivals is None else arrivals)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        waiting = max(20, plan.queue * plan.runners) // plan.desks
        self.desks = [Counter(max_waiting=waiting, max_per_owner=plan.user_jobs,
                              looked_at=plan.looked_at, clock=self._clock_s)
                      for _ in range(plan.desks)]
        self._waits: list[dict[str, None]] = [{} for _ in self.desks]
        mix = plan.mix
        self.machines = [Machine(f"runner-{n}", Placement(mix.budget_bytes, mix.host_bytes))
                         for n in range(plan.runners)]
        chance = random.Random(plan.seed)
        for number, machine in enumerate(self.machines):
            if plan.warm:
                for kind in chance.sample(mix.kinds, len(mix.kinds)):
                    machine.lease(mix, kind)
                    machine.give_back(kind)
            shard = number % plan.desks
            self._report(machine, shard)
            self._every(TICK_S, TICK_S * number / plan.runners, self._report, machine, shard, {},
                        TICK_S / REPORT_EVERY_S)
        for shard in range(plan.desks):
            self._every(TICK_S, 0.0, self._beat, shard)
            self._every(LOOK_EVERY_S, 0.0, self._look, shard)
        self._next()

    def run(self) -> Simulation:
        """Let it all happen."""
        while self._coming or any(self._waits) or any(each.token for each in self.machines):
            self.now_s, _, happen = heapq.heappop(self._events)
            happen()
            if max(desk.free_s for desk in self.desks) - self.now_s > PATIENCE_S:
                break
        return self

    def _clock_s(self) -> float:
        """The clock of a desk, which goes on while it answers."""
        return self.now_s + self._processor_s() - self._asked_s

    def _at(self, at_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_s, next(self._numbers), happen))

    def _every(self, period_s: float, first_s: float, happen: Callable[..., None],
               *args: Any) -> None:
        def again() -> None:
            happen(*args)
            self._at(self.now_s + period_s, again)

        self._at(first_s, again)

    def _ask(self, shard: int, question: Callable[[], Any], times: float = 1.0) -> Any:
        """What a desk says; it is busy meanwhile, and what it grants is heard of afterwards."""
        desk, self._asked_s = self.desks[shard], self._processor_s()
        said = question()
        taken_s = times * (self._processor_s() - self._asked_s + self.plan.call_s)
        desk.busy_s += taken_s
        desk.free_s = max(desk.free_s, self.now_s) + taken_s
        granted, desk.granted = desk.granted, []
        for token, name in granted:
            self._waits[shard].pop(token, None)
            self._ask(shard, lambda token=token: desk.look(token))
            machine = self.machines[int(name.rpartition("-")[2])]
            machine.token = token
            self._at(desk.free_s, lambda token=token, machine=machine: self._draw(
                shard, token, machine))
        return said

    def _next(self) -> None:
        self._coming = next(self._arrivals, None)
        if self._coming is not None:
            arrival = self._coming
            self._at(arrival.at_s, lambda: self._arrive(arrival))

    def _arrive(self, arrival: Arrival) -> None:
        token, shard = f"t{next(self._numbers)}", shard_of(arrival.owner, self.plan.desks)
        self.runs[token], self._waits[shard][token] = Run(arrival), None
        ticket = Ticket(token, FRONT, (Ask(token, arrival.kind.name, models=arrival.kind.models),),
                        Requester(arrival.owner))
        if self._ask(shard, lambda: self.desks[shard].join(ticket)) is not None:
            self.refused.append(self.now_s)
            del self.runs[token], self._waits[shard][token]
        else:
            self._ask(shard, lambda: self.desks[shard].look(token))
        self._next()

    def _draw(self, shard: int, token: str, machine: Machine) -> None:
        run = self.runs[token]
        run.granted_s = self.now_s
        run.load_s = machine.lease(self.plan.mix, run.arrival.kind)
        self._at(self.now_s + self.plan.overhead_s + run.load_s + run.arrival.kind.run_s,
                 lambda: self._end(shard, token, machine))

    def _end(self, shard: int, token: str, machine: Machine) -> None:
        run = self.runs[token]
        run.ended_s, machine.token = self.now_s, ""
        machine.give_back(run.arrival.kind)
        usage = Usage(run.arrival.kind.run_s)
        self._report(machine, shard, {token: (Ended(token, "done", usage),)})
        self._ask(shard, lambda: self.desks[shard].leave(token))

    def _report(self, machine: Machine, shard: int, ended: Any = None, times: float = 1.0) -> None:
        token = machine.token
        running = {token: {token: (Usage(), Progress())}} if token else {}
        report = Report(machine.name, next(machine.reports), running, ended or {}, machine.held())
        self._ask(shard, lambda: self.desks[shard].report(report), times)

    def _beat(self, shard: int) -> None:
        tokens = tuple(self._waits[shard])
        self._ask(shard, lambda: self.desks[shard].beat(FRONT, tokens), TICK_S / BEAT_EVERY_S)

    def _look(self, shard: int) -> None:
        for token in list(self._waits[shard]):
            self._ask(shard, lambda token=token: self.desks[shard].look(token))


def shard_of(owner: str, desks: int) -> int:
    """The desk of a user: always the same, so that limits and fairness hold for each of them."""
    return crc32(owner.encode()) % desks


def simulate(plan: Plan, arrivals: Iterable[Arrival] | None = None,
             processor_s: Callable[[], float] = time.thread_time) -> dict[str, Any]:
    """Figures of a cluster; see ``Simulation``.

    Returns:
        Of the time after the first fifth of the runs has ended: pictures a minute, the median
        and the 95th percentile of the seconds until a runner has a run, seconds of loading a run,
        USD for 1,000 pictures, the share of those who were refused; the largest share of its time
        that a desk was busy for, and whether it kept up.
    """
    done = Simulation(plan, arrivals, processor_s).run()
    ended = sorted((run for run in done.runs.values() if run.ended_s), key=lambda run: run.ended_s)
    first_s = ended[int(WARM_SHARE * len(ended))].ended_s
    last_s = min(done.now_s, max(run.arrival.at_s for run in done.runs.values()))
    pictures = sum(run.arrival.kind.pictures for run in ended if first_s < run.ended_s <= last_s)
    counted = [run for run in ended if run.arrival.at_s >= first_s] or ended[-1:]
    waits = sorted(run.granted_s - run.arrival.at_s for run in counted)
    refused = sum(at_s >= first_s for at_s in done.refused)
    seconds = max(last_s - first_s, 1e-9)
    return {
        "runners": plan.runners, "users": plan.users, "desks": plan.desks, "load": plan.load,
        "overtaking": plan.looked_at > 1, "runs": len(done.runs),
        "pictures_a_minute": 60 * pictures / seconds,
        "wait_p50_s": median(waits), "wait_p95_s": waits[int(0.95 * len(waits))],
        "load_s": mean(run.load_s for run in counted),
        "usd_for_1000": (1000 * plan.runners * seconds / 3600 * plan.mix.usd_an_hour
                         / max(1, pictures)),
        "refused": refused / max(1, refused + sum(run.arrival.at_s >= first_s
                                                  for run in done.runs.values())),
        "desk_busy": max(desk.busy_s for desk in done.desks) / done.now_s,
        "kept_up": max(desk.free_s for desk in done.desks) - done.now_s <= PATIENCE_S}

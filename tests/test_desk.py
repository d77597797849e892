"""The desk of a cluster, without Ray: whose turn it is, where, and that nothing is lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from easel.serving.jobs import Requester, Usage
from easel.serving.line import CLOSING, NOT_BEGUN
from easel.serving.ray.desk import SILENT_S, Desk
from easel.serving.ray.fair_line import HALF_LIFE_S
from easel.serving.ray.matching import LOOKED_AT, OVERTAKEN
from easel.serving.ray.messages import Ask, Ended, Order, Outlook, Report, Ticket
from pipelines.core.errors import Busy, InvalidRequest
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


def test_what_waits_goes_to_the_runner_that_is_free() -> None:
    hall = Hall()
    hall.join("one")
    assert hall.where("one") == ""
    hall.runner("r1")
    assert hall.where("one") == "r1"
    hall.join("two")
    assert hall.where("two") == ""
    assert hall.outlook("two").told.ahead == 1
    assert (hall.desk.facts().running, hall.desk.facts().waiting) == (1, 1)
    hall.takes("r1", "one")
    assert hall.where("two") == ""
    hall.ends("r1", "one")
    assert (hall.where("one"), hall.where("two")) == (None, "r1")


def test_a_ticket_that_comes_twice_counts_once_and_a_name_is_taken() -> None:
    hall = Hall(max_waiting=0)
    hall.runner("r1")
    assert hall.join("one") is None
    assert hall.join("one") is None
    other = hall.desk.join(Ticket("other", "front", (Ask("one", "sketch"),), Requester()))
    assert isinstance(other, InvalidRequest)
    assert hall.desk.facts().running == 1


def test_limits_are_those_of_the_whole_cluster() -> None:
    hall = Hall(max_waiting=1, max_per_owner=2)
    hall.runner("r1")
    hall.runner("r2")
    assert hall.join("one", "anna") is None
    assert hall.join("two", "anna") is None
    refused = hall.join("three", "anna")
    assert isinstance(refused, Busy)
    assert "2 jobs of yours" in str(refused)
    assert not hall.desk.has_room("anna", "")
    assert hall.join("four", "ben") is None
    refused = hall.join("five", "carl")
    assert "The queue is full, 1 jobs are waiting" in str(refused)
    assert hall.join("six", "carl", again=True) is None, "what was taken once is not refused"


def test_who_had_much_lately_comes_last() -> None:
    hall = Hall()
    hall.runner("r1")
    for number in range(4):
        hall.join(f"greedy-{number}", "greedy")
    for number in range(3):
        hall.join(f"other-{number}", f"owner-{number}")
    order = []
    while runner := next((token for token in hall.desk._entries if hall.where(token)), None):
        order.append(runner)
        hall.ends("r1", runner, device_s=2.0)
    assert order == ["greedy-0", "other-0", "other-1", "other-2", "greedy-1", "greedy-2",
                     "greedy-3"]
    spent_s = hall.desk.line.spent_s("greedy")
    assert spent_s == pytest.approx(8.0)
    hall.clock.now_s += HALF_LIFE_S
    assert hall.desk.line.spent_s("greedy") == pytest.approx(4.0)


def test_a_runner_that_holds_the_models_is_chosen_and_may_overtake_a_few_times() -> None:
    hall = Hall()
    hall.runner("r1", MODELS["a"])
    hall.join("first", models=MODELS["a"])
    hall.join("cold", models=MODELS["b"])
    warm = [f"warm-{number}" for number in range(OVERTAKEN + 2)]
    for token in warm:
        hall.join(token, models=MODELS["a"])
    order = []
    while token := next((token for token in hall.desk._entries if hall.where(token)), None):
        order.append(token)
        hall.ends("r1", token, device_s=0.0)
    assert order == ["first", *warm[:OVERTAKEN], "cold", *warm[OVERTAKEN:]]
    assert hall.desk.facts().counts == {"warm": OVERTAKEN + 3, "cold": 1}


def test_only_the_next_few_are_looked_at() -> None:
    hall = Hall(max_waiting=100)
    hall.runner("r1", MODELS["a"])
    hall.join("first", models=MODELS["a"])
    for number in range(LOOKED_AT):
        hall.join(f"cold-{number}", models=MODELS["b"])
    hall.join("warm", models=MODELS["a"])
    hall.ends("r1", "first")
    assert hall.where("cold-0") == "r1"


def test_of_two_runners_the_one_that_holds_the_models_draws() -> None:
    hall = Hall()
    hall.runner("r1", MODELS["a"])
    hall.runner("r2", MODELS["b"])
    hall.join("b", models=MODELS["b"])
    hall.join("a", models=MODELS["a"])
    assert (hall.where("a"), hall.where("b")) == ("r1", "r2")


def test_what_lost_its_runner_comes_first_and_is_not_overtaken() -> None:
    hall = Hall()
    hall.runner("r1")
    hall.runner("r2", MODELS["a"])
    hall.join("one", models=MODELS["b"])
    hall.join("two", models=MODELS["a"])
    assert (hall.where("one"), hall.where("two")) == ("r1", "r2")
    hall.join("three", models=MODELS["a"])
    hall.desk.lose("one")
    assert [each.report.runner for each in hall.desk.facts().runners] == ["r2"]
    hall.desk.join(Ticket("one again", "front", (Ask("one", "sketch", models=MODELS["b"]),),
                          Requester(), again=True))
    hall.ends("r2", "two")
    assert hall.where("one again") == "r2"
    assert hall.desk.facts().counts["again"] == 1


def test_stop_and_pause_reach_the_runner_and_what_waits_ends_at_once() -> None:
    hall = Hall()
    hall.runner("r1")
    hall.join("one")
    hall.join("two")
    hall.join("three")
    assert hall.desk.cancel("one")
    assert hall.desk.orders("r1") == (Order("stop", "one", "one"),)
    assert hall.desk.orders("r1") == ()
    assert hall.desk.cancel("two")
    outlook = hall.outlook("two")
    assert str(outlook.ended[0]) == NOT_BEGUN
    assert not hall.desk.cancel("nobody")
    hall.join("nobody")
    assert str(hall.outlook("nobody").ended[0]) == NOT_BEGUN
    assert hall.desk.pause("three")
    assert hall.desk.orders("r1") == (), "it waits"
    hall.ends("r1", "one")
    assert hall.where("three") == "r1"
    assert hall.desk.orders("r1") == (Order("pause", "three", "three"),)


def test_a_front_end_that_is_silent_loses_its_places() -> None:
    hall = Hall()
    hall.runner("r1")
    hall.join("one")
    hall.join("two")
    hall.clock.now_s += SILENT_S / 2
    assert hall.desk.beat("front", ("one", "lost")) == ("lost",)
    hall.clock.now_s += SILENT_S / 2 + 1
    hall.takes("r1", "one")
    assert hall.where("two") == ""
    hall.clock.now_s += SILENT_S / 2
    hall.takes("r1", "one")
    assert hall.desk.orders("r1") == (Order("abandon", "one"),)
    assert hall.where("two") is None
    assert hall.desk.facts().running == 0
    hall.ends("r1", "one")
    assert hall.where("one") is None


def test_a_runner_that_is_silent_gets_nothing_more() -> None:
    hall = Hall()
    hall.runner("r1")
    hall.clock.now_s += SILENT_S + 1
    hall.desk.beat("front", ())
    hall.join("one")
    assert hall.where("one") == ""
    hall.runner("r1")
    assert hall.where("one") == "r1"


def test_a_reader_that_leaves_frees_the_runner_once_it_has_ended() -> None:
    hall = Hall()
    hall.runner("r1")
    hall.join("one")
    hall.join("two")
    hall.desk.leave("one")
    assert hall.desk.orders("r1") == (Order("abandon", "one"),)
    assert hall.where("two") == "", "a step may still be under way"
    hall.ends("r1", "one", outcome="stopped")
    assert hall.where("two") == "r1"


def test_a_front_end_that_ends_tells_who_waits_and_ends_what_runs() -> None:
    hall = Hall()
    hall.runner("r1")
    hall.join("one")
    hall.join("two")
    hall.desk.close("front")
    assert hall.desk.orders("r1") == (Order("close", "one"),)
    assert str(hall.outlook("two").ended[0]) == CLOSING
    assert not hall.desk.ended("front")
    hall.ends("r1", "one", outcome="stopped")
    assert hall.desk.ended("front")
    assert hall.desk.ended("another front")


def test_a_cluster_that_drains_takes_nothing_new() -> None:
    hall = Hall()
    hall.runner("r1")
    hall.join("one")
    hall.desk.drain(True)
    assert str(hall.join("two")) == CLOSING
    assert hall.join("three", again=True) is None
    hall.desk.drain(False)
    assert hall.join("two") is None


def test_a_desk_that_begins_anew_learns_what_there_is() -> None:
    hall = Hall()
    hall.runner("r1")
    hall.runner("r2")
    hall.join("one")
    hall.join("two")
    hall.join("three")
    hall.takes("r1", "one")
    hall.takes("r2", "two")
    hall.desk = Desk(clock=hall.clock)
    assert hall.desk.beat("front", ("one", "two", "three")) == ("one", "two", "three")
    hall.join("three", known=True)
    hall.join("one", known=True, runner="r1")
    hall.say(hall.reports["r1"])
    hall.say(hall.reports["r2"])
    assert hall.where("three") == "", "a runner is believed that says that it draws"
    hall.join("two", known=True, runner="r2")
    assert (hall.where("one"), hall.where("two")) == ("r1", "r2")
    hall.ends("r1", "one")
    assert hall.where("three") == "r1"


def test_a_report_that_comes_late_says_nothing() -> None:
    hall = Hall()
    hall.runner("r1")
    late = hall.reports["r1"]
    hall.join("one")
    hall.takes("r1", "one")
    hall.ends("r1", "one")
    hall.join("two")
    hall.desk.report(replace(late, running={"one": {}}))
    assert hall.where("two") == "r1"
    hall.ends("r1", "two")
    hall.join("three")
    assert hall.where("three") == "r1"


class DeskMachine(RuleBasedStateMachine):
    """Whatever happens in whichever order: nothing is lost, and nothing runs in two places."""

    @initialize()
    def begin(self) -> None:
        self.hall = Hall(max_waiting=4, max_per_owner=2)
        self.number = 0
        self.mine: dict[str, str] = {}  # tickets that somebody waits for, with their owners
        self.begun: dict[str, str] = {}  # what runners draw, by runner

    def fresh(self) -> str:
        self.number += 1
        return f"t{self.number}"

    @rule()
    def runner_comes(self) -> None:
        if len(self.hall.reports) < 3:
            self.hall.runner(f"r{self.fresh()}")

    @rule(owner=st.sampled_from(["", "anna", "ben"]), model=st.sampled_from(["a", "b"]))
    def ticket_comes(self, owner: str, model: str) -> None:
        token = self.fresh()
        if self.hall.join(token, owner, MODELS[model]) is None:
            self.mine[token] = owner

    @precondition(lambda self: self.mine)
    @rule(data=st.data())
    def work_is_brought(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.mine)))
        runner = self.hall.where(token)
        if runner and runner in self.hall.reports and runner not in self.begun:
            self.begun[runner] = token
            self.hall.takes(runner, token)

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def work_ends(self, data: st.DataObject) -> None:
        runner = data.draw(st.sampled_from(sorted(self.begun)))
        token = self.begun.pop(runner)
        self.hall.ends(runner, token)
        self.mine.pop(token, None)

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def runner_dies(self, data: st.DataObject) -> None:
        runner = data.draw(st.sampled_from(sorted(self.begun)))
        token = self.begun.pop(runner)
        del self.hall.reports[runner]
        self.hall.desk.lose(token)
        owner = self.mine.pop(token, None)
        if owner is not None:
            again = self.fresh()
            assert self.hall.join(again, owner, again=True) is None
            self.mine[again] = owner

    @precondition(lambda self: self.mine)
    @rule(data=st.data())
    def reader_leaves(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.mine)))
        runner = self.hall.where(token)
        self.hall.desk.leave(token)
        del self.mine[token]
        if runner and runner in self.hall.reports and runner not in self.begun:
            assert Order("abandon", token) in self.hall.desk.orders(runner)
            self.hall.ends(runner, token, outcome="stopped")

    @precondition(lambda self: self.mine)
    @rule(data=st.data())
    def somebody_stops(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.mine)))
        runner = self.hall.where(token)
        assert self.hall.desk.cancel(token)
        if runner == "":
            assert self.hall.outlook(token).ended
            self.hall.desk.leave(token)
            del self.mine[token]

    @invariant()
    def nothing_is_lost(self) -> None:
        for token in self.mine:
            assert self.hall.desk.look(token) is not None

    @invariant()
    def no_runner_has_two(self) -> None:
        places = Counter(where for token in self.mine if (where := self.hall.where(token)))
        assert not places or max(places.values()) == 1

    @invariant()
    def nobody_has_too_many(self) -> None:
        # Those that are run again were taken once.
        owners = Counter(owner for owner in self.mine.values() if owner)
        assert not owners or max(owners.values()) <= 2

    @invariant()
    def nobody_waits_beside_a_free_runner(self) -> None:
        waiting = [token for token in self.mine if self.hall.where(token) == ""]
        busy = {where for token in self.mine if (where := self.hall.where(token))}
        busy |= set(self.begun)
        assert not waiting or busy >= set(self.hall.reports)


TestDeskMachine = DeskMachine.TestCase
TestDeskMachine.settings = hypothesis_settings(max_examples=60, stateful_step_count=40,
                                               deadline=None)

"""The desk of a cluster in whichever order things happen: nothing is lost, nothing runs twice."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from easel.serving.ray.messages import Order
from tests.desks import MODELS, Hall


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

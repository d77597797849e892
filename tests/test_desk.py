"""The desk of a cluster, without Ray: whose turn it is, where, and that nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from easel.serving.jobs import Requester
from easel.serving.line import CLOSING, NOT_BEGUN
from easel.serving.ray.desk import PAUSES, SILENT_S, Desk
from easel.serving.ray.fair_line import HALF_LIFE_S
from easel.serving.ray.matching import LOOKED_AT, OVERTAKEN
from easel.serving.ray.messages import Ask, Order, Terms, Ticket
from pipelines.core.errors import Busy, InvalidRequest
from tests.desks import MODELS, Hall


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
    assert "The queue is full, 1 job is waiting" in str(refused)
    assert hall.join("six", "carl", again=True) is None, "what was taken once is not refused"


def test_limits_may_be_changed_while_people_wait() -> None:
    hall = Hall(max_waiting=20, max_per_owner=2)
    hall.runner("r1")
    assert hall.join("one", "anna") is None
    assert hall.join("two", "anna") is None
    assert not hall.desk.has_room("anna", "")
    hall.desk.hold(Terms(20, 3))
    assert hall.desk.has_room("anna", "")
    hall.desk.hold(Terms(1, 3))
    assert not hall.desk.has_room("ben", ""), "one waits already"
    hall.desk.hold(Terms(20, 3, 60.0))
    hall.takes("r1", "one")
    hall.ends("r1", "one", device_s=100.0)
    assert "You have had your seconds" in str(hall.join("three", "anna"))
    hall.desk.hold(Terms(21, 3, 60.0))
    assert not hall.desk.has_room("anna", ""), "what was taken is not forgotten"


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
    assert hall.desk.orders("r1") == (Order("orphan", "one"),)
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


def test_a_cluster_that_ends_tells_all_who_wait_and_ends_what_runs() -> None:
    hall = Hall()
    hall.runner("r1")
    hall.join("one")
    hall.takes("r1", "one")
    hall.join("two")
    hall.desk.end()
    assert hall.desk.orders("r1") == (Order("close", "one"),)
    assert str(hall.outlook("two").ended[0]) == CLOSING
    refused = hall.join("three")
    assert isinstance(refused, Busy)
    assert str(refused) == CLOSING


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


def test_everybody_is_told_how_many_are_before_them_and_for_how_long() -> None:
    hall = Hall()
    hall.runner("r1")
    hall.runner("r2")
    hall.join("ended")
    hall.ends("r1", "ended", device_s=10.0)
    tokens = [f"t{number}" for number in range(6)]
    for token in tokens:
        hall.join(token, owner=token)
    assert [hall.where(token) for token in tokens[:2]] == ["r1", "r2"]
    entries = hall.desk._entries
    for token in tokens[2:]:
        told, exact = hall.outlook(token).told, hall.desk.line.waiting(entries[token].group)
        assert (told.message, told.ahead) == (exact.message, exact.ahead)
    assert [str(hall.outlook(token).told.message) for token in tokens[2:]] == [
        "Waiting: 2 ahead, about 10 s.", "Waiting: 3 ahead, about 10 s.",
        "Waiting: 4 ahead, about 20 s.", "Waiting: 5 ahead, about 20 s."]


def test_a_line_that_takes_long_to_look_through_is_not_looked_through_for_each_who_asks() -> None:
    hall = Hall()
    hall.runner("r1")
    hall.join("draws")
    hall.join("waits")
    looked: list[float] = []
    outlook = hall.desk.line.outlook

    def slow() -> object:
        looked.append(hall.clock.now_s)
        hall.clock.now_s += 0.1
        return outlook()

    hall.desk.line.outlook = slow  # type: ignore[method-assign, assignment]
    assert hall.outlook("waits").told.ahead == 1
    hall.join("late")
    assert [hall.outlook(token).told.ahead for token in ("waits", "late")] == [1, 2]
    assert len(looked) == 1
    hall.desk.leave("waits")
    hall.clock.now_s += 0.1 * PAUSES + 0.1
    assert hall.outlook("late").told.ahead == 1
    assert len(looked) == 2


def test_a_desk_may_let_nobody_overtake() -> None:
    hall = Hall(looked_at=1)
    hall.runner("r1", MODELS["a"])
    for token, models in (("first", "a"), ("cold", "b"), ("warm", "a")):
        hall.join(token, models=MODELS[models])
    hall.ends("r1", "first")
    assert hall.where("cold") == "r1"

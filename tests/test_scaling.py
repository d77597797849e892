"""How many runners there are to be, decided without a cluster."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel.serving.jobs import Requester
from easel.serving.ray.desk import SILENT_S
from easel.serving.ray.messages import Ask, Terms, Ticket
from easel.serving.ray.policy import WANTED, obey
from easel.serving.ray.scaling import LOOKED_EVERY_S, UNKNOWN_S, Seen, Wish, decide
from easel.settings import Settings
from pipelines.core.errors import EaselError
from tests.desks import Hall

TERMS = Terms(least=1, most=8, wait_s=30.0, idle_s=600.0)
ONE = Wish(1, 0, 0.0)


def wanted(before: Wish | None, now_s: float = 0.0, **seen: float | None) -> int:
    return decide(before, Seen(**seen), TERMS, now_s).runners  # type: ignore[arg-type]


def test_there_are_more_while_people_wait_longer_than_some_work_of_each_runner() -> None:
    assert wanted(ONE, runners=1, working=1, waiting=2, work_s=30.0) == 1
    assert wanted(ONE, runners=1, working=1, waiting=2, work_s=31.0) == 2
    assert wanted(ONE, runners=1, working=1, waiting=9, work_s=100.0) == 4
    assert wanted(ONE, runners=1, working=1, work_s=10_000.0) == 1, "nobody waits"


def test_there_is_one_more_than_there_are_where_somebody_has_waited_long() -> None:
    """Whatever was thought of how long it takes."""
    assert wanted(ONE, runners=1, working=1, waiting=1, waited_s=30.0) == 1
    assert wanted(ONE, runners=1, working=1, waiting=1, waited_s=31.0) == 2
    assert wanted(Wish(2, 0, 0.0), runners=1, working=1, waiting=1, waited_s=99.0) == 2, \
        "one is on its way"
    assert wanted(Wish(2, 0, 0.0), runners=2, working=2, waiting=1, waited_s=99.0) == 3


def test_there_are_never_more_than_may_be_than_there_is_room_for_or_work() -> None:
    line = {"runners": 1, "working": 1, "waiting": 99, "work_s": 10_000.0}
    assert wanted(ONE, **line) == 8
    assert wanted(ONE, **line, room=3) == 3
    assert wanted(ONE, **line, room=0) == 1, "the least comes with the first machine"
    assert wanted(ONE, **(line | {"waiting": 2})) == 3
    assert wanted(Wish(8, 0, 0.0), **line, room=3) == 3, "a machine has gone"


def test_there_are_fewer_only_after_a_time_in_which_not_all_were_needed() -> None:
    wish = decide(None, Seen(runners=6, working=6), TERMS, 0.0)
    for now_s, working in ((100.0, 2), (300.0, 3), (599.0, 1)):
        wish = decide(wish, Seen(runners=6, working=working), TERMS, now_s)
        assert wish == Wish(6, 2 if now_s < 300.0 else 3, 0.0)
    wish = decide(wish, Seen(runners=6, working=6), TERMS, 599.5)
    assert wish == Wish(6, 0, 599.5), "all were needed again"
    wish = decide(wish, Seen(runners=6, working=2), TERMS, 1000.0)
    wish = decide(wish, Seen(runners=6), TERMS, 1199.5)
    assert wish == Wish(2, 0, 1199.5), "as many as were needed at the same time"
    wish = decide(wish, Seen(runners=2), TERMS, 1799.5)
    assert wish.runners == 1
    assert decide(wish, Seen(runners=1), TERMS, 9999.0).runners == 1, "the least"


def test_who_knows_nothing_leaves_as_many_as_there_are() -> None:
    assert wanted(None, runners=5) == 5
    assert wanted(None, runners=50) == 8
    assert wanted(None) == 1


SEEN = st.builds(Seen, st.integers(0, 20), st.integers(0, 20), st.integers(0, 50),
                 st.floats(0, 1e6), st.floats(0, 1e4), st.none() | st.integers(0, 20))


@given(st.lists(SEEN, max_size=20), st.integers(1, 5), st.integers(0, 5), st.integers(1, 900))
def test_whatever_is_seen_the_bounds_hold(seen: list[Seen], least: int, more: int, every_s: int,
                                          ) -> None:
    terms = replace(TERMS, least=least, most=least + more)
    wish: Wish | None = None
    for number, each in enumerate(seen):
        before, wish = wish, decide(wish, each, terms, float(number * every_s))
        assert least <= wish.runners <= least + more
        assert each.room is None or wish.runners <= max(least, each.room)
        if before is not None and wish.runners < before.runners and not (
                each.room is not None and each.room < before.runners):
            assert each.working + each.waiting < before.runners, "all were needed"
            assert wish.since_s - before.since_s >= terms.idle_s


def growing(**fields: float) -> Hall:
    """A desk that wants one to three runners."""
    return Hall(terms=replace(TERMS, most=3, **fields))  # type: ignore[arg-type]


def pass_s(hall: Hall, seconds: float) -> int:
    """What the desk wants some time later, in which all runners report."""
    for _ in range(round(seconds / LOOKED_EVERY_S)):
        hall.clock.now_s += LOOKED_EVERY_S
        for name in hall.reports:
            hall.runner(name)
    return hall.desk.wanted()


def test_the_desk_wants_more_for_its_line_and_fewer_after_it() -> None:
    hall = growing()
    hall.runner("r1")
    assert hall.desk.wanted() == 0, "not all have been heard of"
    assert pass_s(hall, SILENT_S) == 1
    for number in range(3):
        hall.join(f"t{number}", f"owner-{number}")
    assert pass_s(hall, 1) == 1, f"{3 * UNKNOWN_S} seconds of work"
    hall.join("t3", "owner-3")
    hall.join("t4", "owner-4")
    assert pass_s(hall, 1) == 2
    assert hall.desk.facts().runner_counts() == (1, 2, 1, 3)
    hall.runner("r2")
    for _ in range(5):
        for name in ("r1", "r2"):
            token = next((t for t in (f"t{n}" for n in range(5)) if hall.where(t) == name), None)
            if token is not None:
                hall.takes(name, token)
                hall.ends(name, token)
    assert pass_s(hall, 300) == 2
    assert pass_s(hall, 400) == 1


def test_a_desk_that_begins_anew_takes_no_runner_away_and_knows_what_was_said_last() -> None:
    hall = growing(said_s=1.0)
    later = Terms(7, 2, None, least=1, most=5, said_s=2.0)
    for name in ("r1", "r2", "r3", "r4"):
        hall.runner(name)
        hall.say(replace(hall.reports[name], terms=later))
    hall.say(replace(hall.reports["r1"], terms=replace(later, most=2, said_s=1.5)))
    facts = hall.desk.facts()
    assert (facts.least, facts.most, hall.desk.line.max_waiting) == (1, 5, 7)
    assert pass_s(hall, SILENT_S) == 4


def test_a_fixed_number_is_wanted_at_any_time() -> None:
    hall = Hall(terms=Terms(least=2, most=2))
    assert hall.desk.wanted() == 2
    assert hall.desk.facts().runner_counts() == (0, 2, 2, 2)
    assert Hall().desk.wanted() == 0, "it is not its affair"


def test_a_runner_of_other_code_gets_nothing() -> None:
    hall = Hall(easel="this")
    hall.runner("r1")
    hall.desk.join(Ticket("one", "front", (Ask("one", "sketch"),), Requester()))
    assert hall.where("one") == ""
    assert hall.desk.facts().runners == ()
    hall.say(replace(hall.reports["r1"], easel="this"))
    assert hall.where("one") == "r1"


def test_serve_takes_the_word_of_those_who_have_heard_of_the_most() -> None:
    def told(**said: list[int]) -> int:
        series = {name: [SimpleNamespace(value=float(value)) for value in values]
                  for name, values in said.items()}
        return obey(SimpleNamespace(raw_metrics={WANTED: series} if said else {},
                                    target_num_replicas=4))[0]

    assert told() == 4
    assert told(r1=[]) == 4
    assert told(r1=[1, 2], r2=[3, 1]) == 2


def test_fewer_at_most_than_at_least_is_one_sentence() -> None:
    Settings(runners=2).check_runners()
    Settings(runners=2, max_runners=2).check_runners()
    with pytest.raises(EaselError, match=r"^There cannot be at most 2 runners and at least 3: "):
        Settings(runners=3, max_runners=2).check_runners()

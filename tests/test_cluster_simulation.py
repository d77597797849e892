"""The simulated cluster on cases that can be reckoned by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.cluster_mixes import Kind, Mix, Model, embedded_mix, public_mix
from benchmarks.cluster_report import PLOT, simulation_plot, simulation_tables
from benchmarks.cluster_scales import simulation_figures
from benchmarks.cluster_simulation import Arrival, Plan, Simulation, shard_of, simulate

KINDS = {name: Kind(name, 0.5, 10.0, 2, (name,)) for name in ("a", "b")}
MIX = Mix("two kinds", tuple(KINDS.values()), {name: Model(1, 2.0) for name in KINDS}, 1, 0, 3.6)
PLAN = Plan(MIX, runners=1, users=10, load=1.0, runs=3, warm=False)


def stands() -> float:
    """A clock of the processor by which desks take no time."""
    return 0.0


def simulated(plan: Plan, comes: Sequence[tuple[float, str, str]]) -> list[tuple[float, float]]:
    """Those who come at some second, their name and the kind; when each had a runner and ended."""
    arrivals = [Arrival(at_s, owner, KINDS[kind]) for at_s, owner, kind in comes]
    done = Simulation(plan, arrivals, stands).run()
    return [(run.granted_s, run.ended_s) for run in done.runs.values()]


def test_one_runner_draws_one_after_the_other_and_loads_once() -> None:
    found = simulated(PLAN, [(0, "anna", "a"), (1, "ben", "a"), (2, "carl", "a")])
    assert found == [(0, 12), (12, 22), (22, 32)]


def test_a_run_takes_its_way_too() -> None:
    found = simulated(replace(PLAN, overhead_s=0.5), [(0, "anna", "a"), (1, "ben", "a")])
    assert found == [(0, 12.5), (12.5, 23)]


def test_two_runners_draw_at_the_same_time_and_keep_their_models() -> None:
    found = simulated(replace(PLAN, runners=2), [
        (0, "anna", "a"), (1, "ben", "b"), (2, "carl", "b"), (3, "dora", "a")])
    assert found == [(0, 12), (1, 13), (13, 23), (12, 22)]


def test_overtaking_saves_loads() -> None:
    comes = [(0, "anna", "a"), (1, "ben", "b"), (2, "carl", "a")]
    assert simulated(PLAN, comes) == [(0, 12), (22, 34), (12, 22)]
    assert simulated(replace(PLAN, looked_at=1), comes) == [(0, 12), (12, 24), (24, 36)]


def test_a_model_in_main_memory_comes_sooner_than_from_the_disk() -> None:
    large = {name: Model(5 * 10**9, 7.0) for name in KINDS}
    mix = replace(MIX, models=large, budget_bytes=5 * 10**9, host_bytes=5 * 10**9)
    found = simulated(replace(PLAN, mix=mix), [(0, "anna", "a"), (20, "ben", "b"),
                                               (40, "carl", "a")])
    assert found == [(0, 17), (20, 37), (40, 51)], "7 s, 7 s, and 1 s at 5 GB/s"


def test_who_had_more_comes_later_and_who_asks_too_often_is_refused() -> None:
    comes = [(0, "anna", "a"), (1, "anna", "a"), (2, "ben", "a")]
    assert simulated(PLAN, comes) == [(0, 12), (22, 32), (12, 22)]
    done = Simulation(replace(PLAN, user_jobs=1), [Arrival(*each[:2], KINDS["a"])
                                                   for each in comes], stands).run()
    assert done.refused == [1]


def test_desks_have_users_and_runners_of_their_own() -> None:
    mine = [f"u{n}" for n in range(20) if shard_of(f"u{n}", 2) == 0]
    comes = [(0, mine[0], "a"), (1, mine[1], "a")]
    plan = replace(PLAN, runners=2, desks=2)
    assert simulated(plan, comes) == [(0, 12), (12, 22)], "the other desk's runner is idle"


def test_waits_are_those_of_queueing_theory() -> None:
    # Runs of one length that come at random: Pollaczek and Khinchine's mean is load * run / (2 *
    # (1 - load)), here half a second.
    kind = replace(KINDS["a"], share=1.0, run_s=1.0)
    mix = Mix("one kind", (kind,), {"a": Model(1, 0.0)}, None, 0, 3.6)
    plan = Plan(mix, runners=1, users=10**9, load=0.5, runs=10_000, user_jobs=None, queue=100)
    done = Simulation(plan, processor_s=stands).run()
    waits = [run.granted_s - run.arrival.at_s for run in done.runs.values()]
    assert not done.refused
    assert sum(waits) / len(waits) == pytest.approx(0.5, rel=0.1)


def test_a_desk_that_is_too_slow_is_the_limit_and_several_are_not() -> None:
    plan = Plan(MIX, runners=16, users=1000, load=0.8, runs=300)
    fast = simulate(plan, processor_s=stands)
    assert fast["kept_up"]
    assert fast["desk_busy"] == 0
    assert fast["pictures_a_minute"] == pytest.approx(60 * 0.8 * 16 * 2 / 10, rel=0.15)
    assert fast["usd_for_1000"] == pytest.approx(1000 * 16 * 3.6 / 60 / fast["pictures_a_minute"])

    def slow() -> float:
        return 0.02 * next(ticks)  # each answer takes so long

    ticks = count()
    found = simulate(plan, processor_s=slow)
    assert not found["kept_up"]
    assert found["pictures_a_minute"] < fast["pictures_a_minute"]
    ticks = count()
    several = simulate(replace(plan, desks=16), processor_s=slow)
    assert several["kept_up"]
    assert several["desk_busy"] < found["desk_busy"] / 4


def test_mixes_are_of_what_was_measured_and_fit() -> None:
    for mix in (embedded_mix(), public_mix()):
        assert sum(kind.share for kind in mix.kinds) == pytest.approx(1)
        for kind in mix.kinds:
            size = sum(mix.models[name].size_bytes for name in kind.models)
            assert mix.budget_bytes is None or size <= mix.budget_bytes, kind.name
        assert simulate(Plan(mix, 2, 200, 0.5, 40))["runs"] == 40


def test_figures_become_tables_and_a_plot(tmp_path: Path) -> None:
    found = simulation_figures([MIX], (1, 2), (2,), least_runs=40)
    said = simulation_tables(found)
    assert "### two kinds" in said
    assert "2 runners, divided among several desks" in said
    assert f"](results/{PLOT})" in said
    simulation_plot(found, tmp_path / PLOT)
    with Image.open(tmp_path / PLOT) as picture:
        assert (picture.format, picture.width) == ("PNG", 1100)
        colours = picture.convert("RGB").getcolors(10**6) or []
    assert {(31, 119, 180), (255, 127, 14)} <= {colour for _, colour in colours}, "two lines"

"""Simulated clusters of one runner to a thousand; see ``benchmarks.cluster_simulation``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.cluster_mixes import Mix
from benchmarks.cluster_simulation import Plan, simulate
from benchmarks.roofline import machine
from easel.serving.ray.matching import LOOKED_AT

RUNNERS = (1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000)
DESKS = (4, 16)
PLAIN = 125  # runners at most, without overtaking
USERS = 100  # for each runner
USUAL, TOO_MUCH = 0.7, 1.5  # of the device seconds that there are
LEAST_RUNS, RUNS_OF_EACH = 1000, 4  # of a cluster, and of each runner


def simulation_figures(mixes: Sequence[Mix], runners: Sequence[int], desks: Sequence[int],
                       overhead_s: float = 0.0, call_s: float = 0.0,
                       least_runs: int = LEAST_RUNS,
                       told: Callable[[Mapping[str, Any]], None] = lambda point: None,
                       ) -> dict[str, Any]:
    """Clusters of more and more runners, with a hundred users for each.

    Args:
        mixes: what is drawn.
        runners: how many, rising; of the most also with several desks.
        desks: how many then.
        overhead_s, call_s: see ``Plan``.
        least_runs: that each cluster is asked for.
        told: told of every cluster that has ended.
    """
    found: dict[str, Any] = {"machine": machine(torch.device("cpu")), "overhead_s": overhead_s,
                             "call_s": call_s, "mixes": []}
    for mix in mixes:
        points: list[dict[str, Any]] = []
        found["mixes"].append({
            "name": mix.name, "usd_an_hour": mix.usd_an_hour, "mean_run_s": mix.mean_run_s(),
            "points": points})
        plans = [Plan(mix, n, USERS * n, load, max(least_runs, RUNS_OF_EACH * n),
                      looked_at=looked_at)
                 for n in runners
                 for load, looked_at in ((USUAL, LOOKED_AT), (TOO_MUCH, LOOKED_AT), (TOO_MUCH, 1))
                 if looked_at > 1 or n <= PLAIN]
        plans += [Plan(mix, runners[-1], USERS * runners[-1], load,
                        max(least_runs, RUNS_OF_EACH * runners[-1]), desks=each)
                  for each in desks for load in (USUAL, TOO_MUCH)]
        for plan in plans:
            points.append(simulate(replace(plan, overhead_s=overhead_s, call_s=call_s)))
            told({"mix": mix.name, **points[-1]})
    return found

"""Two sides that do the same work, timed in turns, and the figures that come of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from benchmarks.roofline import machine
from pipelines.models.machine_rates import Rates

TARGETS = {"vqgan_clip_step": (5, 1.2), "dalle_mini_1": (5, 3), "dalle_mini_9": (5, 3),
           "rank_256": (4, None)}


class Side(Protocol):
    """One side of a comparison: does its work once and returns the seconds of it."""

    def __call__(self) -> float: ...


@dataclass(frozen=True)
class Work:
    """What Easel must do at least as shipped: operations and bytes, by the dtype of its weights."""

    flops: float
    size_bytes: float
    dtype: torch.dtype


def timed(run: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    started = time.process_time()
    run()
    return time.process_time() - started


def in_turns(sides: Sequence[Side], turns: int) -> list[float]:
    """The median seconds of each side, one turn of each after the other."""
    found: list[list[float]] = [[] for _ in sides]
    for _ in range(turns):
        for times, side in zip(found, sides, strict=True):
            times.append(side())
    return [statistics.median(times) for times in found]


def compared(ours: Side, ours_float32: Side, peer: Side, turns: int, work: Work, rates: Rates,
             name: str) -> dict[str, Any]:
    """Time the three sides and put their figures together, with what they were measured on."""
    ours_s, float32_s, peer_s = in_turns((ours, ours_float32, peer), turns)
    bound_s = rates.bound_s(work.flops, work.size_bytes)
    shipped, same = TARGETS[name]
    return {"ours_s": ours_s, "ours_float32_s": float32_s, "peer_s": peer_s,
            "ratio_as_shipped": peer_s / ours_s, "ratio_same_dtype": peer_s / float32_s,
            "bound_s": bound_s, "fraction_of_bound": bound_s / ours_s,
            "gflops": work.flops / 1e9, "megabytes": work.size_bytes / 1e6, "turns": turns,
            "target_as_shipped": shipped, "target_same_dtype": same,
            "shipped_dtype": str(work.dtype), "machine": machine(torch.device("cpu")),
            "rates": {"matrix_flops_per_s": rates.matrix_flops,
                      "copy_bytes_per_s": rates.copy_bytes}}

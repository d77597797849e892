"""How fast a machine computes, measured, and the least time that a computation can take on it.

Source: Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model" (2009).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

MATRIX_SIDE = 1024
COPY_BYTES = 128 * 2**20  # beyond every cache
ROUNDS = 12


@dataclass(frozen=True)
class Rates:
    """What the machine reaches, measured in this run.

    Attributes:
        matrix_flops: matrix products, floating-point operations a second, by dtype.
        copy_bytes: bytes read and written a second by a copy of a large tensor.
    """

    matrix_flops: dict[str, float]
    copy_bytes: float

    @property
    def best_flops(self) -> float:
        """The rate of the fastest dtype."""
        return max(self.matrix_flops.values())

    def bound_s(self, flops: float, size_bytes: float) -> float:
        """The least seconds for that many operations and that many bytes moved."""
        return max(flops / self.best_flops, size_bytes / self.copy_bytes)


def best_seconds(run: Callable[[], object], rounds: int = ROUNDS,
                 clock: Callable[[], float] = time.perf_counter) -> float:
    """The shortest of several timed calls after one that is not timed, in seconds of a clock."""
    run()
    times = []
    for _ in range(rounds):
        started = clock()
        run()
        times.append(clock() - started)
    return min(times)


def measure_rates(device: torch.device, rounds: int = ROUNDS,
                  clock: Callable[[], float] = time.perf_counter,
                  dtypes: Sequence[torch.dtype] = (torch.float32, torch.bfloat16)) -> Rates:
    """Time matrix products of some dtypes and a copy, with the current threads."""
    def synchronised(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
        return run

    side = MATRIX_SIDE if device.type == "cpu" else 8 * MATRIX_SIDE
    flops = {}
    for dtype in dtypes:
        a = torch.randn(side, side, device=device).to(dtype)
        b, out = a.clone(), torch.empty_like(a)
        seconds = best_seconds(synchronised(lambda a=a, b=b, o=out: torch.mm(a, b, out=o)), rounds,
                               clock)
        flops[str(dtype).removeprefix("torch.")] = 2 * side**3 / seconds
    source = torch.zeros(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    seconds = best_seconds(synchronised(lambda: target.copy_(source)), rounds, clock)
    return Rates(flops, 2 * COPY_BYTES / seconds)

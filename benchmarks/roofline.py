"""How fast could it be: rates of the machine, and the least time that a computation can take.

Source: Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model" (2009).
"""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

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
                  clock: Callable[[], float] = time.perf_counter) -> Rates:
    """Time matrix products of float32 and bfloat16 and a copy, with the current threads."""
    def synchronised(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
        return run

    side = MATRIX_SIDE if device.type == "cpu" else 8 * MATRIX_SIDE
    flops = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(side, side, device=device).to(dtype)
        b, out = a.clone(), torch.empty_like(a)
        seconds = best_seconds(synchronised(lambda a=a, b=b, o=out: torch.mm(a, b, out=o)), rounds,
                               clock)
        flops[str(dtype).removeprefix("torch.")] = 2 * side**3 / seconds
    source = torch.zeros(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    seconds = best_seconds(synchronised(lambda: target.copy_(source)), rounds, clock)
    return Rates(flops, 2 * COPY_BYTES / seconds)


def counted_flops(run: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions in a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def parameter_bytes(*modules: nn.Module) -> int:
    """Bytes of the parameters, each read at least once in a pass."""
    return sum(p.numel() * p.element_size() for module in modules for p in module.parameters())


def peak_memory_bytes(pid: int | None = None) -> int | None:
    """The most memory that a process ever held (resident set); None where nobody can tell."""
    if pid is not None:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return None
        kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        return int(kilobytes[0]) * 1024 if kilobytes else None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine(device: torch.device) -> dict[str, str | int]:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines()
                  if line.startswith("model name")]
        name = models[0] if models else name
    about: dict[str, str | int] = {"cpu": name, "threads": torch.get_num_threads(),
                                   "torch": torch.__version__}
    if device.type == "cuda":
        about["gpu"] = torch.cuda.get_device_name(device)
    return about

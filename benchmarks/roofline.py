"""What a computation takes at the least, and what machine it was measured on."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


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

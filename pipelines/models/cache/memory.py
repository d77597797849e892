"""How much memory a device has, and how much of it models may take."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from pydantic import ByteSize

from pipelines.core.amounts import Share

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"),
                 Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def total_bytes(device: torch.device) -> int | None:
    """Memory of a device, or of the host where models run on the CPU; None where it is not known.

    A container's limit counts where it is lower than the machine's memory.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    return min([machine, *_container_limits()])


def _container_limits() -> list[int]:
    limits = []
    for path in CGROUP_LIMITS:
        try:
            limits.append(int(path.read_text()))
        except (OSError, ValueError):  # not in a container, or "max"
            continue
    return limits


def free_bytes(device: torch.device) -> int | None:
    """Bytes that a new model can take on an accelerator now, whoever holds the rest.

    What torch holds and does not use counts as free. None for the CPU, where the system itself
    moves memory about, and wherever it is not known.
    """
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def resolve(amount: ByteSize | Share | None, device: torch.device) -> int | None:
    """An amount in bytes; None for no limit, or for a share of what is not known."""
    if not isinstance(amount, Share):
        return None if amount is None else int(amount)
    total = total_bytes(device)
    return None if total is None else int(total * amount.percent / 100)


def device_budget(amount: ByteSize | Share | None, reserve_bytes: int, device: torch.device,
                  ) -> int | None:
    """The most that models may take on a device: the amount, and never into the reserve.

    Args:
        amount: what the settings allow; None for all.
        reserve_bytes: what activations need, kept free of models.
        device: where the models live.
    """
    budget, total = resolve(amount, device), total_bytes(device)
    if total is None:
        return budget
    most = max(0, total - reserve_bytes)
    return most if budget is None else min(budget, most)

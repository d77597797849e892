"""How much memory there is, and amounts of it as people write them: "2GB" or "50%"."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ByteSize, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"),
                 Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Share:
    """A share of a memory, in percent."""

    percent: float

    def __str__(self) -> str:
        return f"{self.percent:g}%"

    @classmethod
    def parse(cls, text: str) -> Share:
        """From "50%".

        Raises:
            ValueError: it is no number, or not in (0, 100].
        """
        percent = float(text.removesuffix("%"))
        if not 0 < percent <= 100:
            raise ValueError("a share is more than 0% and at most 100%")
        return cls(percent)


class Amount:
    """Field type of bytes or a share: ``ByteSize`` from "2GB" or 2000, ``Share`` from "50%"."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls._validate)

    @staticmethod
    def _validate(value: Any) -> ByteSize | Share:
        if isinstance(value, Share):
            return value
        try:
            if isinstance(value, str) and value.strip().endswith("%"):
                return Share.parse(value.strip())
            return _BYTES.validate_python(value)
        except ValueError:
            raise PydanticCustomError(
                "memory_amount", "Input should be bytes such as 2GB or a share such as 50%",
            ) from None


_BYTES = TypeAdapter(ByteSize)
MemoryAmount = Annotated[ByteSize | Share, Amount]


def total_bytes(device: torch.device) -> int | None:
    """Memory of a device, or of the host where models run on the CPU; None where nobody can tell.

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
    moves memory about, and wherever nobody can tell.
    """
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def resolve(amount: ByteSize | Share | None, device: torch.device) -> int | None:
    """An amount in bytes; None for no limit, or for a share of what nobody can tell."""
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


def megabytes(size_bytes: float) -> str:
    """Bytes as people read them: "1.0 MB", "120 MB", "5.2 GB"."""
    if size_bytes >= 1e9:
        return f"{size_bytes / 1e9:.1f} GB"
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e7 else f"{size_bytes / 1e6:.1f} MB"

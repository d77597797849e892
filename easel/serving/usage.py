"""What a step takes: seconds of the device's thread, and memory beside the models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from easel.serving.jobs import Job, Usage
from pipelines.core.heap import give_back, with_thresholds
from pipelines.models.cache.cache import ModelCache

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
FIRST_STEPS, SETTLE_EVERY_S = 2, 1.0
_CLEAR_PEAK = "5"  # proc(5): resets the peak resident size to the current one


class MemoryGauge(Protocol):
    """Says how much memory is in use now and was at most since ``reset``, in bytes."""

    def settle(self) -> None: ...
    def reset(self) -> None: ...
    def now(self) -> int: ...
    def peak(self) -> int: ...


class CudaMemory:
    """What torch has allocated on a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def settle(self) -> None:
        """Nothing: what is freed is not counted."""

    def reset(self) -> None:
        """Start the peak anew."""
        torch.cuda.reset_peak_memory_stats(self._device)

    def now(self) -> int:
        """Bytes allocated."""
        return torch.cuda.memory_allocated(self._device)

    def peak(self) -> int:
        """Most bytes allocated since ``reset``."""
        return torch.cuda.max_memory_allocated(self._device)


class ResidentMemory:
    """The resident memory of this process, as Linux tells it.

    What was freed stays resident, and is used again without being counted, until ``settle``.

    Raises:
        OSError: the system does not say, or does not let the peak be reset.
    """

    def __init__(self) -> None:
        self.reset()
        self.peak()
        with_thresholds()

    def settle(self) -> None:
        """See ``give_back``."""
        give_back()

    def reset(self) -> None:
        """Start the peak anew."""
        _CLEAR.write_text(_CLEAR_PEAK)

    def now(self) -> int:
        """Bytes resident."""
        return self._read("VmRSS:")

    def peak(self) -> int:
        """Most bytes resident since ``reset``."""
        return self._read("VmHWM:")

    @staticmethod
    def _read(name: str) -> int:
        for line in _STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        raise OSError(f"{_STATUS} has no {name}")


def memory_gauge(device: torch.device) -> MemoryGauge | None:
    """The gauge of a device, None where there is none."""
    if device.type == "cuda":
        return CudaMemory(device)
    try:
        return ResidentMemory() if device.type == "cpu" else None
    except (OSError, ValueError):
        return None


@dataclass
class _Held:
    """What a job's ended steps left behind, and at which of its device seconds it was settled."""

    bytes: int = 0
    steps: int = 0
    settled_s: float = 0.0


class StepProfiler:
    """Measures the steps of jobs; to be used on the device's thread alone.

    Free memory is given back before a job's first steps and then once in a second of its own, for
    what it takes; the steps between count for what they need beyond what is free.

    Args:
        cache: on whose device the steps run; what it loads meanwhile is not counted.
    """

    def __init__(self, cache: ModelCache) -> None:
        self._cache = cache
        self._cuda = cache.device.type == "cuda"
        self._gauge = memory_gauge(cache.device)
        self._held: dict[Job, _Held] = {}

    @contextmanager
    def step(self, job: Job) -> Iterator[None]:
        """Add what happens in the block to the job's usage."""
        waited_s = sum(job.waits_s)
        loaded = self._cache.used_bytes()
        before, settled = 0, self._settle(job)
        if self._gauge is not None:
            self._gauge.reset()
            before = self._gauge.now()
        start_s = time.monotonic()
        try:
            yield
            if self._cuda:
                torch.cuda.synchronize(self._cache.device)
        finally:
            spent_s = time.monotonic() - start_s - (sum(job.waits_s) - waited_s)
            job.usage = Usage(
                job.usage.device_s + max(0.0, spent_s),
                self._peak(job, before, self._cache.used_bytes() - loaded, settled))

    def forget(self, job: Job) -> None:
        """Drop what is known of a job that has ended."""
        self._held.pop(job, None)

    def _settle(self, job: Job) -> bool:
        """Give free memory back where it is time to; True where what is left is in use."""
        if self._gauge is None:
            return False
        held = self._held.setdefault(job, _Held())
        held.steps += 1
        due = held.steps <= FIRST_STEPS or job.usage.device_s - held.settled_s >= SETTLE_EVERY_S
        if due:
            held.settled_s = job.usage.device_s
            self._gauge.settle()
        return due or self._cuda

    def _peak(self, job: Job, before: int, loaded: int, settled: bool) -> int | None:
        """The most that the job held so far: what its earlier steps kept, and this one's peak."""
        if self._gauge is None:
            return None
        held = self._held[job]
        grown = self._gauge.peak() - before - max(0, loaded)
        peak = max(job.usage.peak_memory_bytes or 0, held.bytes + grown, 0)
        if settled:
            self._gauge.settle()
            held.bytes = max(0, held.bytes + self._gauge.now() - before - loaded)
        return peak

"""What this machine is, how long a public model would take on it, and which give most here."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from easel.ui.models.wishes import Wish, WishState
from pipelines.models.cache.inventory import ModelInventory
from pipelines.models.cache.memory import total_bytes
from pipelines.models.machine_rates import Rates, measure_rates
from pipelines.models.precision import fast_bfloat16

ADVISED = 3  # wishes
# Of a machine's bound: .36 and .40 by DALL·E mini, .45 by VQGAN+CLIP, .53 by a CLIP
# (``benchmarks/results/peers.json``, ``python -m benchmarks peers``).
REACHED = 0.4
PATIENCE_S = 120.0  # nobody is advised to wait longer for a picture
ROUNDS = 3  # of a measurement, which somebody waits for


@dataclass(frozen=True)
class Machine:
    """What models run on.

    Attributes:
        accelerator: its name; empty where models run on the CPU.
        memory_bytes: of the accelerator, else of the machine; None where it is not known.
        free_disk_bytes: for downloads; None where it is not known.
        rates: measured.
    """

    accelerator: str
    memory_bytes: int | None
    free_disk_bytes: int | None
    rates: Rates

    def seconds(self, wish: Wish) -> float | None:
        """About how long a picture takes; None for a wish of which that was not counted."""
        if wish.work is None:
            return None
        bound_s = self.rates.bound_s(wish.work.flops, wish.work.moved_bytes)
        return bound_s / REACHED

    def holds(self, state: WishState) -> bool:
        """Whether there is memory for the largest model of a wish, and room for the download."""
        needs = max((row.vram_bytes or 0 for row in state.rows), default=0)
        return ((self.memory_bytes is None or needs <= self.memory_bytes)
                and (self.free_disk_bytes is None or state.bytes_ <= self.free_disk_bytes))


@functools.cache
def _rates(device: torch.device) -> Rates:
    """Measured once a process, in the number format that public models compute in there."""
    fast = torch.bfloat16 if fast_bfloat16(device, large=True) else torch.float32
    # A thread does its share of a product; what it waits for others on the machine does not count.
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    return measure_rates(device, ROUNDS, clock, dtypes=(fast,))


def machine_of(inventory: ModelInventory) -> Machine:
    """The machine that an inventory's models run on; its rates are measured at the first call."""
    device = inventory.cache.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else (
        "" if device.type == "cpu" else device.type.upper())
    return Machine(name, total_bytes(device), _free_bytes(inventory.catalogue.models_dir),
                   _rates(device))


def _free_bytes(folder: Path) -> int | None:
    """Room in the file system of a folder that may not be there yet."""
    for place in (folder.absolute(), *folder.absolute().parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None


def advised(states: Sequence[WishState], machine: Machine) -> list[str]:
    """Ids of the wishes that give most on a machine, the one that gives most first.

    What is here already is not among them, nor what does not fit or lets one wait for minutes, nor
    a second model for what another one draws.
    """
    found: list[WishState] = []
    for state in sorted(states, key=lambda each: -each.wish.gain):
        waits_s = machine.seconds(state.wish)
        shared = {part for other in found for part in other.wish.parts}
        if (state.missing and state.progress is None and machine.holds(state)
                and (waits_s is None or waits_s <= PATIENCE_S)
                and not shared & set(state.wish.parts)):
            found.append(state)
    return [state.wish.id for state in found[:ADVISED]]

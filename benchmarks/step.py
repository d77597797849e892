"""What a step of VQGAN+CLIP takes at the public sizes: seconds and peak memory.

A picture of 256 px by a VQGAN f16 of 16,384 codes, guided by a ViT-B/32 that sees 32 cutouts;
weights are random. Each setting is measured in a process of its own; peak memory is what the
process had at most during the steps, less what it had before the models were there. bfloat16 is
measured where the CPU has an instruction for it: emulated, a step takes minutes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.loading import forget_peak, peak_bytes
from benchmarks.markdown import table
from benchmarks.roofline import machine, parameter_bytes

CODES, STEPS = 16384, 5
AT_ONCE = (32, 8)  # cutouts in a group


def one_setting(dtype: str, cutouts_at_once: int, threads: int) -> dict[str, Any]:
    """Take steps in this process.

    Args:
        dtype: of the weights of both networks.
        cutouts_at_once: in a group.
        threads: of the CPU.

    Returns:
        ``seconds``, the median of ``STEPS`` steps after one that is not timed, ``weight_bytes`` of
        both networks, and ``peak_bytes``.
    """
    from benchmarks.peers import peers  # needs requirements-dev.txt

    torch.set_num_threads(threads)
    before, number_format = forget_peak(), getattr(torch, dtype)
    # One after the other, so that no network is there in two formats at once.
    vqgan = peers.shipped_vqgan(peers.random_vqgan(CODES), number_format)
    guide = peers.shipped_clip(peers.random_clip(), number_format)
    optimisation = peers.shipped_optimisation(vqgan, guide, cutouts_at_once)
    forget_peak()
    times = []
    for step in range(1, STEPS + 2):
        started = time.perf_counter()
        optimisation.step(step, 100, lambda: False)
        times.append(time.perf_counter() - started)
    return {"dtype": dtype, "cutouts_at_once": cutouts_at_once,
            "seconds": statistics.median(times[1:]), "peak_bytes": peak_bytes() - before,
            "weight_bytes": parameter_bytes(vqgan, guide.module)}


def number_formats() -> tuple[str, ...]:
    """In which this CPU takes steps, of those that "precision" offers."""
    has = torch.cpu.get_capabilities()
    native = has.get("amx_bf16", False) or has.get("avx512_bf16", False)
    return ("float32", "bfloat16") if native else ("float32",)


def step_figures(threads: int) -> dict[str, Any]:
    """Every number format with every size of the groups."""
    found = []
    for dtype in number_formats():
        for at_once in AT_ONCE:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.step", dtype, str(at_once), str(threads)],
                check=True, stdout=subprocess.PIPE, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(found[-1]), flush=True)
    return {"machine": {**machine(torch.device("cpu")), "threads": threads}, "steps": found}


def step_table(results: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    about = results["machine"]
    rows = [[f"{row['dtype']}, {row['cutouts_at_once']} at once", f"{row['seconds']:.1f}",
             f"{row['peak_bytes'] / 1e9:.2f} GB", f"{row['weight_bytes'] / 1e9:.2f} GB"]
            for row in results["steps"]]
    heads = ["256 px, 32 cutouts", "seconds a step", "peak memory", "of it weights"]
    return f"{table(heads, rows)}\n\n{about['cpu']}, {about['threads']} threads."


if __name__ == "__main__":
    print(json.dumps(one_setting(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))

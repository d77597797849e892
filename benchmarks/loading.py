"""What loading a public checkpoint takes: seconds and peak memory, at its real size.

Weights are random (``benchmarks.published``), each load happens in a process of its own, and peak
memory is what the process had at most, less what it had before the load. Files have just been
written, so that they are read from the system's cache.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.markdown import share, table
from benchmarks.roofline import machine
from pipelines.models.cache.stats import measured_bytes
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.formats import loader
from pipelines.models.checkpoints.loading import load_model, weight_files
from pipelines.models.checkpoints.tensor_files import held

MOST_PEAK = 1.25  # of the weights' bytes
DTYPES: dict[str, tuple[str, ...]] = {
    "kuprel/dalle-mini": ("float32", "bfloat16", "int8"), "kuprel/dalle-mega": ("int8",),
    "deepseek/janus-pro-1b": ("bfloat16",), "kandinsky/2-2-image-encoder": ("bfloat16",),
    "flux2/klein-4b-text-encoder": ("bfloat16",), "flux2/klein-4b-transformer": ("bfloat16",),
    "flux2/klein-4b-vae": ("bfloat16",)}


def peak_bytes() -> int:
    """The most memory that this process had since ``forget_peak``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell a process's peak memory")


def forget_peak() -> int:
    """Begin to measure anew; returns the memory of now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def one_load(model_id: str, folder: Path, dtype: str) -> dict[str, Any]:
    """Load a model in this process.

    Returns:
        ``file_bytes`` of its tensors on disk, ``memory_bytes`` of those in memory, ``peak_bytes``
        of the load, ``peak_share`` of the larger of both, ``seconds``.
    """
    catalogue = Catalogue.load()
    entry = catalogue.get(model_id).model_copy(
        update={"path": folder, "repository": None, "revision": None, "files_of": None})
    loader(entry.loader)  # imports are not the load
    paths = [folder / file.name for file in weight_files(entry)]
    file_bytes = sum(each.nbytes for path in paths for each in held(path))
    before = forget_peak()
    started = time.perf_counter()
    model = load_model(catalogue, entry, dtype=getattr(torch, dtype))
    seconds = time.perf_counter() - started
    peak, memory_bytes = peak_bytes() - before, measured_bytes(model)
    return {"dtype": dtype, "file_bytes": file_bytes, "memory_bytes": memory_bytes,
            "peak_bytes": peak, "peak_share": peak / max(file_bytes, memory_bytes),
            "seconds": seconds}


def loading_figures(model_ids: Iterable[str]) -> dict[str, Any]:
    """Write each model's files, load them in every dtype that is asked of it, remove them."""
    from benchmarks.published import WRITERS  # needs requirements-dev.txt

    found = {}
    for model_id in model_ids:
        folder = Path(tempfile.mkdtemp(prefix="easel-loading-"))
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                WRITERS[model_id](folder)
            found[model_id] = [_in_a_process(model_id, folder, dtype)
                               for dtype in DTYPES.get(model_id, ("float32",))]
        finally:
            shutil.rmtree(folder)
        print(json.dumps({model_id: found[model_id]}), flush=True)
    return {"machine": machine(torch.device("cpu")), "most_peak": MOST_PEAK, "models": found}


def loading_table(results: Mapping[str, Any]) -> str:
    """The loads as Markdown, a row a model and dtype, and which are above the target."""
    def gigabytes(count: int) -> str:
        return f"{count / 1e9:.2f} GB"

    loads = [(name, load) for name, found in results["models"].items() for load in found]
    rows = [[f"`{name}`", load["dtype"], gigabytes(load["file_bytes"]),
             gigabytes(load["memory_bytes"]), gigabytes(load["peak_bytes"]),
             share(load["peak_share"]), f"{load['seconds']:.1f}"] for name, load in loads]
    above = [f"{name} in {load['dtype']}" for name, load in loads
             if load["peak_share"] > results["most_peak"]]
    return table([results["machine"]["cpu"], "as", "on disk", "in memory", "peak",
                  "of the larger", "seconds"], rows) + (
        f"\n\nThe target is {results['most_peak']} of the larger; above it: "
        f"{', '.join(above) or 'none'}.")


def _in_a_process(model_id: str, folder: Path, dtype: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "benchmarks.loading", model_id, folder, dtype],
                          check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(one_load(sys.argv[1], Path(sys.argv[2]), sys.argv[3])))

"""``loading.json``: files are written as a library would, and peaks are those of the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from benchmarks.loading import DTYPES, loading_table
from benchmarks.published import WRITERS, write_safetensors
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.formats import fill


def test_every_public_checkpoint_is_measured() -> None:
    public = {entry.id for entry in Catalogue.load() if entry.repository is not None}
    assert WRITERS.keys() == public
    assert DTYPES.keys() <= public


def test_files_are_safetensors(tmp_path: Path) -> None:
    with torch.device("meta"):
        module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(7, 1))
    write_safetensors(tmp_path / "a" / "model.safetensors", module.state_dict(), torch.float16)
    found = load_file(tmp_path / "a" / "model.safetensors")
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in module.state_dict().items()}
    assert found["0.weight"].dtype == torch.float16
    assert found["1.num_batches_tracked"].dtype == torch.int64
    assert 0 < found["0.weight"].float().std() < 0.1


def test_the_peak_is_what_was_taken_in_between(repository: Path) -> None:
    """In a process of its own, as loads are measured: threads of other tests give memory back."""
    code = ("import torch; from benchmarks.loading import forget_peak, peak_bytes; "
            "before = forget_peak(); taken = torch.ones(2**24); size = taken.nbytes; del taken; "
            "print(size, peak_bytes() - before)")
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True,
                          text=True, timeout=300, check=True)
    taken_bytes, peak = map(int, done.stdout.split())
    assert taken_bytes * 0.9 < peak < taken_bytes * 2


def test_building_without_memory_draws_nothing_and_loads_no_algebra(repository: Path) -> None:
    """torch would import sympy, 80 MB, to draw random numbers for what has no memory."""
    code = ("import sys; from torch import nn; "
            "from pipelines.models.checkpoints.formats import WithoutMemory\n"
            "before = 'sympy' in sys.modules\n"
            "with WithoutMemory():\n"
            "    built = nn.Sequential(nn.Embedding(4, 8), nn.Linear(8, 8), nn.LayerNorm(8), "
            "nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8))\n"
            "print(before, 'sympy' in sys.modules, {p.device.type for p in built.parameters()})")
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True,
                          text=True, timeout=300, check=True)
    assert done.stdout.split() == ["False", "False", "{'meta'}"]


def test_a_filled_module_alone_holds_its_tensors() -> None:
    state = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    weight = state["weight"]
    module = fill(nn.Linear(3, 2), state, "m")
    assert state == {}
    assert module.weight.data_ptr() == weight.data_ptr()  # type: ignore[union-attr, operator]


def test_the_table_names_what_is_above_the_target() -> None:
    load = {"dtype": "float32", "file_bytes": 10**9, "memory_bytes": 10**9, "peak_bytes": 10**9,
            "peak_share": 1.0, "seconds": 2.0}
    text = loading_table({"machine": {"cpu": "C"}, "most_peak": 1.25, "models": {
        "a/b": [load], "c/d": [load, load | {"dtype": "int8", "peak_share": 1.5}]}})
    assert "| `a/b` | float32 | 1.00 GB | 1.00 GB | 1.00 GB | 1.00 | 2.0 |" in text
    assert text.endswith("above it: c/d in int8.")

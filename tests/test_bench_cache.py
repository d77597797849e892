"""``cache.json``: the benchmark's figures are those of what it does."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.cache import (
    LEASES_PER_THREAD,
    MODELS,
    FileLoader,
    embedded_loads,
    many_threads,
    placement_times,
)
from pipelines.models.cache.cache import ModelCache

CPU = torch.device("cpu")


def test_threads_share_six_models_in_room_for_three(tmp_path: Path) -> None:
    without = many_threads(CPU, tmp_path, host=False, leases=5)
    assert without["leases"] == 16 * 5 < 16 * LEASES_PER_THREAD
    assert without["times_over_budget"] == 0
    assert without["loads"] > MODELS, "some were evicted and read again"
    assert 0 <= without["hit_rate"] < 1
    with_host = many_threads(CPU, tmp_path, host=True, leases=5)
    assert with_host["loads"] == MODELS, "each is read once"


def test_a_hit_reads_no_file(tmp_path: Path) -> None:
    loader = FileLoader(tmp_path, 1, 2**16)
    found = embedded_loads(lambda: ModelCache(loader), ["0"], rounds=2)
    assert loader.loads == 2
    assert found["0"]["cold"]["median_s"] > 0
    assert found["0"]["hit"]["median_s"] > 0


def test_places_are_each_measured(tmp_path: Path) -> None:
    found = placement_times(CPU, tmp_path, rounds=1)
    assert set(found) == {"size_bytes", "cold", "host_to_device", "hit"}

"""What the model cache costs and saves: cold loads, moves, hits, and sixteen threads at once."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.markdown import share, table
from benchmarks.roofline import machine
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.loading import file_sha256
from pipelines.models.checkpoints.tensor_files import read_safetensors

ROUNDS = 9
MODEL_BYTES = 64 * 2**20
MODELS, ROOM, THREADS, LEASES_PER_THREAD = 6, 3, 16, 60


class FileLoader:
    """Loads one matrix a model from safetensors files, as large as an average CLIP's half."""

    def __init__(self, folder: Path, count: int, size_bytes: int = MODEL_BYTES) -> None:
        self.folder, self._size_bytes, self.loads = folder, size_bytes, 0
        side = int((size_bytes / 4) ** 0.5)
        for number in range(count):
            save_file({"weight": torch.full((side, side), float(number))},
                      folder / f"{number}.safetensors")

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Check the file's hash, read it and build the layer."""
        self.loads += 1
        path = self.folder / f"{model_id}.safetensors"
        file_sha256(path)
        weight = read_safetensors(path, model_id)["weight"]
        layer = nn.Linear(1, 1, bias=False)
        layer.weight = nn.Parameter(weight.to(device, dtype), requires_grad=False)
        return layer

    def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
        """Bytes of the matrix."""
        return self._size_bytes

    def title(self, model_id: str) -> str:
        """The id."""
        return model_id

    def fingerprint(self, model_id: str) -> str | None:
        """Not needed."""
        return None


def _lease_s(cache: ModelCache, model_id: str) -> float:
    start = time.perf_counter()
    with cache.lease(model_id):
        if cache.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start


def _medians(values: list[float]) -> dict[str, float]:
    return {"median_s": statistics.median(values), "worst_s": max(values)}


@contextmanager
def _cache(loader: FileLoader, device: torch.device, **budgets: Any) -> Iterator[ModelCache]:
    cache = ModelCache(loader, device, **budgets)
    try:
        yield cache
    finally:
        cache.close()


def embedded_loads(make_cache: Callable[[], ModelCache], model_ids: list[str],
                   rounds: int = ROUNDS) -> dict[str, Any]:
    """Cold load and resident hit of real models.

    Args:
        make_cache: a new, empty cache.
        model_ids: which ones.
        rounds: how often each is measured.
    """
    found = {}
    for model_id in model_ids:
        cold, hit = [], []
        for _ in range(rounds):
            cache = make_cache()
            cold.append(_lease_s(cache, model_id))
            hit.append(_lease_s(cache, model_id))
            cache.close()
        found[model_id] = {"cold": _medians(cold[1:] or cold), "hit": _medians(hit)}
    return found


def placement_times(device: torch.device, folder: Path, rounds: int = ROUNDS) -> dict[str, Any]:
    """Cold load, host to device, and resident hit of one matrix of ``MODEL_BYTES``.

    On a CPU the move from the host is accounted and nothing is copied.
    """
    loader = FileLoader(folder, 1)
    cold, moved, hit = [], [], []
    with _cache(loader, device, host_budget_bytes=None) as cache:
        for _ in range(rounds):
            cache.unload("0")
            cold.append(_lease_s(cache, "0"))
            hit.append(_lease_s(cache, "0"))
            cache.evict_idle()
            moved.append(_lease_s(cache, "0"))
    return {"size_bytes": MODEL_BYTES, "cold": _medians(cold), "host_to_device": _medians(moved),
            "hit": _medians(hit)}


def many_threads(device: torch.device, folder: Path, host: bool,
                 leases: int = LEASES_PER_THREAD) -> dict[str, Any]:
    """Sixteen threads over six models with room for three, each leasing in an order of its own.

    Args:
        device: where.
        folder: for the models' files.
        host: whether evicted models wait in host memory.
        leases: of each thread.
    """
    loader = FileLoader(folder, MODELS, 2**20)
    size_bytes = loader.size_bytes("0", torch.float32)
    over = 0
    with _cache(loader, device, budget_bytes=ROOM * size_bytes, room_timeout_s=600.0,
                host_budget_bytes=MODELS * size_bytes if host else 0) as cache:
        start = threading.Barrier(THREADS)

        def work(seed: int) -> list[float]:
            nonlocal over
            choose = torch.Generator().manual_seed(seed)
            start.wait()
            waits = []
            for number in torch.randint(MODELS, (leases,), generator=choose).tolist():
                waits.append(_lease_s(cache, str(number)))
                over += cache.stats().used_bytes > ROOM * size_bytes
            return waits

        began = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            waits = [wait for found in pool.map(work, range(THREADS)) for wait in found]
        seconds = time.perf_counter() - began
        stats = cache.stats()
    return {"threads": THREADS, "models": MODELS, "room": ROOM, "leases": len(waits),
            "seconds": seconds, "leases_per_s": len(waits) / seconds, "wait": _medians(waits),
            "hit_rate": stats.hits / len(waits), "loads": loader.loads,
            "evictions": stats.evictions, "times_over_budget": over}


def cache_figures(make_cache: Callable[[], ModelCache], model_ids: list[str]) -> dict[str, Any]:
    """All figures of the cache.

    Args:
        make_cache: a new, empty cache of the embedded models.
        model_ids: those to load.
    """
    probe = make_cache()
    device = probe.device
    probe.close()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {"machine": machine(device), "embedded": embedded_loads(make_cache, model_ids),
                "tiers": placement_times(device, folder),
                "sixteen_threads": {"without_host": many_threads(device, folder, host=False),
                                    "with_host": many_threads(device, folder, host=True)}}


def cache_table(results: Mapping[str, Any]) -> str:
    """Loads, moves and hits, and sixteen threads at once, as Markdown."""
    def times(found: Mapping[str, float]) -> list[str]:
        return [f"{1e3 * found['median_s']:.2f} ms", f"{1e3 * found['worst_s']:.2f} ms"]

    placed = results["tiers"]
    size = f"{placed['size_bytes'] / 2**20:.0f} MB"
    rows = [[f"`{name}`, {kind}", *times(found[key])]
            for name, found in results["embedded"].items()
            for kind, key in (("cold", "cold"), ("on the device", "hit"))]
    rows += [[f"a matrix of {size}, {kind}", *times(placed[key])]
             for kind, key in (("cold", "cold"), ("from host memory", "host_to_device"),
                               ("on the device", "hit"))]
    many = [[kind.replace("_", " "), f"{found['leases_per_s']:,.0f}", *times(found["wait"]),
             share(found["hit_rate"]), f"{found['loads']:,}", f"{found['evictions']:,}",
             f"{found['times_over_budget']:,}"]
            for kind, found in results["sixteen_threads"].items()]
    first = next(iter(results["sixteen_threads"].values()))
    return (table([f"a lease, {results['machine']['cpu']}", "median", "worst"], rows) + "\n\n"
            + table([f"{first['threads']} threads, {first['models']} models, room for "
                     f"{first['room']}", "leases a second", "wait, median", "wait, worst",
                     "hit rate", "loads", "evictions", "times over budget"], many))

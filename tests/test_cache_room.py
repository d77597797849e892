"""Room on the device and in host memory: what leaves first, what stays, what is told instead."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pipelines.core.errors import OutOfMemory
from pipelines.models.cache.cache import ModelCache
from tests.cached_layers import CountingLoader, TickingLoader, bytes_of, states, use
from tests.noise import LinearLoader, linear_cache


def test_least_recently_used_leaves_first_and_leased_ones_stay() -> None:
    cache = ModelCache(LinearLoader(), budget_bytes=2 * bytes_of(10))

    def resident() -> set[str]:
        return {m.model_id for m in cache.stats().models if m.state == "device"}

    for model_id in ("a/10", "b/10", "a/10", "c/10"):
        with cache.lease(model_id):
            pass
    assert resident() == {"a/10", "c/10"}
    with cache.lease("a/10"), cache.lease("b/10"):  # c is newer than a, yet a is held
        assert resident() == {"a/10", "b/10"}


def test_no_room_beside_leases_is_a_sentence_and_evicts_nothing() -> None:
    cache = ModelCache(LinearLoader(), budget_bytes=3 * bytes_of(500), room_timeout_s=0.2)
    with cache.lease("idle/500"):
        pass
    with cache.lease("held/500"), pytest.raises(OutOfMemory, match=r"needs 4\.0 MB"), \
            cache.lease("large/1000"):
        pass
    with cache.lease("held/500"), cache.lease("held2/500"), \
            pytest.raises(OutOfMemory, match=r"has 1\.0 MB that no running job or pin"), \
            cache.lease("next/600"):
        pass
    assert cache.stats().used_bytes <= 3 * bytes_of(500)
    with cache.lease("next/600"):
        pass


def test_room_given_back_is_used_by_who_waits() -> None:
    cache = linear_cache(budget_bytes=bytes_of(10))
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with cache.lease("a/10"):
            held.set()
            free.wait(10)

    with ThreadPoolExecutor(2) as pool:
        holder = pool.submit(hold)
        held.wait(10)
        waiter = pool.submit(lambda: cache.lease("b/10").__enter__())
        time.sleep(0.15)
        assert not waiter.done()
        free.set()
        holder.result(10)
        assert waiter.result(10) is not None


def test_a_wrong_estimate_does_not_break_the_budget() -> None:
    class Optimist(LinearLoader):
        def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
            """Nothing is known before the load."""
            return 0

    cache = ModelCache(Optimist(), budget_bytes=bytes_of(10), room_timeout_s=0.1)
    with pytest.raises(OutOfMemory), cache.lease("a/20"):
        pass
    assert cache.stats().used_bytes == 0
    with cache.lease("b/10"):
        assert cache.stats().used_bytes == bytes_of(10)


def test_out_of_memory_evicts_the_idle_and_tries_once_more() -> None:
    loader = CountingLoader()
    cache = ModelCache(loader)
    with cache.lease("idle/8"):
        pass
    loader.failures, loader.error = 1, torch.OutOfMemoryError("full")
    with cache.lease("b/8"):
        states = {m.model_id: m.state for m in cache.stats().models}
    assert states == {"idle/8": "disk", "b/8": "device"}
    cache.evict_idle()
    loader.failures = 5
    with pytest.raises(OutOfMemory, match="no memory left for the model c/8"), cache.lease("c/8"):
        pass


def test_what_leaves_the_device_waits_in_host_memory() -> None:
    loader = CountingLoader()
    cache = ModelCache(loader, budget_bytes=bytes_of(10), host_budget_bytes=2 * bytes_of(10),
                       clock=lambda: 0.0)
    with cache.lease("a/10") as first:
        pass
    use(cache, "b/10", "c/10")
    assert states(cache) == {"a/10": "host", "b/10": "host", "c/10": "device"}
    assert cache.loading_message("a/10") == "Moving the a/10 to the device, 0 kB."
    with cache.lease("a/10") as again:
        assert again is first, "moved back, not built again"
    assert loader.builds == ["a/10", "b/10", "c/10"]
    use(cache, "d/10")  # host is full: b, unused for longest, leaves it
    assert states(cache) == {"a/10": "host", "b/10": "disk", "c/10": "host", "d/10": "device"}
    stats = cache.stats()
    assert (stats.used_bytes, stats.host_used_bytes) == (bytes_of(10), 2 * bytes_of(10))
    assert {m.model_id: m.evictions for m in stats.models} == {
        "a/10": 2, "b/10": 1, "c/10": 1, "d/10": 0}


def test_a_model_that_no_host_budget_holds_is_dropped() -> None:
    cache = ModelCache(LinearLoader(), budget_bytes=bytes_of(20), host_budget_bytes=bytes_of(10))
    use(cache, "small/10", "large/20", "other/20")
    assert states(cache) == {"small/10": "host", "large/20": "disk", "other/20": "device"}


def test_what_a_model_costs_saves_it_no_more_than_its_last_use() -> None:
    loader = TickingLoader({"slow/10": 3.0})
    cache = ModelCache(loader, budget_bytes=bytes_of(10) + bytes_of(30), clock=loader.clock)
    use(cache, "slow/10", "large/30", "slow/10", "next/10")
    assert states(cache) == {"slow/10": "device", "large/30": "disk", "next/10": "device"}
    use(cache, "next/10", "large/30")
    assert states(cache) == {"slow/10": "disk", "large/30": "device", "next/10": "device"}
    figures = {m.model_id: m.load_s for m in cache.stats().models}
    assert (figures["slow/10"], figures["next/10"]) == (3.0, 1.0)


def test_a_pinned_model_stays() -> None:
    cache = ModelCache(LinearLoader(), budget_bytes=2 * bytes_of(10), room_timeout_s=0.0,
                       clock=lambda: 0.0)
    cache.pin("a/10")
    use(cache, "a/10", "b/10", "c/10", "d/10")
    assert states(cache) == {"a/10": "device", "b/10": "disk", "c/10": "disk", "d/10": "device"}
    assert cache.evict_idle() == bytes_of(10)
    assert states(cache)["a/10"] == "device"
    with cache.lease("b/10"), pytest.raises(OutOfMemory, match="no running job or pin holds"):
        use(cache, "c/10")
    cache.pin("a/10", pinned=False)
    with cache.lease("b/10"):
        use(cache, "c/10")
    assert states(cache)["a/10"] == "disk"


def test_unload_drops_what_is_idle_and_only_that() -> None:
    cache = ModelCache(LinearLoader(), host_budget_bytes=None)
    cache.pin("a/10")
    with cache.lease("a/10"):
        assert not cache.unload("a/10")
        assert states(cache) == {"a/10": "device"}
    assert cache.unload("a/10")
    assert states(cache) == {"a/10": "disk"}
    use(cache, "a/10")
    assert cache.evict_idle() == bytes_of(10), "unloading took the pin away"
    assert states(cache) == {"a/10": "host"}
    assert cache.unload("a/10")
    assert cache.stats().host_used_bytes == 0


@pytest.mark.gpu
def test_models_larger_than_the_budget_take_turns_on_an_accelerator() -> None:
    width, device = 4096, torch.device("cuda")
    before = torch.cuda.memory_allocated(device)
    cache = ModelCache(LinearLoader(), device, budget_bytes=2 * bytes_of(width),
                       host_budget_bytes=8 * bytes_of(width))
    sums: dict[str, float] = {}
    for model_id in [f"{name}/{width}" for name in "abcdabcdcbad"]:
        with cache.lease(model_id) as model:
            assert next(model.parameters()).device.type == "cuda"
            total = float(model.weight.double().sum())
            assert sums.setdefault(model_id, total) == total, "the same weights come back"
            held = torch.cuda.memory_allocated(device) - before
            assert held <= 2 * bytes_of(width) + 2**26
    assert cache.stats().host_used_bytes == 2 * bytes_of(width)
    cache.close()
    assert torch.cuda.memory_allocated(device) - before < 2**20


@pytest.mark.gpu
def test_an_accelerator_that_others_fill_is_a_sentence() -> None:
    device = torch.device("cuda")
    free, _ = torch.cuda.mem_get_info(device)
    cache = ModelCache(LinearLoader(), device, reserve_bytes=free)
    with pytest.raises(OutOfMemory, match="no memory left for the model a/64"):
        use(cache, "a/64")

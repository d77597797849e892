"""Models are built once and shared, every lease is given back, and a failure is a sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from pipelines.core.errors import Cancelled, EaselError, WeightsError
from pipelines.models.cache.cache import ModelCache
from pipelines.models.cache.stats import measured_bytes
from tests.cached_layers import CountingLoader, bytes_of, states, use
from tests.noise import linear_cache


def test_a_second_lease_shares_the_model() -> None:
    cache = linear_cache()
    with cache.lease("linear/8") as first, cache.lease("linear/8") as second:
        assert first is second
        assert cache.stats().models[0].leases == 2
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.evictions) == (1, 1, 0)
    assert stats.used_bytes == bytes_of(8)
    assert stats.models[0].state == "device"
    assert stats.models[0].leases == 0
    assert stats.models[0].load_s is not None


def test_dtype_is_part_of_the_key() -> None:
    cache = linear_cache()
    with cache.lease("linear/8") as full, cache.lease("linear/8", dtype=torch.bfloat16) as half:
        assert next(full.parameters()).dtype == torch.float32
        assert next(half.parameters()).dtype == torch.bfloat16
    assert cache.stats().used_bytes == bytes_of(8) * 3 // 2


def test_sixteen_threads_build_once() -> None:
    loader = CountingLoader(load_s=0.1)
    cache = ModelCache(loader)
    together = threading.Barrier(16)

    def ask() -> int:
        together.wait()
        with cache.lease("linear/8") as model:
            return id(model)

    with ThreadPoolExecutor(16) as pool:
        assert len({future.result() for future in [pool.submit(ask) for _ in range(16)]}) == 1
    assert loader.builds == ["linear/8"]


def test_failure_reaches_every_waiter_and_can_be_tried_again() -> None:
    loader = CountingLoader(load_s=0.2)
    loader.failures = 1
    cache = ModelCache(loader)

    def ask() -> str:
        try:
            with cache.lease("linear/8"):
                return "good"
        except WeightsError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        outcomes = [future.result() for future in [pool.submit(ask) for _ in range(4)]]
    assert outcomes == ["The file is damaged."] * 4
    assert cache.stats().used_bytes == 0
    assert ask() == "good"
    assert len(loader.builds) == 2


def test_a_strange_failure_becomes_a_sentence() -> None:
    loader = CountingLoader()
    loader.failures, loader.error = 1, KeyError("inside")
    cache = ModelCache(loader)
    with pytest.raises(WeightsError, match=r"^The model linear/8 could not be loaded"), \
            cache.lease("linear/8"):
        pass


def test_a_waiter_can_be_cancelled_and_the_load_goes_on() -> None:
    loader = CountingLoader(load_s=1.5)
    cache = ModelCache(loader)
    start = time.monotonic()
    with pytest.raises(Cancelled), \
            cache.lease("linear/8", cancelled=lambda: time.monotonic() - start > 0.1):
        pass
    assert time.monotonic() - start < 1.2
    with cache.lease("linear/8"):
        assert loader.builds == ["linear/8"]
    assert cache.stats().models[0].leases == 0


def test_a_build_that_all_gave_up_is_skipped() -> None:
    loader = CountingLoader(load_s=1.0)
    cache = ModelCache(loader)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: cache.lease("a/8").__enter__())
        time.sleep(0.1)
        with pytest.raises(Cancelled), cache.lease("b/8", cancelled=lambda: True):
            pass
        asked = time.monotonic()
        with pytest.raises(Cancelled), \
                cache.lease("c/8", cancelled=lambda: time.monotonic() - asked > 0.05):
            pass
        first.result()
    with cache.lease("c/8"):
        pass
    assert loader.builds == ["a/8", "c/8"]


def test_released_on_error_and_by_a_dropped_generator() -> None:
    cache = linear_cache()

    def steps() -> Iterator[nn.Module]:
        with cache.lease("linear/8") as model:
            yield model
            yield model

    with pytest.raises(ZeroDivisionError), cache.lease("linear/8"):
        raise ZeroDivisionError
    generator = steps()
    next(generator)
    assert cache.stats().models[0].leases == 1
    del generator
    assert cache.stats().models[0].leases == 0
    assert cache.evict_idle() == bytes_of(8)


def test_loading_message_names_size_and_last_time() -> None:
    cache = ModelCache(CountingLoader(load_s=0.1))
    assert cache.loading_message("linear/2000") == "Loading the linear/2000, 16 MB."
    with cache.lease("linear/2000"):
        assert cache.loading_message("linear/2000") is None
    cache.evict_idle()
    message = cache.loading_message("linear/2000")
    assert message is not None
    assert message.startswith("Loading the linear/2000, 16 MB, took 0.")
    assert message.endswith("s last time.")


def test_a_closed_cache_says_so_and_counts_nothing() -> None:
    cache = linear_cache()
    cache.close()
    with pytest.raises(EaselError, match="shutting down"):
        use(cache, "a/8")
    assert states(cache) == {"a/8": "disk"}
    assert cache.stats().models[0].leases == 0


def test_shared_storage_is_counted_once() -> None:
    layer = nn.Linear(8, 8, bias=False)
    layer.register_buffer("same", layer.weight.detach())
    assert measured_bytes(layer) == bytes_of(8)


def test_a_lease_that_is_never_given_back_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    cache = linear_cache()
    manager = cache.lease("linear/8")
    manager.__enter__()
    cache.close()
    (record,) = [r.message for r in caplog.records if "never given back" in r.message]
    assert record == "leases of linear/8 that were never given back: 1"
    manager.__exit__(None, None, None)


def test_a_generator_that_the_collector_closes_under_the_lock_gives_its_lease_back() -> None:
    cache = linear_cache()

    def steps() -> Iterator[nn.Module]:
        with cache.lease("linear/8") as model:
            yield model

    generator = steps()
    next(generator)
    with cache._changed:  # where the collector may happen to run
        del generator
    assert cache.stats().models[0].leases == 0

"""Built once, never evicted under a lease, never over budget, and no thread left waiting."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from torch import nn

from pipelines.errors import Cancelled, OutOfMemory, WeightsError
from pipelines.model_cache import ModelCache, measured_bytes
from tests.noise import LinearLoader, linear_cache


class CountingLoader(LinearLoader):
    """Counts builds and notes two at once; fails and dawdles on demand."""

    def __init__(self, load_s: float = 0.0) -> None:
        self.load_s, self.failures = load_s, 0
        self.error: BaseException = WeightsError("The file is damaged.")
        self.builds: list[str] = []
        self.overlapped = False
        self._building = threading.Lock()

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Build a layer, or fail while ``failures`` are left."""
        self.overlapped |= not self._building.acquire(blocking=False)
        try:
            self.builds.append(model_id)
            time.sleep(self.load_s)
            if self.failures:
                self.failures -= 1
                raise self.error
            assert not torch.is_inference_mode_enabled()
            return super().load(model_id, device, dtype)
        finally:
            self._building.release()


def bytes_of(width: int) -> int:
    """Bytes of a square float32 matrix."""
    return width * width * 4


def test_a_second_lease_shares_the_model() -> None:
    cache = linear_cache()
    with cache.lease("linear/8") as first, cache.lease("linear/8") as second:
        assert first is second
        assert cache.stats().models[0].leases == 2
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.evictions) == (1, 1, 0)
    assert stats.used_bytes == bytes_of(8)
    assert stats.models[0].state == "resident"
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


def test_sixteen_threads_over_six_models_at_a_budget_of_three() -> None:
    loader = CountingLoader(load_s=0.001)
    cache = ModelCache(loader, budget_bytes=3 * bytes_of(105))
    over = []

    def work(seed: int) -> int:
        choose = random.Random(seed)
        done = 0
        for _ in range(30):
            width = 100 + choose.randrange(6)
            with cache.lease(f"linear/{width}") as model:
                over.append(cache.stats().used_bytes > 3 * bytes_of(105))
                done += model(torch.ones(width)).shape == (width,)
        return done

    with ThreadPoolExecutor(16) as pool:
        results = [future.result(timeout=120) for future in
                   [pool.submit(work, seed) for seed in range(16)]]
    assert results == [30] * 16
    assert not any(over)
    assert not loader.overlapped
    stats = cache.stats()
    assert stats.evictions > 0
    assert all(model.leases == 0 for model in stats.models)


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


def test_least_recently_used_leaves_first_and_leased_ones_stay() -> None:
    cache = linear_cache(budget_bytes=2 * bytes_of(10))

    def resident() -> set[str]:
        return {m.model_id for m in cache.stats().models if m.state == "resident"}

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
            pytest.raises(OutOfMemory, match=r"has 1\.0 MB that no running job holds"), \
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


def test_out_of_memory_evicts_the_idle_and_tries_once_more() -> None:
    loader = CountingLoader()
    cache = ModelCache(loader)
    with cache.lease("idle/8"):
        pass
    loader.failures, loader.error = 1, torch.OutOfMemoryError("full")
    with cache.lease("b/8"):
        states = {m.model_id: m.state for m in cache.stats().models}
    assert states == {"idle/8": "absent", "b/8": "resident"}
    cache.evict_idle()
    loader.failures = 5
    with pytest.raises(OutOfMemory, match="no memory left for the model c/8"), cache.lease("c/8"):
        pass


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


def test_shared_storage_is_counted_once() -> None:
    layer = nn.Linear(8, 8, bias=False)
    layer.register_buffer("same", layer.weight.detach())
    assert measured_bytes(layer) == bytes_of(8)


class CacheMachine(RuleBasedStateMachine):
    """Random leases, releases and failures under a budget."""

    WIDTHS = st.sampled_from([8, 12, 16, 20])

    @initialize(budget=st.integers(bytes_of(20), 2 * bytes_of(20)))
    def start(self, budget: int) -> None:
        """An empty cache."""
        self.loader, self.budget = CountingLoader(), budget
        self.cache = ModelCache(self.loader, budget_bytes=budget, room_timeout_s=0.0)
        self.leases = []

    @rule(width=WIDTHS, fails=st.booleans())
    def lease(self, width: int, fails: bool) -> None:
        """Take a lease, or be told why not."""
        resident = {m.model_id for m in self.cache.stats().models if m.state == "resident"}
        leased = {model_id for model_id, *_ in self.leases}
        model_id = f"m/{width}"
        held = sum(bytes_of(int(name[2:])) for name in leased)
        self.loader.failures = int(fails)
        manager = self.cache.lease(model_id)
        builds = len(self.loader.builds)
        try:
            model = manager.__enter__()
        except WeightsError:
            assert fails
            assert model_id not in resident
        except OutOfMemory:
            assert held + bytes_of(width) > self.budget
        else:
            assert len(self.loader.builds) - builds == (model_id not in resident)
            self.leases.append((model_id, manager, model))
        self.loader.failures = 0

    @rule(pick=st.randoms())
    def release(self, pick: random.Random) -> None:
        """Give one back, in any order."""
        if self.leases:
            _, manager, _ = self.leases.pop(pick.randrange(len(self.leases)))
            manager.__exit__(None, None, None)

    @rule()
    def evict(self) -> None:
        """Drop what nobody holds."""
        self.cache.evict_idle()
        assert self.cache.stats().used_bytes == sum(
            bytes_of(int(name[2:])) for name in {model_id for model_id, *_ in self.leases})

    @invariant()
    def within_budget_and_leased_are_here(self) -> None:
        """What must hold after every step."""
        if not hasattr(self, "cache"):
            return
        stats = self.cache.stats()
        assert stats.used_bytes <= self.budget
        by_id = {m.model_id: m for m in stats.models}
        for model_id in {name for name, *_ in self.leases}:
            models = {id(model) for name, _, model in self.leases if name == model_id}
            assert len(models) == 1
            assert by_id[model_id].state == "resident"
            assert by_id[model_id].leases == sum(name == model_id for name, *_ in self.leases)

    def teardown(self) -> None:
        """End the loader's thread."""
        if hasattr(self, "cache"):
            self.cache.close()


CacheMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestCacheMachine = CacheMachine.TestCase

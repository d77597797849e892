"""Built once, never evicted under a lease, never over budget, and no thread left waiting."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from torch import nn

from pipelines.errors import Cancelled, EaselError, OutOfMemory, WeightsError
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
    # Of equal size and equally quick to load, by a clock that stands still.
    cache = ModelCache(LinearLoader(), budget_bytes=2 * bytes_of(10), clock=lambda: 0.0)

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
    assert states == {"idle/8": "disk", "b/8": "device"}
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


class TickingLoader(CountingLoader):
    """Takes as many seconds of its own clock as ``seconds`` says for a model."""

    def __init__(self, seconds: dict[str, float]) -> None:
        super().__init__()
        self.seconds, self.now_s = seconds, 0.0

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Build a layer and let the clock go on."""
        self.now_s += self.seconds.get(model_id, 1.0)
        return super().load(model_id, device, dtype)

    def clock(self) -> float:
        """Seconds so far."""
        return self.now_s


def states(cache: ModelCache) -> dict[str, str]:
    """Where each model is."""
    return {m.model_id: m.state for m in cache.stats().models}


def use(cache: ModelCache, *model_ids: str) -> None:
    """Lease models for a moment, one after the other."""
    for model_id in model_ids:
        with cache.lease(model_id):
            pass


def test_what_leaves_the_device_waits_in_host_memory() -> None:
    loader = CountingLoader()
    cache = ModelCache(loader, budget_bytes=bytes_of(10), host_budget_bytes=2 * bytes_of(10),
                       clock=lambda: 0.0)
    with cache.lease("a/10") as first:
        pass
    use(cache, "b/10", "c/10")
    assert states(cache) == {"a/10": "host", "b/10": "host", "c/10": "device"}
    assert cache.loading_message("a/10") == "Moving the a/10 to the device, 0.0 MB."
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


def test_what_is_slow_to_load_stays_longer_but_not_for_ever() -> None:
    loader = TickingLoader({"slow/10": 3.0})
    cache = ModelCache(loader, budget_bytes=2 * bytes_of(10), clock=loader.clock)
    use(cache, "slow/10", "a/10", "b/10")
    assert states(cache)["slow/10"] == "device", "a was used later, and is loaded in a third"
    use(cache, "c/10", "d/10", "e/10")
    assert states(cache)["slow/10"] == "disk", "others were used again and again meanwhile"
    figures = {m.model_id: m.load_s for m in cache.stats().models}
    assert (figures["slow/10"], figures["a/10"]) == (3.0, 1.0)


def test_a_large_model_that_loads_as_fast_leaves_before_a_small_one() -> None:
    loader = TickingLoader({})
    cache = ModelCache(loader, budget_bytes=bytes_of(10) + bytes_of(30), clock=loader.clock)
    use(cache, "large/30", "small/10", "large/30", "next/10")  # the large one was used last
    assert states(cache) == {"large/30": "disk", "small/10": "device", "next/10": "device"}


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


def test_a_lease_that_is_never_given_back_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    cache = linear_cache()
    manager = cache.lease("linear/8")
    manager.__enter__()
    cache.close()
    (record,) = [r.message for r in caplog.records if "never given back" in r.message]
    assert "linear/8" in record
    assert "test_model_cache.py" in record
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


class CacheMachine(RuleBasedStateMachine):
    """Random leases, releases, failures, pins and evictions under budgets of device and host."""

    WIDTHS = st.sampled_from([8, 12, 16, 20])

    @initialize(budget=st.integers(bytes_of(20), 2 * bytes_of(20)),
                host_budget=st.sampled_from([0, bytes_of(12), bytes_of(20), 3 * bytes_of(20)]))
    def start(self, budget: int, host_budget: int) -> None:
        """An empty cache."""
        self.loader, self.budget, self.host_budget = CountingLoader(), budget, host_budget
        self.cache = ModelCache(self.loader, budget_bytes=budget, room_timeout_s=0.0,
                                host_budget_bytes=host_budget)
        self.leases, self.pins = [], set()

    def held(self) -> set[str]:
        """Ids that may not leave the device."""
        here = {model_id for model_id, state in states(self.cache).items() if state == "device"}
        return {model_id for model_id, *_ in self.leases} | (self.pins & here)

    @rule(width=WIDTHS, fails=st.booleans())
    def lease(self, width: int, fails: bool) -> None:
        """Take a lease, or be told why not."""
        model_id, before = f"m/{width}", states(self.cache)
        held = sum(bytes_of(int(name[2:])) for name in self.held())
        self.loader.failures = int(fails)
        manager = self.cache.lease(model_id)
        builds = len(self.loader.builds)
        try:
            model = manager.__enter__()
        except WeightsError:
            assert fails
            assert before.get(model_id, "disk") == "disk"
        except OutOfMemory:
            assert before.get(model_id) != "device"
            assert held + bytes_of(width) > self.budget
        else:
            built = len(self.loader.builds) - builds
            assert built == (before.get(model_id, "disk") == "disk")
            self.leases.append((model_id, manager, model))
        self.loader.failures = 0

    @rule(pick=st.randoms())
    def release(self, pick: random.Random) -> None:
        """Give one back, in any order."""
        if self.leases:
            _, manager, _ = self.leases.pop(pick.randrange(len(self.leases)))
            manager.__exit__(None, None, None)

    @rule(width=WIDTHS, pinned=st.booleans())
    def pin(self, width: int, pinned: bool) -> None:
        """Pin a model or let it go."""
        self.cache.pin(f"m/{width}", pinned)
        (self.pins.add if pinned else self.pins.discard)(f"m/{width}")

    @rule(width=WIDTHS)
    def unload(self, width: int) -> None:
        """Drop one, unless it is held."""
        leased = f"m/{width}" in {model_id for model_id, *_ in self.leases}
        assert self.cache.unload(f"m/{width}") != leased
        if not leased:
            self.pins.discard(f"m/{width}")
            assert states(self.cache).get(f"m/{width}", "disk") == "disk"

    @rule()
    def evict(self) -> None:
        """Drop what nobody holds."""
        held = self.held()
        self.cache.evict_idle()
        assert self.cache.stats().used_bytes == sum(bytes_of(int(name[2:])) for name in held)

    @invariant()
    def within_budget_and_leased_are_here(self) -> None:
        """What must hold after every step."""
        if not hasattr(self, "cache"):
            return
        stats = self.cache.stats()
        assert stats.used_bytes <= self.budget
        assert stats.host_used_bytes <= self.host_budget
        by_id = {m.model_id: m for m in stats.models}
        for model_id in {name for name, *_ in self.leases}:
            models = {id(model) for name, _, model in self.leases if name == model_id}
            assert len(models) == 1
            assert by_id[model_id].state == "device"
            assert by_id[model_id].leases == sum(name == model_id for name, *_ in self.leases)

    def teardown(self) -> None:
        """End the loader's thread."""
        if hasattr(self, "cache"):
            for _, manager, _ in self.leases:
                manager.__exit__(None, None, None)
            self.cache.close()


CacheMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestCacheMachine = CacheMachine.TestCase


class Watch:
    """Looks at a cache as often as it can, and notes when it is over budget."""

    def __init__(self, cache: ModelCache, budget: int, host_budget: int) -> None:
        self.cache, self.budget, self.host_budget = cache, budget, host_budget
        self.over: list[object] = []

    def look(self) -> None:
        """Look once."""
        stats = self.cache.stats()
        if stats.used_bytes > self.budget or stats.host_used_bytes > self.host_budget:
            self.over.append(stats)


THREADS = 16
STEPS = st.lists(st.tuples(st.sampled_from(["lease", "lease", "fail", "evict", "pin", "unpin",
                                            "unload", "cancel"]), st.integers(0, 5)),
                 min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(plans=st.lists(STEPS, min_size=THREADS, max_size=THREADS),
       room=st.integers(3, 6), host_room=st.integers(0, 4))
def test_sixteen_threads_in_any_order(plans: list[list[tuple[str, int]]], room: int,
                                      host_room: int) -> None:
    """Never over budget, never a leased model evicted, no double build, no deadlock."""
    size = bytes_of(16)
    loader = CountingLoader()
    cache = ModelCache(loader, budget_bytes=room * size, host_budget_bytes=host_room * size,
                       room_timeout_s=0.2)
    watch = Watch(cache, room * size, host_room * size)
    start = threading.Barrier(THREADS)

    def work(plan: list[tuple[str, int]]) -> int:
        start.wait()
        done = 0
        for action, number in plan:
            model_id = f"{number}/16"
            if action in ("lease", "fail", "cancel"):
                loader.failures += action == "fail"
                try:
                    with cache.lease(model_id, cancelled=lambda a=action: a == "cancel") as model:
                        watch.look()
                        held = {m.model_id: m for m in cache.stats().models}[model_id]
                        assert held.state == "device"
                        assert held.leases > 0
                        assert model(torch.ones(16)).shape == (16,)
                except (WeightsError, OutOfMemory, Cancelled):
                    pass
            elif action == "evict":
                cache.evict_idle()
            elif action == "unload":
                cache.unload(model_id)
            else:
                cache.pin(model_id, action == "pin")
            watch.look()
            done += 1
        return done

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(work, plan) for plan in plans]
        assert [f.result(timeout=60) for f in futures] == [len(plan) for plan in plans]
    assert not watch.over
    assert not loader.overlapped
    assert all(m.leases == 0 and m.state != "loading" for m in cache.stats().models)
    cache.close()

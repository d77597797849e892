"""The cache under anything at once: never over budget, no leased model gone, no double build."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipelines.core.errors import Cancelled, OutOfMemory, WeightsError
from pipelines.models.cache.cache import ModelCache
from tests.cached_layers import CountingLoader, bytes_of, states


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

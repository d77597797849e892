"""Models larger than the device's budget: their weights stay in host memory, pictures the same."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from torch import nn

from easel.settings import Settings
from easel.ui.models.render import render_models
from pipelines.core.errors import OutOfMemory
from pipelines.engine import build_cache
from pipelines.kandinsky import IMAGE_ENCODER, MOVQ, PARTS, PRIOR, TEXT_ENCODER, UNET
from pipelines.models.cache.cache import ModelCache
from pipelines.models.cache.inventory import ModelInventory
from pipelines.models.cache.stats import measured_bytes
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.downloads import Downloads
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.loading import CatalogueLoader, load_model
from pipelines.models.offload import execution_device, offload
from tests.cached_layers import bytes_of, states, use
from tests.kandinsky_folders import DIM, write_kandinsky
from tests.noise import LinearLoader
from tests.published_parts import PartsLoader, result_of
from tests.test_kandinsky import run

LAYERS = 4


class StackLoader(LinearLoader):
    """Loads stacks of equal linear layers."""

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        layers = [super(StackLoader, self).load(model_id, device, dtype) for _ in range(LAYERS)]
        return nn.Sequential(*layers)

    def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
        return LAYERS * super().size_bytes(model_id, dtype)


def stacks(budget: int, host_budget: int | None, **more: bool) -> ModelCache:
    return ModelCache(StackLoader(), "cpu", budget_bytes=budget, host_budget_bytes=host_budget,
                      room_timeout_s=0.0, offloadable=lambda _: more.get("offloadable", True))


def test_a_model_larger_than_the_device_computes_layer_by_layer() -> None:
    cache = stacks(2 * bytes_of(10), LAYERS * bytes_of(10))
    with cache.lease("a/10") as model:
        assert all(parameter.is_meta for parameter in model.parameters())
        assert execution_device(model) == torch.device("cpu")
        kept = [model[i]._hf_hook.weights_map["weight"] for i in range(LAYERS)]
        seen = []
        for i in range(LAYERS):
            model[i].register_forward_hook(lambda *_: seen.append(measured_bytes(model)))
        x = expected = torch.randn(3, 10)
        for weight in kept:
            expected = expected @ weight.t()
        assert torch.allclose(model(x), expected)
        assert len(seen) == LAYERS
        (row,) = cache.stats().models
        assert (row.state, row.size_bytes, row.host_bytes) == (
            "device", bytes_of(10), LAYERS * bytes_of(10))
        assert cache.used_bytes() == bytes_of(10)
        assert cache.stats().host_used_bytes == LAYERS * bytes_of(10)
    assert cache.evict_idle() == bytes_of(10)
    assert states(cache) == {"a/10": "disk"}
    assert cache.stats().host_used_bytes == 0
    assert cache.loading_message("a/10") == "Loading the a/10, 2 kB, took 0.0 s last time."


@pytest.mark.parametrize(("budget", "host_budget", "offloadable"), [
    (2 * bytes_of(500), LAYERS * bytes_of(500) - 1, True),  # the host has no room
    (2 * bytes_of(500), 0, True),
    (bytes_of(500) - 1, None, True),  # the device has none for a layer
    (2 * bytes_of(500), None, False)])
def test_what_fits_neither_memory_is_a_sentence(budget: int, host_budget: int | None,
                                                offloadable: bool) -> None:
    cache = stacks(budget, host_budget, offloadable=offloadable)
    with pytest.raises(OutOfMemory, match=r"^The model a/500 needs .* MB, and the budget of"):
        use(cache, "a/500")
    stats = cache.stats()
    assert (stats.used_bytes, stats.host_used_bytes) == (0, 0)
    use(cache, "small/100")
    assert cache.stats().models[-1].host_bytes == 0, "what fits is not offloaded"


def test_host_room_is_made_by_those_that_idle_there() -> None:
    cache = stacks(LAYERS * bytes_of(10), LAYERS * bytes_of(12))
    use(cache, "a/10", "b/10")
    assert states(cache) == {"a/10": "host", "b/10": "device"}
    use(cache, "large/12")
    assert states(cache) == {"a/10": "disk", "b/10": "disk", "large/12": "device"}
    use(cache, "other/12")
    assert states(cache)["large/12"] == "disk", "idle, and the host has room for one"
    with cache.lease("other/12"), pytest.raises(OutOfMemory):
        use(cache, "large/12")


def test_one_that_was_whole_is_offloaded_where_others_hold_the_device() -> None:
    cache = stacks(LAYERS * bytes_of(10), None)
    with cache.lease("a/10") as whole:
        weight = whole[0].weight.clone()
    with cache.lease("b/8"):
        assert states(cache)["a/10"] == "host"
        with cache.lease("a/10") as model:
            assert torch.allclose(model[0](torch.eye(10)), weight.t())
            assert cache.stats().models[0].host_bytes == LAYERS * bytes_of(10)
    cache.evict_idle()
    with cache.lease("a/10") as model:
        assert not model[0].weight.is_meta, "whole again where there is room"


class OffloadMachine(RuleBasedStateMachine):
    """Random leases, releases, pins and evictions of models that fit, or fit only in part."""

    WIDTHS = st.sampled_from([8, 12, 16, 20])

    @initialize(layers=st.integers(1, 6), host_layers=st.integers(0, 8))
    def start(self, layers: int, host_layers: int) -> None:
        """An empty cache."""
        self.budget, self.host_budget = layers * bytes_of(20), host_layers * bytes_of(20)
        self.cache = stacks(self.budget, self.host_budget)
        self.leases = []

    @rule(width=WIDTHS)
    def lease(self, width: int) -> None:
        """Take a lease and compute, or be told why not."""
        manager = self.cache.lease(f"m/{width}")
        try:
            model = manager.__enter__()
        except OutOfMemory:
            return
        assert model(torch.ones(width)).shape == (width,)
        self.leases.append((manager, model, width))

    @rule(pick=st.randoms())
    def release(self, pick: random.Random) -> None:
        """Give one back, in any order, after it has computed once more."""
        if self.leases:
            manager, model, width = self.leases.pop(pick.randrange(len(self.leases)))
            assert model(torch.ones(width)).shape == (width,)
            manager.__exit__(None, None, None)

    @rule(width=WIDTHS, pinned=st.booleans())
    def pin(self, width: int, pinned: bool) -> None:
        """Pin a model or let it go."""
        self.cache.pin(f"m/{width}", pinned)

    @rule()
    def evict(self) -> None:
        """Drop what nobody holds."""
        self.cache.evict_idle()

    @invariant()
    def within_both_budgets(self) -> None:
        """What must hold after every step."""
        if hasattr(self, "cache"):
            stats = self.cache.stats()
            assert stats.used_bytes <= self.budget
            assert stats.host_used_bytes <= self.host_budget
            leased = {f"m/{width}" for *_, width in self.leases}
            assert all(m.state == "device" for m in stats.models if m.model_id in leased)

    def teardown(self) -> None:
        """End the loader's thread."""
        if hasattr(self, "cache"):
            for manager, *_ in self.leases:
                manager.__exit__(None, None, None)
            self.cache.close()


OffloadMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestOffloadMachine = OffloadMachine.TestCase


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """A tiny Kandinsky, on disk as a download leaves it."""
    folder = tmp_path_factory.mktemp("kandinsky")
    shipped = Catalogue.load()
    tiny = (shipped.get(part).model_copy(update={"network": None}) for part in PARTS)
    catalogue = Catalogue(tuple(tiny), models_dir=folder / "models")
    for source in write_kandinsky(folder):
        for entry in catalogue:
            for file in entry.files:
                target = catalogue.folder(entry) / file.name
                if entry.repository and entry.repository.endswith(source.name) \
                        and (source / file.name).exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes((source / file.name).read_bytes())
    return catalogue


class SizedLoader(PartsLoader):
    """Knows how large Kandinsky's parts are, as the catalogue's loader does."""

    def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
        return self.own.size_bytes(model_id, dtype) if model_id in PARTS else 0


def test_kandinsky_draws_the_same_with_its_largest_part_offloaded(catalogue: Catalogue) -> None:
    loader = SizedLoader(catalogue)
    large = loader.size_bytes(UNET, torch.float32)
    plain = ModelCache(PartsLoader(catalogue), "cpu")
    (expected,) = result_of(list(run(plain, num_images=1))).candidates
    cache = ModelCache(loader, "cpu", budget_bytes=large - 1, host_budget_bytes=None,
                       offloadable=loader.own.offloadable, room_timeout_s=0.1)
    events, offloaded = [], set()
    inventory = ModelInventory(cache, catalogue, Downloads(catalogue))
    for event in run(cache, num_images=1):
        events.append(event)
        assert cache.used_bytes() <= large - 1
        found = {row.id for row in inventory.rows() if row.offloaded}
        assert ("weights in host memory" in render_models(inventory)) == bool(found)
        offloaded |= found
    (candidate,) = result_of(events).candidates
    assert UNET in offloaded
    assert RANKER not in offloaded
    assert (candidate.image == expected.image).all()
    cache.close()


def test_parts_are_read_outside_their_forward_as_well(catalogue: Catalogue) -> None:
    """What the pipeline calls of the parts whose own loops are not run above."""
    def answers(offloaded: bool) -> list[torch.Tensor]:
        def part(model_id: str) -> Any:
            model = load_model(catalogue, catalogue.get(model_id))
            if offloaded:
                taken = offload(model, torch.device("cpu"))
                assert 0 < taken.device_bytes < taken.host_bytes
                assert all(parameter.is_meta for parameter in model.parameters())
            assert model.device == torch.device("cpu")
            return model

        latents = torch.linspace(-1, 1, 2 * DIM).view(2, DIM)
        return [*part(TEXT_ENCODER).encode("a red apple", 2, True),
                part(IMAGE_ENCODER).encode(None), part(PRIOR).finish(latents),
                part(MOVQ).decode(latents.view(1, 4, 4, 4))]

    with torch.no_grad():
        for found, expected in zip(answers(True), answers(False), strict=True):
            assert torch.equal(found, expected)
            assert found.float().abs().max() > 0


def test_a_real_cache_offloads_what_its_loader_says(tmp_path: Path) -> None:
    cache = build_cache(Settings(data_dir=tmp_path, device="cpu"))
    assert isinstance(cache.loader, CatalogueLoader)
    assert cache._offloadable == cache.loader.offloadable
    assert cache.loader.offloadable(UNET)
    assert not cache.loader.offloadable("embedded/vqgan")


@pytest.mark.gpu
def test_an_accelerator_holds_one_layer_at_a_time() -> None:
    width, device = 4096, torch.device("cuda")
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    cache = ModelCache(StackLoader(), device, budget_bytes=2 * bytes_of(width),
                       host_budget_bytes=None, offloadable=lambda _: True)
    with cache.lease(f"a/{width}") as model, torch.no_grad():
        assert model(torch.ones(1, width)).device.type == "cpu", "back where the input was"
    assert torch.cuda.max_memory_allocated(device) - before <= 2 * bytes_of(width) + 2**26

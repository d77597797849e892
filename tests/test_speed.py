"""``speed``: rates, bounds, and what is read off a run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import nn

from benchmarks.roofline import counted_flops, machine, parameter_bytes, peak_memory_bytes
from benchmarks.speed import quiet_options, rounded, timed_run, transformer_bytes
from pipelines.core.events import Candidate, Event, Preview, Progress, Result
from pipelines.core.options import Options
from pipelines.core.request import CheckedRequest
from pipelines.models.cache.cache import ModelCache
from pipelines.models.dalle import ImageTransformer, TransformerConfig
from pipelines.models.machine_rates import Rates, best_seconds, measure_rates
from pipelines.pipeline import Lesson, Pipeline, RunContext
from pipelines.registry import Registry

SIDE = 64
STEP_S = 0.01


class Products(Pipeline):
    """One matrix product a step, after a first one that takes longer."""

    name, title, summary, models = "products", "Products", "Multiplies.", ()
    lesson = Lesson("How products are drawn", "They are not.", "A test")

    class Options(Options):
        steps: int = Field(5, ge=1, le=100, description="Products.")
        preview_every: int = Field(1, ge=1, le=64, description="Steps between previews.")

    def run(self, request: CheckedRequest[Any], context: RunContext) -> Iterator[Event]:
        matrix = torch.ones(SIDE, SIDE)
        picture = np.zeros((8, 8, 3), np.uint8)
        yield Progress(message="Getting ready.")
        time.sleep(10 * STEP_S)
        for step in range(1, request.options.steps + 1):
            _ = matrix @ matrix
            time.sleep(STEP_S)
            yield Progress(step, request.options.steps)
            if step % request.options.preview_every == 0:
                yield Preview(step, picture[None], (0,))
        yield Result((Candidate(picture, 0, 0),), 1.0)


class NoModels:
    """A loader without models."""

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        raise KeyError(model_id)

    def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
        return 0

    def title(self, model_id: str) -> str:
        return model_id

    def fingerprint(self, model_id: str) -> str | None:
        return None


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.register(Products())
    return registry


@pytest.fixture
def cache() -> Iterator[ModelCache]:
    cache = ModelCache(NoModels())
    yield cache
    cache.close()


def test_steps_are_timed_without_what_comes_before(registry: Registry, cache: ModelCache) -> None:
    run = timed_run(registry.get("products"), {"prompt": "x", "num_images": 1}, cache, registry)
    assert run.steps == 5
    assert STEP_S <= run.step_s < 5 * STEP_S
    assert run.total_s > 15 * STEP_S
    assert run.first_preview_s is not None
    assert 11 * STEP_S <= run.first_preview_s < run.total_s
    assert run.step_flops == 0


def test_operations_of_a_step_are_counted(registry: Registry, cache: ModelCache) -> None:
    run = timed_run(registry.get("products"), {"prompt": "x", "num_images": 1}, cache, registry,
                    count_flops=True)
    assert run.step_flops == 2 * SIDE**3


def test_a_run_of_one_step_has_no_speed(registry: Registry, cache: ModelCache) -> None:
    fields = {"prompt": "x", "num_images": 1, "options": {"steps": 1}}
    with pytest.raises(RuntimeError, match="fewer than two steps"):
        timed_run(registry.get("products"), fields, cache, registry)


def test_previews_are_made_rare_for_timing(registry: Registry, cache: ModelCache) -> None:
    quiet = quiet_options(registry.get("products"))
    assert quiet == {"preview_every": 64}
    fields = {"prompt": "x", "num_images": 1, "options": quiet}
    assert timed_run(registry.get("products"), fields, cache, registry).first_preview_s is None


def test_the_bound_is_the_slower_of_computing_and_reading() -> None:
    rates = Rates({"float32": 1e9, "bfloat16": 2e9}, 1e8)
    assert rates.bound_s(4e9, 0) == 2.0
    assert rates.bound_s(4e9, 5e8) == 5.0


def test_rates_are_within_what_any_machine_does() -> None:
    rates = measure_rates(torch.device("cpu"), rounds=1)
    assert 1e8 < rates.matrix_flops["float32"] < 1e15
    assert 1e8 < rates.copy_bytes < 1e14
    assert machine(torch.device("cpu"))["threads"] == torch.get_num_threads()


def test_the_shortest_round_counts_and_the_first_does_not() -> None:
    pauses = iter((0.0, 0.05, 0.02, 0.03))
    assert 0.02 <= best_seconds(lambda: time.sleep(next(pauses)), rounds=3) < 0.03


def test_operations_and_bytes_of_a_module() -> None:
    layer = nn.Linear(10, 20, bias=False)
    assert counted_flops(lambda: layer(torch.zeros(3, 10))) == 2 * 3 * 10 * 20
    assert parameter_bytes(layer, layer) == 2 * 800
    assert parameter_bytes(layer.bfloat16()) == 400


def test_a_step_of_the_transformer_reads_its_weights_and_its_cache() -> None:
    config = TransformerConfig(text_vocab_size=16, codebook_size=8, digits=1, grid=8, layers=6,
                               plan_length=22, plan_vocab_size=96, dim=32, depth=2, heads=2,
                               code_dim=8, head_dim=24)
    model = ImageTransformer(config)
    cache = model.new_cache(6, "cpu", torch.float32)
    weights = parameter_bytes(model)
    model.vqgan = nn.Linear(100, 100)  # which no step reads
    read = transformer_bytes(model, 6) - weights
    whole = (cache.keys.numel() + cache.values.numel()) * 4
    assert 0.4 * whole < read < 0.5 * whole, "there is room for five things with drafts"


def test_memory_of_this_and_of_another_process() -> None:
    mine = peak_memory_bytes()
    assert mine is not None
    assert mine > 50e6
    if Path("/proc/self/status").exists():
        other = peak_memory_bytes(os.getpid())
        assert other == pytest.approx(mine, rel=0.2)
        process = Popen([sys.executable, "-c", "pass"])
        process.wait()
        assert peak_memory_bytes(process.pid) is None


def test_figures_are_rounded_to_what_they_are_worth() -> None:
    assert rounded({"a": {"b": 1234.5678}, "c": 3, "d": None}) == {
        "a": {"b": 1235.0}, "c": 3, "d": None}

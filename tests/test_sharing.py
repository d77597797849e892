"""Pipelines share models, and in which order these are loaded changes no picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.core.events import Result
from pipelines.dalle import DallePipeline
from pipelines.models.cache.cache import ModelCache
from pipelines.pipeline import Pipeline, RunContext
from pipelines.registry import Registry
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.small_models import SmallLoader

QUICK = {"iterations": 2, "num_cutouts": 2}
MODELS = ("embedded/dalle", "embedded/vqgan", "embedded/clip-guide", "embedded/clip-ranker",
          "embedded/upscaler")


class CountingLoader(SmallLoader):
    """Notes what it builds."""

    def __init__(self) -> None:
        super().__init__()
        self.built: list[str] = []

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        self.built.append(model_id)
        return super().load(model_id, device, dtype)


def draw(pipeline: Pipeline, cache: ModelCache, **options: Any) -> list[np.ndarray]:
    registry = Registry()
    registry.register(pipeline)
    request = registry.check({"pipeline": pipeline.name, "prompt": "a red apple", "seed": 5,
                        "num_images": 2, "options": options})
    result = list(pipeline.run(request, RunContext(cache, torch.device("cpu"))))[-1]
    assert isinstance(result, Result)
    return [candidate.image for candidate in result.candidates]


def test_two_generators_share_the_ranker() -> None:
    loader = CountingLoader()
    cache = ModelCache(loader, "cpu")
    draw(DallePipeline(), cache)
    draw(VQGANCLIPPipeline(), cache, **QUICK)
    assert sorted(loader.built) == sorted(MODELS)


def test_a_guide_that_is_the_ranker_too_is_one_copy() -> None:
    loader = CountingLoader()
    cache = ModelCache(loader, "cpu")
    draw(VQGANCLIPPipeline(), cache, **QUICK, guide="embedded/clip-ranker",
         ranker="embedded/clip-ranker")
    assert loader.built.count("embedded/clip-ranker") == 1
    assert "embedded/clip-guide" not in loader.built


@pytest.mark.parametrize("order", [MODELS, MODELS[::-1]])
def test_the_order_of_loads_changes_no_picture(order: tuple[str, ...]) -> None:
    """Nor do the random numbers that others draw, models that come and go, and other runs."""
    expected = draw(VQGANCLIPPipeline(), ModelCache(SmallLoader(), "cpu"), **QUICK), \
        draw(DallePipeline(), ModelCache(SmallLoader(), "cpu"))
    cache = ModelCache(SmallLoader(), "cpu")
    with torch.random.fork_rng(devices=[]):
        for model_id in order:
            torch.manual_seed(len(order))
            torch.rand(len(model_id))
            with cache.lease(model_id):
                pass
        found = draw(VQGANCLIPPipeline(), cache, **QUICK), draw(DallePipeline(), cache)
        cache.evict_idle()
        again = draw(VQGANCLIPPipeline(), cache, **QUICK), draw(DallePipeline(), cache)
    for pictures in (found, again):
        for one, other in zip(pictures, expected, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

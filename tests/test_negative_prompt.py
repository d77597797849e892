"""Negative prompts: of an effect wherever something is guided, refused where nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.core.errors import InvalidRequest
from pipelines.core.events import Result
from pipelines.dalle import DallePipeline
from pipelines.models.cache.cache import ModelCache
from pipelines.pipeline import RunContext
from pipelines.registry import Registry, build_registry
from pipelines.unclip.pipeline import UnclipPipeline
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.small_models import small_cache

FEW: dict[str, dict[str, Any]] = {
    "dalle": {"guidance_scale": 3.0, "temperature": 1.0},
    "unclip": {"decoder_steps": 2, "prior_steps": 2},
    "vqgan_clip": {"iterations": 3, "step_size": 1.0}}


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


@pytest.fixture(scope="module")
def registry() -> Registry:
    built = Registry()
    for pipeline in (DallePipeline(), UnclipPipeline(), VQGANCLIPPipeline()):
        built.register(pipeline)
    return built


def drawn(registry: Registry, cache: ModelCache, name: str, **options: Any) -> np.ndarray:
    request = registry.check({"pipeline": name, "prompt": "a red apple", "seed": 5,
                              "num_images": 1, "options": {**FEW[name], **options}})
    *_, last = registry.get(name).run(request, RunContext(cache, torch.device("cpu")))
    assert isinstance(last, Result)
    return last.candidates[0].image.astype(int)


@pytest.mark.parametrize("name", FEW)
def test_it_changes_the_picture_and_an_empty_one_does_not(registry: Registry, cache: ModelCache,
                                                          name: str) -> None:
    plain = drawn(registry, cache, name)
    assert np.array_equal(plain, drawn(registry, cache, name, negative_prompt=""))
    assert not np.array_equal(plain, drawn(registry, cache, name, negative_prompt="a green worm"))


@pytest.mark.parametrize(("name", "option"), [
    ("dalle", "guidance_scale"), ("unclip", "decoder_guidance_scale")])
def test_without_guidance_it_is_refused(registry: Registry, name: str, option: str) -> None:
    fields = {"pipeline": name, "prompt": "a red apple"}
    with pytest.raises(InvalidRequest, match=r"^A negative prompt needs a guidance above 1\.$",
                       ) as caught:
        registry.check({**fields, "options": {option: 1, "negative_prompt": "a worm"}})
    assert caught.value.field == "negative_prompt"
    registry.check({**fields, "options": {option: 1, "negative_prompt": " "}})


def test_a_malformed_one_is_refused(registry: Registry) -> None:
    with pytest.raises(InvalidRequest, match="A part of the prompt has no text"):
        registry.check({"pipeline": "vqgan_clip", "prompt": "a red apple",
                        "options": {"negative_prompt": "a worm |"}})


def test_every_guided_generator_takes_one() -> None:
    registry = build_registry()
    takers = {pipeline.name for pipeline in (*registry, *registry.waiting())
              if "negative_prompt" in pipeline.Options.model_fields}
    assert takers == {"dalle", "vqgan_clip", "unclip", "min_dalle", "kandinsky"}, \
        "all but Janus, whose rows without a caption are as long as those with it"

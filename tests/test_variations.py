"""Figures of unCLIP: what variations keep, how much pictures differ, the loop beside diffusers'."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.judge.model import Detection, Verdict
from benchmarks.report import variations_table
from benchmarks.tasks import scene_of, task_prompts
from benchmarks.unclip_speed import GUIDANCE, STEPS, plain_loop, unclip_speed
from benchmarks.variations import diversity, pairwise_distance, variations
from easel.serving.backend import LocalBackend
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.machine_rates import Rates
from pipelines.registry import Registry
from pipelines.unclip.pipeline import DECODER, UnclipPipeline
from pipelines.unclip.steps import Noise, sample_decoder
from pipelines.world.concepts import concepts_by_id
from tests.small_models import small_cache

CONCEPTS = concepts_by_id()
SINGLE = task_prompts(CONCEPTS)["single_object"][:2]
RENDER_PX = 48


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


@pytest.fixture(scope="module")
def backend(cache: ModelCache) -> Iterator[LocalBackend]:
    registry = Registry()
    registry.register(UnclipPipeline())
    built = LocalBackend(registry, cache)
    yield built
    built.close()


@pytest.mark.parametrize(("sees", "kept", "pictures"), [
    ({RENDER_PX, 64}, 1.0, 2), ({RENDER_PX}, 0.0, 2), ({64}, 0.0, 0)])
def test_only_pictures_that_the_judge_reads_count(backend: LocalBackend, sees: set[int],
                                                  kept: float, pictures: int) -> None:
    """A judge that sees the object in pictures of these sizes; variations have 64 px."""
    turn = iter(SINGLE)
    current = [SINGLE[0]]

    def render(scenes: object) -> Tensor:
        current[0] = next(turn)
        assert scenes == [scene_of(current[0])]
        return torch.rand(1, 3, RENDER_PX, RENDER_PX)

    def judge(images: Tensor) -> list[Verdict]:
        assert images.dtype == torch.uint8
        if images.shape[1] not in sees:
            return [Verdict((), "white", "fluent")]
        wanted = current[0].wanted[0]
        found = Detection(wanted.concept, 0.95, 0.9, "native", (0.2, 0.2, 0.7, 0.7))
        return [Verdict((found,), "white", "fluent")]

    figures = variations("unclip", backend, SINGLE, render, judge, CONCEPTS)
    assert figures == {"kept": kept, "pictures": pictures}


def test_distance_of_features() -> None:
    assert pairwise_distance(torch.eye(3)) == pytest.approx(1.0)
    assert pairwise_distance(torch.ones(3, 1)) == pytest.approx(0.0)


def test_diversity_counts_prompts_with_two_pictures(cache: ModelCache) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    same = np.repeat(noise[:1], 2, axis=0)
    with cache.lease(RANKER) as clip:
        assert diversity([noise[:1]], clip) is None
        assert diversity([same, noise[:1]], clip) == pytest.approx(0.0, abs=1e-5)
        assert cast(float, diversity([noise], clip)) > 1e-4


def test_the_plain_loop_draws_the_same(cache: ModelCache) -> None:
    with cache.lease(DECODER) as decoder, torch.no_grad():
        noise = Noise.of((1, 2), 32, decoder.latent_shape, torch.device("cpu"))
        ours = list(sample_decoder(decoder, ["a cat"] * 2, noise.prior, noise.decoder, STEPS,
                                   GUIDANCE))[-1]
        assert torch.allclose(ours, plain_loop(decoder, "a cat", noise.prior, noise.decoder),
                              atol=1e-4)


def test_speed_says_how_both_loops_compare(cache: ModelCache) -> None:
    figures = unclip_speed(cache, Rates({"float32": 1e11}, 1e10), four_s=2.0, flops=1e10)
    assert figures["s_per_picture"] == 0.5
    assert figures["fraction_of_bound"] == pytest.approx(0.05, rel=0.2)
    assert figures["largest_difference"] < 1e-3
    assert min(figures["ms_per_step"], figures["diffusers_ms_per_step"]) > 0


def test_the_table_has_what_was_measured() -> None:
    table = variations_table({"controls": {}, "dalle": {"diversity": 0.25}, "unclip": {
        "diversity": 0.5, "variations": {"kept": 0.8, "pictures": 50}}})
    assert "| dalle | 0.25 | – |" in table
    assert "| unclip | 0.50 | 0.80 of 50 |" in table
    assert variations_table({"vqgan_clip": {}}) == ""

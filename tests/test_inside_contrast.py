"""Pairs against each other, as CLIP was trained: softmaxes and loss by hand and by torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.images import load_image
from pipelines.core.settings import EngineSettings
from pipelines.engine import build_cache
from pipelines.inside.contrast import ContrastPairs, contrast_of
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.rerank import similarities
from tests.conftest import REPOSITORY
from tests.small_models import small_cache

TEXTS = ["a red apple", "four cats", "a blue car"]


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def pictures(count: int = 3) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8))


def test_the_loss_is_cross_entropy_both_ways(cache: ModelCache) -> None:
    found = ContrastPairs(pictures(), TEXTS).answer(cache)
    with cache.lease(RANKER) as clip:
        cosines = similarities(pictures(), TEXTS, clip).t()
        scale = clip.logit_scale
    np.testing.assert_allclose(found.similarities, cosines, atol=1e-6)
    assert found.temperature == found.trained == pytest.approx(1 / scale)
    logits, own = cosines.double() * scale, torch.arange(3)
    assert found.loss_of_texts == pytest.approx(float(F.cross_entropy(logits, own)), rel=1e-5)
    assert found.loss_of_pictures == pytest.approx(float(F.cross_entropy(logits.t(), own)),
                                                   rel=1e-5)
    assert found.loss == pytest.approx((found.loss_of_texts + found.loss_of_pictures) / 2)
    np.testing.assert_allclose(found.over_pictures.sum(1), 1)
    np.testing.assert_allclose(found.over_texts.sum(0), 1)


def test_the_temperature_makes_it_sure_or_unsure() -> None:
    cosines = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    cold, warm = (contrast_of(cosines, t, 0.07) for t in (0.005, 1.0))
    assert cold.loss < 1e-6 < warm.loss < np.log(2)
    wrong = contrast_of(cosines[::-1], 0.005, 0.07)
    assert wrong.loss > 100
    assert np.isfinite(wrong.loss)
    assert (cold.right, wrong.right) == ((2, 2), (0, 0))


@pytest.mark.parametrize(("count", "texts", "temperature", "says"), [
    (3, TEXTS[:2], None, "Every picture needs its own text, one a line; pictures: 3, texts: 2."),
    (1, TEXTS[:1], None, "There must be 2 to 12 pairs, not 1."),
    (13, ["a cat"] * 13, None, "There must be 2 to 12 pairs, not 13."),
    (2, ["a cat", " "], None, "The prompt is empty"),
    (3, TEXTS, 0.001, "The temperature must be from 0.005 to 1.0."),
    (3, TEXTS, "warm", "The temperature must be"), (3, TEXTS, True, "The temperature must be"),
    (3, TEXTS, float("nan"), "The temperature must be from 0.005 to 1.0.")])
def test_what_are_no_pairs_is_refused(count: int, texts: list[str], temperature: Any,
                                      says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        ContrastPairs(pictures(count), texts, temperature)


def test_stop_is_heard(cache: ModelCache) -> None:
    with pytest.raises(Cancelled):
        ContrastPairs(pictures(), TEXTS).answer(cache, lambda: True)


@pytest.mark.weights("clip-ranker")
def test_the_ranker_finds_the_pairs_of_the_samples() -> None:
    cache = build_cache(EngineSettings(device="cpu"))
    files = sorted((REPOSITORY / "assets" / "samples").glob("*.png"))
    texts = [file.stem[2:].replace("-", " ") for file in files]
    found = ContrastPairs([load_image(file.read_bytes()) for file in files], texts).answer(cache)
    assert found.right == (4, 4)
    assert found.loss < np.log(4) / 4
    cache.close()

"""unCLIP's prior and guidance, looked into: each figure against the pipeline and the models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.events import Result
from pipelines.inside.prior import OTHERS, Plane, WatchPrior, others
from pipelines.models.cache.cache import ModelCache
from pipelines.models.clip_features import image_features, text_features
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from pipelines.unclip.pipeline import CLIP, UnclipPipeline
from tests.small_models import small_cache


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def drawn(cache: ModelCache, prior: bool) -> np.ndarray:
    """What unCLIP draws, at half its size, as the upscaler is not asked here."""
    registry = Registry()
    registry.register(UnclipPipeline())
    request = registry.check({"pipeline": "unclip", "prompt": "a red apple", "seed": 3,
                              "num_images": 1, "options": {"prior": prior}})
    *_, result = registry.get("unclip").run(request, RunContext(cache, torch.device("cpu")))
    assert isinstance(result, Result)
    image = result.candidates[0].image
    return image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2, 3).mean((1, 3))


def test_the_pictures_are_those_that_are_drawn(cache: ModelCache) -> None:
    found = WatchPrior("a red apple", seed=3).answer(cache)
    for way, prior in ((found.with_prior, True), (found.without_prior, False)):
        near = np.abs(way.picture - drawn(cache, prior)).mean()
        other = np.abs(way.picture - drawn(cache, not prior)).mean()
        assert near < other
    assert len(found.predictions) == len(found.steps) == 8
    assert np.array_equal(found.predictions[-1].guided, found.with_prior.picture)


def test_cosines_are_those_of_the_clip(cache: ModelCache) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    found = WatchPrior("a red apple", image=image).answer(cache)
    assert found.caption.cosine == pytest.approx(1, abs=1e-5)
    assert found.without_prior.embedding.at == pytest.approx(found.caption.at, abs=1e-5)
    with cache.lease(CLIP) as clip:
        own = text_features(clip, ["a red apple"])
        for placed, picture in ((found.with_prior.seen, found.with_prior.picture),
                                (found.without_prior.seen, found.without_prior.picture),
                                (found.chosen, image)):
            assert placed is not None
            assert placed.cosine == pytest.approx(
                float((image_features(clip, [picture]) * own).sum()), abs=1e-5)
    assert found.with_prior.embedding.at == found.steps[-1].at
    assert WatchPrior("a red apple").answer(cache).chosen is None


def test_predictions_differ_where_it_is_said(cache: ModelCache) -> None:
    for each in WatchPrior("a red apple").answer(cache).predictions:
        apart = np.abs(each.told.astype(float) - each.untold).mean(-1)
        assert np.allclose(each.difference * max(apart.max(), 1), apart, atol=1e-3)
    strong = WatchPrior("a red apple", guidance_scale=12.0).answer(cache).predictions[0]
    mild = WatchPrior("a red apple", guidance_scale=1.5).answer(cache).predictions[0]
    assert np.array_equal(strong.told, mild.told), "the first step begins with the same noise"
    assert not np.array_equal(strong.guided, mild.guided)


def test_the_plane_is_the_one_in_which_most_differs() -> None:
    generator = torch.Generator().manual_seed(0)
    around = torch.randn(30, 6, generator=generator) * torch.tensor([9.0, 5.0, 1, 1, 1, 1])
    plane = Plane(around, around[:1])
    places = torch.tensor([plane.place("", row[None]).at for row in around])
    kept = float(places.var(0, unbiased=False).sum()
                 / around.var(0, unbiased=False).sum())
    assert plane.explained == pytest.approx(kept, abs=1e-4)
    assert plane.explained > 0.9
    assert torch.allclose(places.mean(0), torch.zeros(2), atol=1e-4)
    turned = Plane(around.flip(0), around[:1])
    assert turned.place("", around[3:4]).at == pytest.approx(plane.place("", around[3:4]).at,
                                                             abs=1e-3)


def test_captions_around_are_always_the_same_and_differ() -> None:
    assert others(OTHERS) == others(OTHERS)
    assert len(set(others(OTHERS))) > OTHERS * 0.9


@pytest.mark.parametrize(("fields", "says"), [
    ({"prompt": " "}, "The prompt is empty"),
    ({"seed": -1}, "Seed must be"),
    ({"guidance_scale": 1}, "At a guidance of 1 there is one prediction"),
    ({"guidance_scale": 0.5}, "Guidance must be a number between 1 and 20, not 0.5."),
    ({"guidance_scale": "much"}, "Guidance must be a number"),
    ({"guidance_scale": float("nan")}, "Guidance must be a number"),
])
def test_what_cannot_be_asked_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        WatchPrior(**{"prompt": "a cat", **fields})


def test_it_can_be_stopped(cache: ModelCache) -> None:
    for asked in (0, 1, 5, 12, 20):
        polls = iter([False] * asked)
        with pytest.raises(Cancelled):
            WatchPrior("a cat").answer(cache, lambda polls=polls: next(polls, True))

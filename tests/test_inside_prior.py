"""unCLIP's prior and guidance, looked into: each figure against the pipeline and the models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.events import Result
from pipelines.core.settings import EngineSettings
from pipelines.engine import build_cache
from pipelines.inside import landmarks
from pipelines.inside.prior import Plane, WatchPrior, embedded_landmarks
from pipelines.inside.replay import replayed_pairs
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.clip_features import image_features, text_features
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from pipelines.rerank import similarities
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
    ways = (found.with_prior, found.without_prior)
    with cache.lease(RANKER) as ranker:
        judged = similarities([way.picture for way in ways], ["a red apple"], ranker)[:, 0]
    assert [way.ranker_cosine for way in ways] == pytest.approx(judged.tolist(), abs=1e-5)


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


def test_captions_around_are_the_sampler_s_first_and_differ() -> None:
    captions = landmarks.captions()
    assert len(captions) == 48
    assert len(set(captions)) > 43
    landmarks.captions.cache_clear()
    assert landmarks.captions() == captions


def test_pictures_around_are_rendered_and_drawn_and_lie_where_the_clip_sees_them(
        cache: ModelCache) -> None:
    found = WatchPrior("a red apple").answer(cache)
    assert len(found.rendered) == len(found.drawn) == 12
    assert [each.text for each in found.rendered] == list(replayed_pairs().texts)
    assert "a black cat at the beach" in [each.text for each in found.drawn]
    with cache.lease(CLIP) as clip:
        own = text_features(clip, ["a red apple"])
        around = embedded_landmarks(clip, lambda: None)
        plane = Plane(torch.cat([rows for _, rows in around]), own)
        for placed, kind in ((found.rendered, landmarks.rendered()),
                             (found.drawn, landmarks.drawn())):
            for point, each in zip(placed, kind, strict=True):
                row = image_features(clip, [each.image])
                assert point.cosine == pytest.approx(float((row * own).sum()), abs=1e-5)
                assert point.at == pytest.approx(plane.place("", row).at, abs=1e-4)
        for mean, (texts, rows) in zip(found.own_cosines, around[1:], strict=True):
            each = [float(text_features(clip, [text])[0] @ row)
                    for text, row in zip(texts, rows, strict=True)]
            assert mean == pytest.approx(np.mean(each), abs=1e-5)
    assert found.explained == pytest.approx(plane.explained, abs=1e-5)


@pytest.mark.weights("clip-guide")
def test_pictures_lie_nearer_to_their_captions_than_to_those_of_others() -> None:
    """By far where a generator drew them for it; renders of scenes as they come, hardly."""
    models = build_cache(EngineSettings(device="cpu"))
    try:
        with models.lease(CLIP) as clip:
            for kind, least in ((landmarks.rendered(), 0.01), (landmarks.drawn(), 0.2)):
                rows = image_features(clip, [each.image for each in kind])
                cosines = text_features(clip, [each.text for each in kind]) @ rows.T
                assert float(cosines.diagonal().mean() - cosines.mean()) > least
    finally:
        models.close()


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

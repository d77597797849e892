"""VQGAN+CLIP's loop, looked into: each figure against the run itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.events import Progress, Result
from pipelines.inside.loop import KEPT, MAX_STEPS, WatchLoop, pictured, shown_steps
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.clip_features import text_features
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from pipelines.rerank import similarities
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.small_models import small_cache


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def test_looking_changes_nothing(cache: ModelCache) -> None:
    """The losses are those that the generator's own run has, though each step was looked into."""
    question = WatchLoop("a red apple", seed=3, steps=12, cutouts=4)
    found = question.answer(cache)
    registry = Registry()
    registry.register(VQGANCLIPPipeline())
    events = list(registry.get("vqgan_clip").run(
        question.request, RunContext(cache, torch.device("cpu"))))
    losses = [e.losses["loss"] for e in events if isinstance(e, Progress) and e.losses]
    assert list(found.losses) == pytest.approx(losses, abs=1e-6)
    assert isinstance(events[-1], Result)
    assert len(found.losses) == 12


def test_steps_have_what_the_guide_saw(cache: ModelCache) -> None:
    found = WatchLoop("a red apple:2 | a worm:-0.5", steps=16, cutouts=3).answer(cache)
    assert found.texts == (("a red apple", 2.0), ("a worm", -0.5))
    assert [step.step for step in found.steps] == list(shown_steps(16))
    first = found.steps[0]
    side = first.picture.shape[0]
    assert first.cutouts.shape == (3, 32, 32, 3)
    assert not first.changed.any()
    assert any(step.changed.any() for step in found.steps[1:])
    assert first.changed.shape == (side // 4, side // 4)
    assert first.pull.shape == (side, side)
    assert first.pull.max() == 1
    assert first.wanted.shape == first.picture.shape
    for step in found.steps:
        asked = 2 * step.distances[0] - 0.5 * step.distances[1]
        assert asked == pytest.approx(found.losses[step.step - 1], abs=2e-3)


def test_the_first_cutout_is_the_whole_picture(cache: ModelCache) -> None:
    step = WatchLoop("a red apple", steps=8).answer(cache).steps[-1]
    with cache.lease("embedded/clip-guide") as guide, torch.no_grad():
        pixels = torch.from_numpy(step.cutouts[0]).permute(2, 0, 1)[None] / 255
        features = F.normalize(guide.encode_image(pixels).float(), dim=-1)
        cosine = float((features @ text_features(guide, ["a red apple"]).T).squeeze())
    assert step.distances[0] == pytest.approx(np.arccos(cosine) ** 2 / 2, abs=5e-3)
    scale = step.picture.shape[0] // 32
    small = step.picture.reshape(32, scale, 32, scale, 3).mean((1, 3))
    assert np.abs(step.cutouts[0] - small).mean() < 8


def test_the_ranker_judges_what_the_guide_was_shown(cache: ModelCache) -> None:
    question = WatchLoop("a red apple:2 | a worm:-1", steps=8)
    found = question.answer(cache)
    assert RANKER in question.models
    assert len(found.cosines) == len(found.steps)
    with cache.lease(RANKER) as ranker:
        for step, cosine in zip(found.steps, found.cosines, strict=True):
            apple, worm = similarities([step.picture], ["a red apple", "a worm"], ranker)[0]
            assert cosine == pytest.approx(float(2 * apple - worm) / 3, abs=1e-4)


def test_what_the_gradient_asks_for_is_seen() -> None:
    gradient = torch.zeros(3, 8, 8)
    gradient[0, 2, 3] = -2.0
    pull, wanted = pictured(gradient)
    assert pull[2, 3] == 1
    assert (np.delete(pull.flatten(), 2 * 8 + 3) == 0).all()
    assert wanted[2, 3].tolist() == [255, 128, 128]
    assert (wanted[0, 0] == 128).all()


@pytest.mark.parametrize("total", [8, 9, 32, MAX_STEPS])
def test_shown_steps_begin_with_the_first_and_end_with_the_last(total: int) -> None:
    shown = shown_steps(total)
    assert (shown[0], shown[-1]) == (1, total)
    assert len(shown) <= KEPT
    assert list(shown) == sorted(set(shown))


@pytest.mark.parametrize(("fields", "says"), [
    ({"prompt": " "}, "The prompt is empty"),
    ({"prompt": "an egg ^ a bird"}, "This view shows one prompt and no story"),
    ({"steps": 7}, "Steps must be a whole number between 8 and 60, not 7."),
    ({"steps": 61}, "Steps must be a whole number"),
    ({"steps": 8.5}, "Steps must be a whole number"),
    ({"steps": True}, "Steps must be a whole number"),
    ({"cutouts": 0}, "Cutouts must be a whole number between 1 and 16, not 0."),
    ({"cutouts": "4"}, "Cutouts must be a whole number"),
    ({"seed": -1}, "Seed must be"),
])
def test_what_cannot_be_asked_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        WatchLoop(**{"prompt": "a cat", **fields})


def test_a_watched_run_can_be_stopped(cache: ModelCache) -> None:
    polls = iter([False] * 5)
    with pytest.raises(Cancelled):
        WatchLoop("a cat", steps=8).answer(cache, lambda: next(polls, True))

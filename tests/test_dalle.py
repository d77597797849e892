"""DALL·E with small models: reproducible candidates, previews, guidance, Stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.events import Event, Preview, Progress, Result
from pipelines.dalle import DalleOptions, DallePipeline, begin, read_texts, write_block
from pipelines.dalle_layers import SIZE_PX, steps_of
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.dalle import ImageTransformer
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from pipelines.rerank import similarities, weighted_scores
from tests.small_models import TRANSFORMER, small_cache

LAYER_STEPS = (TRANSFORMER.grid // TRANSFORMER.patch) ** 2


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    # A run that waits for models asks more often whether it is to stop: here none waits.
    events_of(built)
    yield built
    built.close()


def events_of(cache: ModelCache, cancelled: Callable[[], bool] = lambda: False,
              dtype: torch.dtype = torch.float32, **fields: Any) -> list[Event]:
    registry = Registry()
    registry.register(DallePipeline())
    request = registry.check({"pipeline": "dalle", "prompt": "a red apple", "seed": 5, **fields})
    context = RunContext(cache, torch.device("cpu"), dtype, cancelled)
    return list(registry.get("dalle").run(request, context))


def result_of(events: list[Event]) -> Result:
    assert isinstance(events[-1], Result)
    return events[-1]


def test_a_run_from_loading_to_ranked_pictures() -> None:
    events = events_of(small_cache(), num_images=3)
    messages = [e.message for e in events if isinstance(e, Progress) and e.message]
    assert sum(m.startswith("Loading the embedded/") for m in messages) == 2
    steps = [e.step for e in events if isinstance(e, Progress) and e.total and not e.message]
    result = result_of(events)
    layers = 1 + max(sum(1 + thing["drafted"] for thing in c.metadata["plan"]["things"])
                     for c in result.candidates)
    assert steps == list(range(1, layers * LAYER_STEPS + 1))
    assert result.metadata == {}
    assert {c.seed for c in result.candidates} == {5, 6, 7}
    assert all(c.seed == 5 + c.index for c in result.candidates)
    scores = [c.scores["clip"] for c in result.candidates]
    assert scores == sorted(scores, reverse=True)
    assert sum(c.scores["probability"] for c in result.candidates) == pytest.approx(1)
    assert result.candidates[0].image.shape == (SIZE_PX, SIZE_PX, 3)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_a_candidate_is_drawn_again_alone(cache: ModelCache, guidance_scale: float) -> None:
    options = {"guidance_scale": guidance_scale, "top_p": 0.9}
    together = result_of(events_of(cache, num_images=5, options=options))
    images = {c.seed: c.image.astype(int) for c in together.candidates}
    assert not np.array_equal(images[5], images[6])
    for seed in (6, 9):
        alone = result_of(events_of(cache, num_images=1, seed=seed, options=options))
        assert np.abs(alone.candidates[0].image - images[seed]).max() <= 1


def test_weights_of_a_prompt_are_for_the_ranking_alone(cache: ModelCache) -> None:
    prompt = "a red apple:2 | a worm:-0.5"
    best = result_of(events_of(cache, prompt=prompt)).candidates[0]
    with cache.lease(RANKER) as clip:
        cosines = similarities([best.image], ["a red apple", "a worm"], clip)
    assert best.scores["clip"] == pytest.approx(float(weighted_scores(cosines, [2, -0.5])[0]),
                                                abs=1e-5)


def test_codes_do_not_depend_on_the_batch(cache: ModelCache) -> None:
    with cache.lease("embedded/dalle") as model:
        ids, states = read_texts(model, ["a red apple", ""])

        def codes(seeds: list[int]) -> tuple[torch.Tensor, list[int]]:
            writing = begin(model, ids, states, seeds, guided=True)
            for _ in range(steps_of(model, writing.plans)):
                write_block(model, writing, DalleOptions())
            own = [steps_of(model, plan[None]) for plan in writing.plans]
            return torch.stack(writing.blocks, dim=1), own

        together, own = codes(list(range(16)))
        for seed in (0, 7, 15):
            alone, (steps,) = codes([seed])
            assert steps == own[seed]
            assert torch.equal(together[seed, :steps], alone[0])


def test_the_seed_decides(cache: ModelCache) -> None:
    first, again, other = (result_of(events_of(cache, num_images=1, seed=seed)).candidates[0].image
                           for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_guidance_halves_the_rows(cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    real = ImageTransformer.new_cache

    def counted(self: ImageTransformer, batch_size: int, *args: Any) -> Any:
        rows.append(batch_size)
        return real(self, batch_size, *args)

    monkeypatch.setattr(ImageTransformer, "new_cache", counted)
    for scale in (1.0, 2.5):
        events_of(cache, num_images=3, options={"guidance_scale": scale})
    assert rows == [3, 6]


def test_previews_fill_the_picture_from_the_top(cache: ModelCache) -> None:
    events = events_of(cache, num_images=2, options={"preview_every": 4})
    previews = [e for e in events if isinstance(e, Preview)]
    assert [p.step for p in previews][:5] == [1, 5, 9, 13, 17]
    assert all(p.images.shape == (2, SIZE_PX, SIZE_PX, 3) and p.seeds == (5, 6) for p in previews)
    grey = [(p.images == 128).all(axis=(0, 3)) for p in previews]
    half = SIZE_PX // 2
    assert grey[0][:, half + 2 :].all()
    assert grey[1][half + 2 :].all(), "a layer is half as large as the picture"
    assert not grey[1][: SIZE_PX // 4].any()
    assert not grey[4].any(), "the ground is there, things come before it"
    assert len([e for e in events_of(cache, options={"preview_every": 256})
                if isinstance(e, Preview)]) == 1


def test_stop_keeps_what_is_written(cache: ModelCache) -> None:
    polls = iter([False] * 6)  # one before the first step, one after each
    events = events_of(cache, lambda: next(polls, True), num_images=2)
    steps = [e.step for e in events if isinstance(e, Progress) and not e.message]
    assert steps == [1, 2, 3, 4, 5], "the step in which it was stopped is the last"
    result = result_of(events)
    assert result.metadata == {"stopped": True}
    assert len(result.candidates) == 2


def test_stop_before_the_first_step_keeps_nothing(cache: ModelCache) -> None:
    with pytest.raises(Cancelled):
        events_of(cache, lambda: True)


def test_models_are_given_back(cache: ModelCache) -> None:
    registry = Registry()
    registry.register(DallePipeline())
    request = registry.check({"pipeline": "dalle", "prompt": "a cat", "seed": 0})
    run = cast(Any, registry.get("dalle").run(request, RunContext(cache, torch.device("cpu"))))
    while not isinstance(next(run), Preview):
        pass
    assert any(model.leases for model in cache.stats().models)
    assert torch.is_grad_enabled(), "no grad mode is held across a yield"
    run.close()
    assert not any(model.leases for model in cache.stats().models)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_may_have_half_the_bits(cache: ModelCache, dtype: torch.dtype) -> None:
    result = result_of(events_of(cache, dtype=dtype))
    assert all(np.isfinite(c.scores["clip"]) for c in result.candidates)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"top_p": 0}, {"top_k": -1},
                                     {"guidance_scale": float("nan")}, {"preview_every": 0}])
def test_options_out_of_range_are_refused(cache: ModelCache, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="must be"):
        events_of(cache, options=options)


def plans_of(events: list[Event]) -> list[dict[str, Any]]:
    return [c.metadata["plan"] for c in sorted(result_of(events).candidates, key=lambda c: c.seed)]


def test_what_is_set_of_a_plan_stands_in_it_the_seed_decides_the_rest(cache: ModelCache) -> None:
    free = plans_of(events_of(cache, num_images=4))
    assert len({str(plan) for plan in free}) == 4
    styled = plans_of(events_of(cache, num_images=4, options={"style": "photo"}))
    assert {plan["style"] for plan in styled} == {"photo"}
    assert len({plan["background"] for plan in styled}) > 1
    whole = plans_of(events_of(cache, num_images=4, options={
        "style": "fluent", "background": "beach", "places": "1 4 7; 9 4 6 Mirrored"}))
    assert {(plan["style"], plan["background"]) for plan in whole} == {("fluent", "beach")}
    for plan in whole:
        assert [tuple(thing[name] for name in ("column", "row", "side", "mirrored"))
                for thing in plan["things"][:2]] == [(1, 4, 7, False), (9, 4, 6, True)]
    assert len({thing["drafted"] for plan in whole for thing in plan["things"][:2]}) == 2, (
        "the caption decides that")
    again = plans_of(events_of(cache, num_images=4, options={"style": "any", "background": "any"}))
    assert again == free


@pytest.mark.parametrize(("places", "said"), [
    ("1 2", "Places are a column, a row and a side"), ("1 2 3 4", "Places are"),
    ("1 2 3 flipped", "not '1 2 3 flipped'"), ("1 2 -3", "Places are"), ("1 2 ³", "Places are"),
    ("1 2 3;", "not ''"), ("1 2 999999999999", "Places are"),
    ("10 0 7", "A thing at 10 0 with side 7 does not fit"), ("0 0 2", "sides are from 3 to 16"),
    (";".join(["0 0 3"] * 6), "at most 5 things, and there are places of 6")])
def test_places_that_are_none_are_refused_with_a_reason(cache: ModelCache, places: str,
                                                        said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as error:
        events_of(cache, options={"places": places})
    assert error.value.field == "places"

"""VQGAN+CLIP with small models: it optimises, stops, keeps the best, and repeats itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.events import Event, Preview, Progress, Result
from pipelines.core.options import parse_options
from pipelines.models.cache.cache import ModelCache
from pipelines.models.clip import ClipModel
from pipelines.models.vqgan import VQGAN
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from pipelines.vqgan_clip.cutouts import Cutouts
from pipelines.vqgan_clip.descent import Descent
from pipelines.vqgan_clip.guides import Guide
from pipelines.vqgan_clip.optimise import Optimisation
from pipelines.vqgan_clip.options import VQGANCLIPOptions
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from pipelines.vqgan_clip.starts import start_parameters
from pipelines.vqgan_clip.terms import Terms
from pipelines.vqgan_clip.vqgan_drawer import VQGANDrawer
from pipelines.weighted_prompts import WeightedPrompt
from tests.small_models import LEARNED, small_cache

FEW = {"num_cutouts": 4, "iterations": 4, "precision": "float32"}


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    # A run that waits for models asks more often whether it is to stop: here none waits.
    events_of(built)
    yield built
    built.close()


def registry() -> Registry:
    found = Registry()
    found.register(VQGANCLIPPipeline())
    return found


def events_of(cache: ModelCache, cancelled: Callable[[], bool] = lambda: False,
              options: dict[str, Any] | None = None, dtype: torch.dtype = torch.float32,
              **fields: Any) -> list[Event]:
    request = registry().check({"pipeline": "vqgan_clip", "prompt": "a red apple", "seed": 5,
                        "num_images": 1, "options": FEW | (options or {}), **fields})
    context = RunContext(cache, torch.device("cpu"), dtype, cancelled)
    return list(registry().get("vqgan_clip").run(request, context))


def result_of(events: list[Event]) -> Result:
    assert isinstance(events[-1], Result)
    return events[-1]


def image_of(events: list[Event]) -> np.ndarray:
    return result_of(events).candidates[0].image


def picture(colour: str = "teal", size: tuple[int, int] = (50, 40)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def optimisation_of(cache: ModelCache, prompts: list[WeightedPrompt], seeds: tuple[int, ...] = (0,),
                size_px: int = 32, **fields: Any) -> Optimisation:
    """Small pictures, outside of a run; the models stay in the cache."""
    with cache.lease("embedded/vqgan") as vqgan, cache.lease("embedded/clip-guide") as clip:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        drawer = VQGANDrawer(vqgan, fields.pop("quantize", True), "float32")
        start = start_parameters(drawer, "plain", None, (size_px, size_px), generators)
        descent = Descent(start, drawer, "adam", 0.1, "constant", fields.pop("coarse", 0.0))
        cutouts = Cutouts(num_cutouts=8, noise=0.0)
        return Optimisation(drawer, [Guide(clip, prompts)], descent, generators, cutouts,
                            precision="float32", **fields)


def paint(optimisation: Optimisation, steps: int) -> list[dict[str, float]]:
    losses = [optimisation.step(i, steps, lambda: False) for i in range(1, steps + 1)]
    return [found for found in losses if found is not None]


def test_a_run_from_loading_to_ranked_pictures() -> None:
    events = events_of(small_cache(), num_images=2)
    messages = [e.message for e in events if isinstance(e, Progress) and e.message]
    assert sum(m.startswith("Loading the embedded/") for m in messages) == 4
    steps = [e for e in events if isinstance(e, Progress) and e.total and not e.message]
    assert [(e.step, e.total) for e in steps] == [(i, 4) for i in range(1, 5)]
    assert all(set(e.losses) == {"loss", "guide score"} for e in steps)
    result = result_of(events)
    assert result.metadata == {"computed_in": "float32"}
    assert all(c.seed == 5 + c.index for c in result.candidates)
    scores = [c.scores["clip"] for c in result.candidates]
    assert scores == sorted(scores, reverse=True)
    assert result.candidates[0].image.shape == (256, 256, 3)
    assert 1 <= result.candidates[0].metadata["best_step"] <= 4


def test_a_candidate_is_drawn_again_alone(cache: ModelCache) -> None:
    together = {c.seed: c.image for c in result_of(events_of(cache, num_images=3)).candidates}
    assert not np.array_equal(together[5], together[6])
    for seed in (6, 7):
        assert np.array_equal(image_of(events_of(cache, seed=seed)), together[seed])


@pytest.mark.parametrize("quantize", [True, False])
@pytest.mark.parametrize("coarse", [0.0, 0.6])
def test_optimising_raises_the_guides_score(cache: ModelCache, quantize: bool, coarse: float,
                                            ) -> None:
    optimisation = optimisation_of(cache, [WeightedPrompt("a red apple")], quantize=quantize,
                               coarse=coarse)
    found = paint(optimisation, 25)
    assert found[-1]["guide score"] > found[0]["guide score"] + 0.05
    assert min(step["loss"] for step in found[-5:]) < found[0]["loss"]


def test_a_negative_weight_pushes_away(cache: ModelCache) -> None:
    optimisation = optimisation_of(cache, [WeightedPrompt("a red apple", -1.0)])
    paint(optimisation, 25)
    (guide,) = optimisation.guides
    best = optimisation.best_pixels
    assert best is not None
    assert optimisation.facts(0)["guide_score"] > -float(
        guide.clip.encode_image((start_pixels(optimisation) + 1) / 2) @ guide.features.t())


def start_pixels(optimisation: Optimisation) -> torch.Tensor:
    assert isinstance(optimisation.drawer, VQGANDrawer)
    return optimisation.drawer.vqgan.decode(optimisation.descent.start).clamp(-1, 1)


def test_a_prompt_below_its_stop_pulls_no_more(cache: ModelCache) -> None:
    easy = optimisation_of(cache, [WeightedPrompt("a red apple", 1.0, stop=10.0)])
    before = easy.descent.change.detach().clone()
    (found,) = paint(easy, 1)
    assert found["loss"] > 0, "it is still counted"
    assert torch.equal(easy.descent.change, before)


def test_every_latent_is_reached(cache: ModelCache) -> None:
    optimisation = optimisation_of(cache, [WeightedPrompt("a red apple")], seeds=(0, 1))
    paint(optimisation, 1)
    gradient = optimisation.descent.change.grad
    assert gradient is not None
    assert gradient.shape == (2, 3, 8, 8)
    assert (gradient.abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_cutouts_in_groups_pull_as_all_at_once(cache: ModelCache, at_once: int) -> None:
    def pull(**fields: Any) -> tuple[torch.Tensor, dict[str, float]]:
        optimisation = optimisation_of(cache, [WeightedPrompt("a red apple")], (0, 1),
                                       terms=Terms(init_weight=1.0, smoothness=0.5), **fields)
        (found,) = paint(optimisation, 1)
        assert optimisation.descent.change.grad is not None
        return optimisation.descent.change.grad, found

    (whole, told), (parts, told_of_parts) = pull(), pull(cutouts_at_once=at_once)
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))
    assert told_of_parts == pytest.approx(told, rel=1e-4)


def test_models_take_no_gradient(cache: ModelCache) -> None:
    optimisation = optimisation_of(cache, [WeightedPrompt("a red apple")])
    paint(optimisation, 2)
    assert isinstance(optimisation.drawer, VQGANDrawer)
    for model in (optimisation.drawer.vqgan, optimisation.guides[0].clip):
        assert all(p.grad is None and not p.requires_grad for p in model.parameters())


def test_one_decoding_a_step(cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = VQGAN.decode
    monkeypatch.setattr(VQGAN, "decode",
                        lambda self, latents: calls.append(len(latents)) or real(self, latents))
    events_of(cache, options={"preview_every": 1})
    assert calls == [1] * 4


def test_previews(cache: ModelCache) -> None:
    events = events_of(cache, num_images=2, options={"preview_every": 2})
    previews = [e for e in events if isinstance(e, Preview)]
    assert [p.step for p in previews] == [1, 3]
    assert previews[0].images.shape == (2, 128, 128, 3)
    assert previews[0].seeds == (5, 6)


def test_stop_keeps_the_best_so_far(cache: ModelCache) -> None:
    polls = iter([False] * 3)  # before the first step, and after each of two
    events = events_of(cache, lambda: next(polls, True), options={"iterations": 100})
    steps = [e.step for e in events if isinstance(e, Progress) and e.total and not e.message]
    assert steps == [1, 2, 3]
    assert result_of(events).metadata == {"stopped": True, "computed_in": "float32"}
    assert result_of(events).candidates[0].metadata["best_step"] <= 3


def test_stop_between_candidates_undoes_the_step(cache: ModelCache) -> None:
    polls = iter([False] * 4)  # start; second and third candidate; after the first step
    events = events_of(cache, lambda: next(polls, True), num_images=3)
    steps = [e.step for e in events if isinstance(e, Progress) and e.total and not e.message]
    assert steps == [1]
    assert len(result_of(events).candidates) == 3


def test_stop_before_the_first_step_keeps_nothing(cache: ModelCache) -> None:
    with pytest.raises(Cancelled):
        events_of(cache, lambda: True)
    polls = iter([False])
    with pytest.raises(Cancelled):
        events_of(cache, lambda: next(polls, True), num_images=2)


def test_models_are_given_back(cache: ModelCache) -> None:
    request = registry().check({"pipeline": "vqgan_clip", "prompt": "a cat", "seed": 0,
                                "num_images": 1, "options": FEW})
    context = RunContext(cache, torch.device("cpu"))
    run = cast(Any, registry().get("vqgan_clip").run(request, context))
    while not isinstance(next(run), Preview):
        pass
    assert any(model.leases for model in cache.stats().models)
    run.close()
    assert not any(model.leases for model in cache.stats().models)


def test_an_init_image_is_where_it_starts_and_stays(cache: ModelCache) -> None:
    teal, red = (image_of(events_of(cache, init_image=picture(c), options={"iterations": 1}))
                 for c in ("teal", "red"))
    assert not np.array_equal(teal, red)
    with cache.lease("embedded/vqgan") as vqgan, cache.lease("embedded/clip-guide") as clip:
        def moved(init_weight: float) -> float:
            generators = [torch.Generator().manual_seed(0)]
            drawer = VQGANDrawer(vqgan, precision="float32")
            start = start_parameters(drawer, "plain", None, (32, 32), generators)
            descent = Descent(start, drawer, "adam", 0.05, "constant", 0.0)
            optimisation = Optimisation(drawer, [Guide(clip, [WeightedPrompt("a cat")])], descent,
                                        generators, Cutouts(num_cutouts=4),
                                        Terms(init_weight=init_weight),
                                        precision="float32")
            paint(optimisation, 10)
            return descent.change.abs().mean().item()

        assert moved(100.0) < 0.5 * moved(0.0)


def test_an_image_prompt_is_a_target(cache: ModelCache) -> None:
    with cache.lease("embedded/clip-guide") as clip:
        image = np.full((40, 40, 3), 200, np.uint8)
        guide = Guide(clip, [WeightedPrompt("a cat")], [(image, 2.0)])
        assert guide.weights.tolist() == [1.0, 2.0]
        same = clip.encode_image(torch.full((1, 3, 32, 32), 200 / 255))
        torch.testing.assert_close(guide.features[1:], same)
        assert len(Guide(clip, [WeightedPrompt("a cat")], [(image, 0.0)]).features) == 1


def test_an_image_prompt_need_not_be_the_start(cache: ModelCache) -> None:
    def drawn(iterations: int, **fields: Any) -> np.ndarray:
        options = {"iterations": iterations} | fields.pop("options", {})
        return image_of(events_of(cache, options=options, **fields))

    target = {"from_image": False, "image_weight": 5.0}
    # The first step draws the start.
    assert np.array_equal(drawn(1, init_image=picture("red"), options=target), drawn(1))
    red, teal = (drawn(4, init_image=picture(c), options=target) for c in ("red", "teal"))
    assert not np.array_equal(red, teal)


@pytest.mark.parametrize("init", ["plain", "noise"])
@pytest.mark.parametrize("optimiser", ["normalised", "adamw", "radam", "rmsprop", "sgd"])
def test_a_codebook_of_vectors_works_too(init: Any, optimiser: Any) -> None:
    with small_cache(LEARNED).lease("embedded/vqgan") as vqgan:
        drawer = VQGANDrawer(vqgan)
        start = start_parameters(drawer, init, None, (32, 32), [torch.Generator().manual_seed(0)])
        descent = Descent(start, drawer, optimiser, 5.0, "cosine", 0.5)
        for step in range(1, 9):
            descent.begin_step(step, 8)
            descent.update(torch.randn(descent.change.shape))
        full = descent.full(descent.change, slice(None))
        codes = vqgan.codebook
        assert (full <= codes.amax(0).view(1, -1, 1, 1) + 1e-6).all()
        assert (full >= codes.amin(0).view(1, -1, 1, 1) - 1e-6).all()


def test_the_grid_grows_finer_and_steps_shorter(cache: ModelCache) -> None:
    with cache.lease("embedded/vqgan") as vqgan:
        drawer = VQGANDrawer(vqgan)
        start = start_parameters(drawer, "noise", None, (32, 32),
                                 [torch.Generator().manual_seed(0)])
        descent = Descent(start, drawer, "adam", 0.1, "cosine", 0.4)
        sides, rates = [], []
        for step in range(1, 11):
            descent.begin_step(step, 10)
            sides.append(descent.change.shape[-1])
            rates.append(descent.optimizer.param_groups[0]["lr"])
    assert sides == [2, 2, 4, 4, 8, 8, 8, 8, 8, 8]
    assert rates[0] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("size_px", [128, 192])
def test_bfloat16_and_size(cache: ModelCache, size_px: int) -> None:
    options = {"precision": "bfloat16", "iterations": 1, "size_px": size_px}
    assert image_of(events_of(cache, options=options)).shape == (2 * size_px, 2 * size_px, 3)


@pytest.mark.parametrize(("fields", "says"), [
    ({"prompt": "cat:1000"}, "between -100 and 100"),
    ({"prompt": "cat | | dog"}, "no text"),
    ({"options": {"init_weight": 1.0}}, "Init weight needs an init image"),
    ({"options": {"image_weight": 1.0}}, "Image prompt weight needs an init image"),
    ({"init_image": picture(), "options": {"from_image": False}}, "neither the start nor a target"),
    ({"init_image": picture(), "options": {"from_image": False, "init_weight": 1.0}},
     "needs a run that starts from the init image"),
    ({"options": {"size_px": 130}}, "Size in px"),
    ({"options": {"iterations": 10**9}}, "between 1 and 1000"),
    ({"options": {"step_size": float("nan")}}, "Step size"),
    ({"options": {"optimiser": "magic"}}, "Optimiser"),
    ({"init_image": b"not a picture"}, "not a PNG"),
])
def test_bad_requests_are_refused_in_a_sentence(cache: ModelCache, fields: dict[str, Any],
                                                says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        events_of(cache, **fields)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_may_have_half_the_bits(cache: ModelCache, dtype: torch.dtype) -> None:
    # Both steps of the optimiser's kind, first and later; a CPU takes seconds for one in float16.
    options = {"iterations": 2, "num_cutouts": 1}
    result = result_of(events_of(cache, dtype=dtype, options=options))
    assert all(np.isfinite(c.scores["clip"]) for c in result.candidates)


def test_numbers_may_come_as_text() -> None:
    options = parse_options(VQGANCLIPOptions, {"size_px": "192", "flip": "true", "noise": "0.1"})
    assert (options.model_dump()["size_px"], options.model_dump()["flip"]) == (192, True)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_a_result_tells_what_it_was_computed_in(cache: ModelCache, precision: str,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[torch.dtype] = set()
    encode_image = ClipModel.encode_image

    def watched(self: ClipModel, *args: Any) -> Any:
        features = encode_image(self, *args)
        if torch.is_grad_enabled():  # of cutouts, not of finished pictures
            seen.add(torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32)
        return features

    monkeypatch.setattr(ClipModel, "encode_image", watched)
    result = result_of(events_of(cache, options={"precision": precision, "iterations": 1}))
    assert {f"torch.{result.metadata['computed_in']}"} == set(map(str, seen))
    assert precision in ("auto", result.metadata["computed_in"])

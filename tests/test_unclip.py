"""unCLIP with small models: reproducible candidates, guidance, pictures as a start, Stop."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from easel.settings import Settings
from pipelines.core.errors import Cancelled, InvalidImage, InvalidRequest, WeightsError
from pipelines.core.events import Event, Preview, Progress, Result
from pipelines.engine import build_cache
from pipelines.flow_matching import flow_end, flow_steps, sampling_times
from pipelines.models.cache.cache import ModelCache
from pipelines.models.unclip import UnclipDecoder
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from pipelines.unclip.pipeline import CLIP, UnclipPipeline
from pipelines.unclip.steps import Noise, slerp
from tests.small_models import SmallLoader, small_cache


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    # A run that waits for models asks more often whether it is to stop: here none waits.
    events_of(built)
    yield built
    built.close()


def png(colour: tuple[int, int, int] = (200, 30, 30), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (48, 40), colour).convert(mode).save(file, "PNG")
    return file.getvalue()


def events_of(cache: ModelCache, cancelled: Callable[[], bool] = lambda: False,
              dtype: torch.dtype = torch.float32, **fields: Any) -> list[Event]:
    registry = Registry()
    registry.register(UnclipPipeline())
    request = registry.check({"pipeline": "unclip", "prompt": "a red apple", "seed": 5, **fields})
    context = RunContext(cache, torch.device("cpu"), dtype, cancelled)
    return list(registry.get("unclip").run(request, context))


def result_of(events: list[Event]) -> Result:
    assert isinstance(events[-1], Result)
    return events[-1]


def drawn(cache: ModelCache, **fields: Any) -> dict[int, np.ndarray]:
    """Pictures by seed, as signed numbers."""
    return {c.seed: c.image.astype(int) for c in result_of(events_of(cache, **fields)).candidates}


def test_a_run_from_loading_to_ranked_pictures() -> None:
    events = events_of(small_cache(), num_images=3, options={"prior_steps": 2, "decoder_steps": 3})
    messages = [e.message for e in events if isinstance(e, Progress) and e.message]
    assert sum(m.startswith("Loading the embedded/") for m in messages) == 6
    steps = [(e.step, e.total) for e in events if isinstance(e, Progress) and e.total
             and not e.message]
    assert steps == [(n, 5) for n in range(1, 6)]
    assert [e.step for e in events if isinstance(e, Preview)] == [3, 4]
    result = result_of(events)
    assert result.metadata == {}
    assert all(c.seed == 5 + c.index for c in result.candidates)
    scores = [c.scores["clip"] for c in result.candidates]
    assert scores == sorted(scores, reverse=True)
    assert result.candidates[0].image.shape == (64, 64, 3)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_candidate_is_drawn_again_alone(cache: ModelCache, scale: float) -> None:
    options = {"prior_guidance_scale": scale, "decoder_guidance_scale": scale}
    together = drawn(cache, num_images=4, options=options)
    assert not np.array_equal(together[5], together[6])
    for seed in (5, 8):
        alone = drawn(cache, num_images=1, seed=seed, options=options)
        # One code may flip where two are as good as equal.
        assert (np.abs(alone[seed] - together[seed]) > 1).mean() < 0.02


@pytest.mark.weights("unclip-prior", "unclip-decoder", "clip-guide", "vqgan")
def test_a_trained_candidate_is_drawn_again_alone(tmp_path: Path) -> None:
    cache = build_cache(Settings(data_dir=tmp_path))
    together, alone = (drawn(cache, num_images=n, prompt="two green birds on a beach")[5]
                       for n in (2, 1))
    assert (np.abs(alone - together) > 1).mean() < 0.02
    cache.close()


def test_the_seed_decides(cache: ModelCache) -> None:
    first, again, other = (drawn(cache, num_images=1, seed=seed)[seed] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_guided_rows_share_a_batch(cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    real = UnclipDecoder.predict

    def counted(self: UnclipDecoder, latents: torch.Tensor, *args: Any) -> torch.Tensor:
        rows.append(len(latents))
        return real(self, latents, *args)

    monkeypatch.setattr(UnclipDecoder, "predict", counted)
    for scale in (1.0, 2.5):
        events_of(cache, num_images=3,
                  options={"decoder_guidance_scale": scale, "decoder_steps": 2})
    assert rows == [3, 3, 6, 6]


def test_without_the_prior_the_captions_embedding_is_drawn(cache: ModelCache) -> None:
    with_prior = drawn(cache, num_images=1)[5]
    events = events_of(cache, num_images=1, options={"prior": False})
    assert {e.total for e in events if isinstance(e, Progress) and not e.message} == {8}
    assert not np.array_equal(result_of(events).candidates[0].image, with_prior)


def test_variations_follow_the_picture(cache: ModelCache) -> None:
    red = drawn(cache, num_images=2, init_image=png())
    assert not np.array_equal(red[5], red[6])
    assert np.array_equal(red[5], drawn(cache, num_images=2, init_image=png())[5])
    assert not np.array_equal(red[5], drawn(cache, num_images=2, init_image=png((0, 0, 250)))[5])
    # Without the caption, another prompt draws the same picture.
    untold = {"tell_caption": False}
    picture = drawn(cache, num_images=1, init_image=png(), options=untold)[5]
    other = drawn(cache, num_images=1, init_image=png(), options=untold, prompt="a cow")[5]
    assert np.array_equal(picture, other)


def test_a_difference_turns_the_picture_towards_the_prompt(cache: ModelCache) -> None:
    def picture(**options: Any) -> np.ndarray:
        return drawn(cache, num_images=1, init_image=png(), options=options)[5]

    plain = picture()
    options = {"picture": "difference", "described": "a cow"}
    assert np.array_equal(picture(**options, difference=0.0), plain)
    assert not np.array_equal(picture(**options, difference=0.6), plain)


@pytest.mark.parametrize(("fields", "error", "words"), [
    ({"options": {"picture": "difference"}}, InvalidRequest, "needs an init image"),
    ({"options": {"decoder_steps": 0}}, InvalidRequest, "between 1 and 64, not 0"),
    ({"options": {"prior_steps": 1e9}}, InvalidRequest, "between 1 and 64"),
    ({"options": {"decoder_guidance_scale": float("nan")}}, InvalidRequest, "not NaN"),
    ({"options": {"difference": -0.1}}, InvalidRequest, "between 0 and 1"),
    ({"init_image": b"no picture"}, InvalidImage, "not a PNG, JPEG or WebP"),
])
def test_bad_input_is_refused_in_a_sentence(cache: ModelCache, fields: dict[str, Any],
                                            error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        events_of(cache, **fields)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_pictures_of_other_modes_are_read(cache: ModelCache, mode: str) -> None:
    assert drawn(cache, num_images=1, init_image=png(mode=mode), options={"decoder_steps": 1})


class _OtherGuide(SmallLoader):
    """Models whose decoder was trained with another CLIP than the one that is here."""

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
        model = super().load(model_id, device, dtype)
        if isinstance(model, UnclipDecoder):
            model.clip_sha256 = "a" * 64
        return model

    def fingerprint(self, model_id: str) -> str | None:
        return "b" * 64 if model_id == CLIP else None


def test_embeddings_of_another_clip_are_not_used() -> None:
    cache = ModelCache(_OtherGuide(), "cpu")
    result = result_of(events_of(cache, num_images=1))
    assert "another CLIP" in result.metadata["notice"]
    with pytest.raises(WeightsError, match="another CLIP"):
        events_of(cache, init_image=png())


def test_stop_keeps_what_is_drawn(cache: ModelCache) -> None:
    polls = iter([False] * 11)  # one before the first step, one after each
    result = result_of(events_of(cache, lambda: next(polls, True), num_images=2))
    assert result.metadata == {"stopped": True}
    assert len(result.candidates) == 2


@pytest.mark.parametrize("polls", [0, 3])
def test_stop_before_the_decoder_keeps_nothing(cache: ModelCache, polls: int) -> None:
    answers = iter([False] * polls)
    with pytest.raises(Cancelled):
        events_of(cache, lambda: next(answers, True))


def test_models_are_given_back(cache: ModelCache) -> None:
    registry = Registry()
    registry.register(UnclipPipeline())
    request = registry.check({"pipeline": "unclip", "prompt": "a cat", "seed": 0})
    run = cast(Any, registry.get("unclip").run(request, RunContext(cache, torch.device("cpu"))))
    while not isinstance(next(run), Preview):
        pass
    assert torch.is_grad_enabled(), "no grad mode is held across a yield"
    run.close()
    assert not any(model.leases for model in cache.stats().models)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_may_have_half_the_bits(cache: ModelCache, dtype: torch.dtype) -> None:
    result = result_of(events_of(cache, dtype=dtype, num_images=2))
    assert all(np.isfinite(c.scores["clip"]) for c in result.candidates)


def test_noise_is_the_seeds_alone() -> None:
    device = torch.device("cpu")
    many = Noise.of((3, 4), 8, (2, 4, 4), device)
    alone = Noise.of((4,), 8, (2, 4, 4), device)
    assert torch.equal(many.prior[1:], alone.prior)
    assert torch.equal(many.decoder[1:], alone.decoder)


def test_a_flow_to_one_point_arrives() -> None:
    point, noise = torch.tensor([[1.0, -2.0]]), torch.randn(1, 2)
    assert torch.allclose(flow_end(lambda x, t: point, noise, 3), point)
    halfway, _ = next(flow_steps(lambda x, t: point, noise, 2))
    assert torch.allclose(halfway, (point + noise) / 2)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_times_fall_from_one_to_zero(shift: float) -> None:
    times = sampling_times(4, shift)
    assert times[0] == 1
    assert times[-1] == 0
    assert (times.diff() < 0).all()
    assert float(times[2]) == pytest.approx(0.5 if shift == 1 else 0.75)


def test_slerp_walks_at_constant_speed() -> None:
    start, end = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0, 1.0, 0]])
    third = slerp(start, end, 1 / 3)
    assert float((third * start).sum()) == pytest.approx(np.cos(np.pi / 6), abs=1e-5)
    assert torch.allclose(slerp(start, end, 0.0), start)
    assert torch.allclose(slerp(start, end, 1.0), end, atol=1e-6)
    assert torch.allclose(slerp(start, start, 0.5), start)

"""Pictures that DALL·E's transformer goes on with, against the transformer asked directly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.settings import EngineSettings
from pipelines.dalle import TRANSFORMER, DalleOptions, begin, read_texts, write_block
from pipelines.engine import build_cache
from pipelines.inside.complete import CompletePicture
from pipelines.inside.layers import draw_kept, draw_picture
from pipelines.inside.mask import kept_in_layers, shaped
from pipelines.inside.written import Layers, Written, read_layers, write_again
from pipelines.models.cache.cache import ModelCache
from pipelines.sampling import choose
from pipelines.world.plans import Plan, Spot, slots_of, to_tokens
from tests.small_models import small_cache

CAT = Written("an orange cat and a blue umbrella", 9, DalleOptions())
BOLD = DalleOptions(temperature=1.0, top_k=0)


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def picture(height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def read(cache: ModelCache, image: np.ndarray) -> Layers:
    with cache.lease(TRANSFORMER) as model:
        return read_layers(image, model)


@pytest.mark.parametrize("mask", ["upper", "left", "checker", np.eye(8, dtype=bool),
                                  ~shaped("upper", 8)])
def test_what_is_kept_stays_and_the_rest_is_written(cache: ModelCache, mask: Any) -> None:
    image = picture(50, 90)
    own = read(cache, image)
    found = CompletePicture(image, "a red apple", mask, BOLD, seed=3, count=2).answer(cache)
    assert found.reread
    assert found.seeds == (3, 4)
    stays = shaped(mask, 8) if isinstance(mask, str) else mask
    assert np.array_equal(found.cells, stays.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(found.kept, [stays, stays]), "both layers fill the picture"
    assert np.array_equal(found.plan, own.plan)
    assert np.array_equal(found.picture, own.picture)
    for codes in found.codes:
        assert np.array_equal(codes[found.kept], own.codes[found.kept])
        assert not np.array_equal(codes, own.codes)
    assert not np.array_equal(*found.codes)
    with cache.lease(TRANSFORMER) as model:
        for codes, pixels in zip(found.codes, found.pictures, strict=True):
            assert np.array_equal(pixels, draw_picture(own.plan, codes, model))


def test_a_code_stays_where_half_of_what_it_covers_does() -> None:
    cells = np.zeros((16, 16), bool)
    cells[:, :5] = True
    kept = kept_in_layers(cells, [(2, 3, 8, 0), (2, 3, 8, 1), (4, 8, 3, 0), (12, 0, 8, 0)], 8)
    columns = kept.all(1)
    assert np.array_equal(columns, kept.any(1)), "the mask has columns alone"
    assert columns.tolist() == [
        [True, True, True, *[False] * 5],  # of the third half: columns 4 and 5
        [True, True, True, *[False] * 5], [*[False] * 5, True, True, True],  # a cell each
        [True, True, True, *[False] * 5],  # 3 / 8 of a cell each: 9/8 of the 1 that there is
        [*[False] * 4, *[True] * 4]]  # beyond the edge there is nothing to write


def test_a_mask_that_leaves_nothing_to_write_is_refused() -> None:
    cells = np.ones((16, 16), bool)
    cells[0, 0] = False
    with pytest.raises(InvalidRequest, match="The mask keeps all codes"):
        kept_in_layers(cells, [(4, 4, 4, 0)], 8)
    assert not kept_in_layers(cells, [(0, 0, 4, 0)], 8)[1, :2, :2].any()
    with pytest.raises(InvalidRequest, match="The mask keeps none of the codes"):
        kept_in_layers(~cells, [(4, 4, 4, 0)], 8)


def test_a_seed_writes_the_same_alone_and_among_others(cache: ModelCache) -> None:
    several = CompletePicture(picture(), "a cat", "left", BOLD, seed=2**32 - 1, count=3).answer(
        cache)
    assert several.seeds == (2**32 - 1, 0, 1)
    for codes, drawn, seed in zip(several.codes, several.pictures, several.seeds, strict=True):
        alone = CompletePicture(picture(), "a cat", "left", BOLD, seed=seed, count=1).answer(cache)
        assert np.array_equal(alone.codes[0], codes)
        assert np.array_equal(alone.pictures[0], drawn)


def test_a_picture_is_gone_on_with_as_it_was_written(cache: ModelCache) -> None:
    """Half of its own codes, its own prompt and its own seed give the whole of it again."""
    written = Written("a cat", 4, DalleOptions(temperature=1.0, negative_prompt="a dog"))
    with cache.lease(TRANSFORMER) as model:
        own = write_again(written, model)
    for mask in ("upper", "left", "checker"):
        found = CompletePicture(own.picture, "a cat", mask, written.options, 4, 1, written).answer(
            cache)
        assert not found.reread
        assert len(found.kept) == len(own.codes) > 1
        assert np.array_equal(found.codes[0], own.codes), mask
    other = CompletePicture(picture(), "a cat", "upper", written=written).answer(cache)
    assert other.reread, "another file's facts"


def test_what_stays_is_shown_alone(cache: ModelCache) -> None:
    plan = np.array(to_tokens(Plan("photo", "white", (Spot(0, 8, 6, False),))))
    with cache.lease(TRANSFORMER) as model:
        codes = np.random.default_rng(1).integers(0, 125, (2, 8, 8))
        kept = kept_in_layers(shaped("upper", 16), [(0, 8, 6, 0)], 8)
        stays, whole = (draw_kept(plan, codes, each, model) for each in (kept, kept | True))
        drawn = draw_picture(plan, codes, model)
    assert not kept[1].any(), "the thing stands below"
    assert np.abs(whole.astype(int) - drawn).max() <= 1
    assert np.array_equal(stays[:120], whole[:120])
    beside, dark = whole[136:, 104:], stays[136:, 104:]
    np.testing.assert_allclose(dark, 0.18 * beside, atol=1)
    assert stays[136:, :96].max() <= 0.18 * 255 + 1, "of the thing nothing is there"
    assert whole[136:, :96].max() > 60


def test_codes_after_what_stays_are_drawn_from_what_it_says(cache: ModelCache) -> None:
    """The first block after a kept one, by a full pass under teacher forcing."""
    image, options = picture(), DalleOptions(guidance_scale=1.0, temperature=1.0, top_k=0)
    found = CompletePicture(image, "a cow", "upper", options, seed=9, count=1).answer(cache)
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        codes, plan = torch.from_numpy(found.codes), torch.from_numpy(found.plan)[None]
        ids, states = read_texts(model, ["a cow"])
        logits = model(ids, codes, states, plan, slots_of(plan)).codes[0]  # (steps, T, values)
        tokens = model.to_blocks(codes)[0]
        generator = torch.Generator().manual_seed(9)
        for _ in range(model.config.plan_length):  # of the plan's tokens, which stay
            torch.rand(model.config.plan_vocab_size, generator=generator)
        for place in range(len(tokens)):
            uniform = torch.rand((model.block_codes, model.config.codebook_size),
                                 generator=generator)
            noise = -(-uniform.log()).log()
            drawn = choose(logits[place], noise, 1.0, 0, 1.0)
            if place % model.layer_steps >= model.layer_steps // 2:
                assert torch.equal(drawn, tokens[place]), place


def test_tokens_that_are_given_stand_in_their_block(cache: ModelCache) -> None:
    with cache.lease(TRANSFORMER) as model:
        writing = begin(model, *read_texts(model, ["a cat", ""]), [1, 2], True)
        given = torch.full((model.block_codes,), -1)
        given[2:4] = torch.tensor([5, 7])
        write_block(model, writing, BOLD, given)
        write_block(model, writing, BOLD, torch.arange(model.block_codes))
        first, second = writing.blocks
    assert first[:, 2:4].tolist() == [[5, 7]] * 2
    assert second.tolist() == [list(range(8))] * 2


@pytest.mark.parametrize(("fields", "says"), [
    ({"prompt": " "}, "The prompt is empty: say what the picture shows."),
    ({"seed": -1}, "Seed must be a whole number between 0 and 4294967295, not -1."),
    ({"seed": True}, "Seed must be a whole number between 0 and 4294967295, not True."),
    ({"seed": 1.5}, "Seed must be a whole number between 0 and 4294967295, not 1.5."),
    ({"count": 9}, "Completions must be a whole number between 1 and 8, not 9."),
    ({"count": None}, "Completions must be a whole number between 1 and 8, not None."),
])
def test_what_cannot_be_asked_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CompletePicture(**{"image": picture(), "prompt": "a cat", **fields})
    assert str(caught.value) == says


def test_completing_is_refused_and_stopped(cache: ModelCache) -> None:
    with pytest.raises(InvalidRequest, match="The mask keeps all codes"):
        CompletePicture(picture(), "a cat", np.ones((3, 3), bool)).answer(cache)
    with pytest.raises(InvalidRequest, match="The mask keeps none of the codes"):
        CompletePicture(picture(), "a cat", np.zeros((3, 3), bool)).answer(cache)
    polls = iter([False] * 6 + [True])
    with pytest.raises(Cancelled):
        CompletePicture(picture(), "a cat").answer(cache, lambda: next(polls, True))


@pytest.mark.weights("dalle", "layer-vqgan", "minilm")
def test_the_embedded_transformer_goes_on_with_a_cat() -> None:
    cache = build_cache(EngineSettings(device="cpu"))
    with cache.lease(TRANSFORMER) as model:
        cat = write_again(CAT, model)
    found = CompletePicture(cat.picture, CAT.prompt, "upper", CAT.options, CAT.seed, 1,
                            CAT).answer(cache)
    assert not found.reread
    assert np.array_equal(found.pictures[0], found.picture), "its own prompt and seed"
    other = CompletePicture(cat.picture, "four cats", "left", seed=CAT.seed, count=1,
                            written=CAT).answer(cache)
    assert (other.codes != found.codes)[0][~other.kept].mean() > 0.1, "another prompt"
    assert np.array_equal(other.codes[0][other.kept], cat.codes[other.kept])
    cache.close()

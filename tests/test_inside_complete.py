"""Pictures that DALL·E's transformer goes on with, against the transformer asked directly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.images import load_image
from pipelines.core.metadata import read_png
from pipelines.core.settings import EngineSettings
from pipelines.dalle import TRANSFORMER, DalleOptions, begin, write_block
from pipelines.engine import build_cache
from pipelines.inside.codes import CODER, ReadCodes, draw_grids
from pipelines.inside.complete import CompletePicture
from pipelines.inside.mask import shaped
from pipelines.inside.stream import Written, texts_for, write_again, written_by
from pipelines.models.cache.cache import ModelCache
from pipelines.sampling import choose
from tests.conftest import REPOSITORY
from tests.small_models import small_cache

CAT = REPOSITORY / "assets" / "samples" / "3-an-orange-cat-and-a-blue-umbrella.png"
BOLD = DalleOptions(temperature=1.0, top_k=0)


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def picture(height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("mask", ["upper", "left", "checker", np.eye(8, dtype=bool),
                                  ~shaped("upper", 8)])
def test_what_is_kept_stays_and_the_rest_is_written(cache: ModelCache, mask: Any) -> None:
    image = picture(50, 90)
    codes = ReadCodes(image).answer(cache)
    found = CompletePicture(image, "a red apple", mask, BOLD, seed=3, count=2).answer(cache)
    assert found.reread
    assert found.seeds == (3, 4)
    assert np.array_equal(found.kept, shaped(mask, 8) if isinstance(mask, str) else mask)
    assert np.array_equal(found.picture, codes.reconstruction)
    for grid in found.grids:
        assert np.array_equal(grid[found.kept], codes.grid[found.kept])
        assert not np.array_equal(grid, codes.grid)
    assert not np.array_equal(*found.grids)
    with cache.lease(CODER) as vqgan:
        for grid, pixels in zip(found.grids, found.pictures, strict=True):
            assert np.array_equal(pixels, draw_grids(grid[None], vqgan)[0])


def test_a_seed_writes_the_same_alone_and_among_others(cache: ModelCache) -> None:
    several = CompletePicture(picture(), "a cat", "left", BOLD, seed=2**32 - 1, count=3).answer(
        cache)
    assert several.seeds == (2**32 - 1, 0, 1)
    for grid, drawn, seed in zip(several.grids, several.pictures, several.seeds, strict=True):
        alone = CompletePicture(picture(), "a cat", "left", BOLD, seed=seed, count=1).answer(cache)
        assert np.array_equal(alone.grids[0], grid)
        assert np.array_equal(alone.pictures[0], drawn)


def test_a_picture_is_gone_on_with_as_it_was_written(cache: ModelCache) -> None:
    """Half of its own codes, its own prompt and its own seed give the whole of it again."""
    written = Written("a cat", 4, DalleOptions(temperature=1.0, negative_prompt="a dog"))
    with cache.lease(TRANSFORMER) as model, cache.lease(CODER) as vqgan:
        grid = write_again(written, model)
        drawn = draw_grids(grid[None], vqgan)[0]
    for mask in ("upper", "left", "checker"):
        found = CompletePicture(drawn, "a cat", mask, written.options, 4, 1, written).answer(cache)
        assert not found.reread
        assert np.array_equal(found.grids[0], grid), mask
    other = CompletePicture(picture(), "a cat", "upper", written=written).answer(cache)
    assert other.reread, "another file's facts"


def test_codes_after_what_stays_are_drawn_from_what_it_says(cache: ModelCache) -> None:
    """The first block after a kept one, by a full pass under teacher forcing."""
    image, options = picture(), DalleOptions(guidance_scale=1.0, temperature=1.0, top_k=0)
    found = CompletePicture(image, "a cow", "upper", options, seed=9, count=1).answer(cache)
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        codes = torch.from_numpy(found.grids)
        logits = model(texts_for(model, "a cow")[:1], codes).codes[0]  # (steps, T, values)
        tokens = model.to_blocks(codes)[0]
        generator = torch.Generator().manual_seed(9)
        for place in range(model.num_steps):
            uniform = torch.rand((model.block_codes, model.config.codebook_size),
                                 generator=generator)
            noise = -(-uniform.log()).log()
            drawn = choose(logits[place], noise, 1.0, 0, 1.0)
            if place >= model.num_steps // 2:
                assert torch.equal(drawn, tokens[place]), place


def test_tokens_that_are_given_stand_in_their_block(cache: ModelCache) -> None:
    with cache.lease(TRANSFORMER) as model:
        writing = begin(model, texts_for(model, "a cat"), [1, 2], True)
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


@pytest.mark.weights("dalle", "vqgan")
def test_the_embedded_transformer_goes_on_with_a_cat() -> None:
    cache = build_cache(EngineSettings(device="cpu"))
    data = CAT.read_bytes()
    written = written_by(dict(read_png(data)["easel"]))
    assert written is not None
    found = CompletePicture(load_image(data), written.prompt, "upper", written.options,
                            written.seed, 1, written).answer(cache)
    assert not found.reread
    assert np.array_equal(found.pictures[0], found.picture), "its own prompt and seed"
    other = CompletePicture(load_image(data), "four cats", "left", seed=written.seed, count=1,
                            written=written).answer(cache)
    assert (other.grids != found.grids)[:, :, 8:].mean() > 0.1, "another prompt"
    cache.close()

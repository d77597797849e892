"""What DALL·E expected of a picture: each figure against the transformer asked directly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from easel.ui.inside.looked import render_maps, render_words
from easel.ui.inside.stream import render_stream, telling
from easel.words import strings
from easel.words.language import PORTUGUESE, speaking
from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.images import load_image
from pipelines.core.metadata import read_png
from pipelines.core.settings import EngineSettings
from pipelines.dalle import TRANSFORMER, DalleOptions, begin, write_block
from pipelines.engine import build_cache
from pipelines.inside.attention import looked_at
from pipelines.inside.blocks import block_logits, codes_in, draw_blocks, likeliest_blocks
from pipelines.inside.codes import CODER, ReadCodes, draw_grids
from pipelines.inside.stream import ReadStream, Written, write_again, written_by
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.dalle import ImageTransformer, TransformerConfig
from pipelines.models.pixels import to_uint8
from pipelines.sampling import guide, truncate
from tests.conftest import REPOSITORY
from tests.small_models import LEARNED, small_cache

CAT = REPOSITORY / "assets" / "samples" / "3-an-orange-cat-and-a-blue-umbrella.png"


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def picture(side_px: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), np.uint8)


def test_the_page_opens_on_a_block_that_tells_something(cache: ModelCache) -> None:
    found = ReadStream(picture(), "a red apple").answer(cache)
    likely, without = np.full_like(found.likely, 0.1), np.full_like(found.likely, 0.1)
    likely[4, 0], without[4, 0] = 1e-3, 1e-6  # much, but of what is hardly likely at all
    likely[7, 0] = 0.3
    told = replace(found, likely=likely, likely_without=without)
    assert telling(told) == (7, True)
    likely[9, 0], without[9, 0] = 0.9, 0.02
    assert telling(told) == (9, True)
    assert telling(replace(told, likely=likely * 1e-3, likely_without=without * 1e-3)) == (9, True)
    page = render_stream(replace(told, surprise=np.arange(16, dtype=np.float32)), "a red apple")
    assert '<div data-cell="9"><table' in page
    assert f'{strings.STREAM_MOST.format(4, 4, "15.00")} {strings.STREAM_FIRST}' in page
    assert escape(strings.STREAM_REREAD) in page
    assert strings.STREAM_LEGEND.format("15.00") in page


def test_the_page_opens_on_the_most_surprising_block_where_the_caption_adds_nothing(
        cache: ModelCache) -> None:
    found = ReadStream(picture(), "a red apple").answer(cache)
    likely, without = np.full_like(found.likely, 0.1), np.full_like(found.likely, 0.1)
    likely[7, 0], without[7, 0] = 0.999, 0.998
    told = replace(found, likely=likely, likely_without=without,
                   surprise=np.arange(16, 0, -1, dtype=np.float32))
    assert telling(told) == (0, False)
    page = render_stream(told, "a red apple")
    assert '<div data-cell="0"><table' in page
    assert f'{strings.STREAM_MOST.format(1, 1, "16.00")} {strings.STREAM_FIRST_MOST}' in page
    assert strings.STREAM_FIRST not in page


def test_the_pieces_of_a_word_are_looked_at_together(cache: ModelCache) -> None:
    found = ReadStream(picture(), "a red apple").answer(cache).looked
    shares = np.full_like(found.shares, 0.1)
    looked = replace(found, words=("three", "banana", "##s"), shares=shares)
    for page in (render_words(looked, 3), render_maps(looked, picture(), 4)):
        assert "#" not in page.replace("&#", "")
        assert "banana" not in page.replace("bananas", "")
    assert "bananas <small>20.0 %</small>" in render_words(looked, 3)
    assert strings.LOOKED_MAP.format("bananas", "20.0 %") in render_maps(looked, picture(), 4)


def test_each_block_says_why_it_surprised(cache: ModelCache) -> None:
    found = ReadStream(picture(), "a red apple").answer(cache)
    np.testing.assert_allclose(found.likely[:, 0], np.exp(-found.surprise), rtol=1e-4)
    likely = np.full_like(found.likely, 0.01)
    likely[0, 0], likely[1, :2], likely[2, :2] = 0.75, (0.3, 0.3), (1.088e-5, 0.5)
    likely[3], likely[3, 0] = 0.0004, 1e-9
    page = render_stream(replace(found, likely=likely), "a red apple")
    nats = [f"{float(each):.2f}" for each in found.surprise]
    for said in (strings.STREAM_SURE.format(nats[0], "75.0 %"),
                 strings.STREAM_MANY.format(nats[1], "30.0 %"),
                 strings.STREAM_OTHER.format(nats[2], "1 in 92,000", "50.0 %"),
                 strings.STREAM_OTHER.format(nats[3], "< 1 in 1,000,000", "1 in 2,500")):
        assert escape(said) in page
    assert page.count("A surprise of ") == 1 + len(nats)
    with speaking(PORTUGUESE):
        assert "1 em 92.000" in render_stream(replace(found, likely=likely), "uma maçã")


def tiny() -> ImageTransformer:
    """A transformer so small that all blocks can be asked: 4 values, 1 × 1 codes of 2 digits."""
    torch.manual_seed(0)
    model = ImageTransformer(TransformerConfig(text_vocab_size=8, text_length=4, codebook_size=4,
                                               digits=2, grid=2, patch=1, dim=16, depth=1, heads=2,
                                               code_dim=8, head_dim=16))
    model.initialise()
    torch.nn.init.normal_(model.head.weight, std=1.0)
    torch.nn.init.normal_(model.head_past, std=0.5)
    return model.requires_grad_(False)


def test_surprise_is_what_teacher_forcing_says(cache: ModelCache) -> None:
    image = picture()
    found = ReadStream(image, "a red apple").answer(cache)
    codes = torch.from_numpy(ReadCodes(image).answer(cache).grid)[None]
    ids = load_vocabulary()(["a red apple", ""], context_length=32)
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        tokens = model.to_blocks(codes)
        for row, said in ((0, found.surprise), (1, found.without)):
            logits = model(ids[row:row + 1], codes).codes.log_softmax(-1)
            expected = -logits.gather(-1, tokens[..., None])[0, ..., 0].sum(-1)
            np.testing.assert_allclose(said, expected.numpy(), rtol=1e-4)
        assert np.array_equal(found.blocks[:, 0], tokens[0].numpy())
    assert found.side == 4
    np.testing.assert_allclose(found.likely[:, 0], np.exp(-found.surprise), rtol=1e-4)
    assert not np.allclose(found.surprise, found.without)
    assert (np.diff(found.likely[:, 1:]) <= 0).all(), "the likeliest first"
    assert (found.likely[:, 1] >= found.likely[:, 0] * 0.999).all()


def test_the_beam_finds_the_likeliest_of_all_blocks() -> None:
    model = tiny()
    hidden = torch.randn(3, 16)
    every = torch.tensor(list(product(range(4), repeat=2)))
    logits = block_logits(model, hidden, every.expand(3, -1, -1)).log_softmax(-1)
    scores = logits.gather(-1, every.expand(3, -1, -1)[..., None])[..., 0].sum(-1)
    assert torch.allclose(scores.exp().sum(-1), torch.ones(3), atol=1e-5)
    for beams in (4, 16):
        found = likeliest_blocks(model, hidden, 3, beams)
        best = scores.argsort(-1, descending=True)[:, :3]
        assert torch.equal(found, every[best]), beams


def test_the_head_says_the_same_as_when_it_draws(cache: ModelCache) -> None:
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        hidden = torch.randn(2, model.config.dim)
        seen: list[Tensor] = []

        def choose(logits: Tensor) -> Tensor:
            seen.append(logits)
            return logits.argmax(-1)

        block = model.sample_block(hidden, choose)
        logits = block_logits(model, hidden, block[:, None])[:, 0]
        one = block_logits(model, hidden, block[:, None], 3)[:, 0, 0]
    torch.testing.assert_close(logits, torch.stack(seen, 1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one, seen[3], rtol=1e-4, atol=1e-4)


def test_what_is_drawn_is_what_guidance_and_the_cuts_leave(cache: ModelCache) -> None:
    image, ids = picture(), load_vocabulary()(["a red apple", ""], context_length=32)
    options = DalleOptions(guidance_scale=3.0, temperature=0.5, top_k=4, top_p=0.9)
    found = ReadStream(image, "a red apple", options).answer(cache)
    codes = torch.from_numpy(ReadCodes(image).answer(cache).grid)[None]
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        logits = model(ids, codes.expand(2, -1, -1)).codes[:, 5]  # (2, T, values)
        kept = truncate(guide(logits[0], logits[1], 3.0) / 0.5, 4, 0.9).softmax(-1)
        own = model.to_blocks(codes)[0, 5]
        expected = float(kept.gather(-1, own[:, None]).prod())
    assert found.drawn[5, 0] == pytest.approx(expected, rel=1e-3, abs=1e-7)
    free = ReadStream(image, "a red apple", DalleOptions(
        guidance_scale=1.0, temperature=1.0, top_k=0, top_p=1.0)).answer(cache)
    np.testing.assert_allclose(free.drawn, free.likely, rtol=1e-3)
    greedy = ReadStream(image, "a red apple", DalleOptions(
        guidance_scale=1.0, temperature=0.1, top_k=1, top_p=1.0)).answer(cache)
    assert set(np.unique(greedy.drawn.round(4)).tolist()) <= {0.0, 1.0}


def test_blocks_are_drawn_in_their_place(cache: ModelCache) -> None:
    grid = ReadCodes(picture()).answer(cache).grid
    with cache.lease(TRANSFORMER) as model, cache.lease(CODER) as vqgan, torch.no_grad():
        own = model.to_blocks(torch.from_numpy(grid)[None])[0][:, None]  # (N, 1, T)
        assert np.array_equal(codes_in(model, own)[5, 0].numpy(), grid[2:4, 2:4])
        drawn = draw_blocks(grid, model, vqgan, own)
        window = to_uint8(vqgan.decode_indices(torch.from_numpy(grid[None, 1:5, 1:5])))[0]
    assert drawn.shape == (16, 1, 16, 16, 3)
    assert np.abs(drawn[5, 0].astype(int) - window).max() <= 1


def test_what_cannot_be_asked_is_refused(cache: ModelCache) -> None:
    with pytest.raises(InvalidRequest, match="The prompt is empty"):
        ReadStream(picture(), " ")
    with pytest.raises(Cancelled):
        ReadStream(picture(), "a cat").answer(cache, lambda: True)
    other = small_cache(LEARNED.__class__(**{**LEARNED.__dict__, "resolution": 64}))
    with pytest.raises(InvalidRequest, match="writes 8 × 8 codes, and the VQGAN reads 16 × 16"):
        ReadStream(picture(), "a cat").answer(other)
    other.close()


def test_a_picture_is_written_again_as_it_was(cache: ModelCache) -> None:
    options = DalleOptions(temperature=1.0, negative_prompt="a dog")
    with cache.lease(TRANSFORMER) as model, cache.lease(CODER) as vqgan:
        writing = begin(model, load_vocabulary()(["a cat", "a dog"], context_length=32), [3, 4],
                        True)
        for _ in range(model.num_steps):
            write_block(model, writing, options)
        grids = model.to_grid(torch.stack(writing.blocks, 1)).numpy()
        written = Written("a cat", 4, options)
        assert np.array_equal(write_again(written, model), grids[1])
        drawn = draw_grids(grids[1:], vqgan)[0]
        tokens = model.to_blocks(torch.from_numpy(grids[1:]))[0].numpy()
    found = ReadStream(drawn, "a cow", written=written).answer(cache)
    assert not found.reread
    assert np.array_equal(found.blocks[:, 0], tokens)
    assert np.array_equal(found.picture, drawn)
    other = ReadStream(picture(), "a cow", written=written).answer(cache)
    assert other.reread, "another file's facts"
    assert ReadStream(picture(), "a cow").answer(cache).reread
    with pytest.raises(Cancelled), cache.lease(TRANSFORMER) as model:
        write_again(written, model, lambda: True)


def test_a_file_says_what_it_was_written_by() -> None:
    facts = dict(read_png(CAT.read_bytes())["easel"])
    assert written_by(facts) == Written("an orange cat and a blue umbrella", 9, DalleOptions())
    for wrong in ({"pipeline": "unclip"}, {"seed": -1}, {"seed": "9"}, {"prompt": 5},
                  {"options": {"temperature": "hot"}}, {"options": None},
                  {"options": {"model": "other/dalle"}}, {"seed": True}, {"seed": 2**32},
                  {"seed": None}, {"seed": 7.0}, {"prompt": "\ud800 x"}, {"prompt": "a\0b"},
                  {"prompt": " "}, {"prompt": "a " * 300}, {"prompt": None},
                  {"options": {"negative_prompt": "\udc00"}}, {"options": {"top_k": True}},
                  {"options": {"negative_prompt": "a " * 300}}, {"options": {"\ud800": 1}},
                  {"options": {"temperature": math.nan}}, {"options": []}, {"options": [["a"]]},
                  {"pipeline": ["dalle"]}):
        assert written_by({**facts, **wrong}) is None, wrong
    assert written_by({}) is None


@pytest.mark.weights("dalle", "vqgan")
def test_the_caption_makes_the_embedded_transformer_less_surprised() -> None:
    cache = build_cache(EngineSettings(device="cpu"))
    data = CAT.read_bytes()
    written = written_by(dict(read_png(data)["easel"]))
    assert written is not None
    found = ReadStream(load_image(data), written.prompt, written=written).answer(cache)
    assert not found.reread
    assert found.patches.shape == (64, 6, 32, 32, 3)
    assert found.surprise.sum() < found.without.sum() / 2
    other = ReadStream(load_image(data), "a giraffe at night", written=written).answer(cache)
    assert found.surprise.sum() < other.surprise.sum() / 2
    again = ReadStream(load_image(data), written.prompt).answer(cache)
    assert again.reread
    assert again.surprise.sum() > 5 * found.surprise.sum(), "as the page says"
    cache.close()


def test_what_was_looked_at_is_what_the_layers_weigh(cache: ModelCache) -> None:
    """Each layer's softmax, by its own queries and keys; the pass itself is the same."""
    codes = torch.from_numpy(ReadCodes(picture()).answer(cache).grid)[None]
    ids = load_vocabulary()(["a red apple"], context_length=32)
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        tokens = model.to_blocks(codes)
        came: list[tuple[Tensor, Tensor]] = []
        hooks = [block.register_forward_pre_hook(lambda _, given: came.append(given))
                 for block in model.blocks]
        _, hidden = model.trunk(ids, tokens)
        for hook in hooks:
            hook.remove()
        shares = []
        for block, (x, mask) in zip(model.blocks, came, strict=True):
            q, k, _ = block.attn.split(block.norm(x))
            scores = (q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5
            shares.append(scores.masked_fill(~mask, -torch.inf).softmax(-1)[0, :, 32:])
        expected = torch.stack(shares).mean((0, 1))  # (N, 32 + N)
        found = looked_at(ids[0], tokens[0], model)
        assert torch.equal(model.trunk(ids, tokens)[1], hidden)
    assert found.words == ("a", "red", "apple")
    np.testing.assert_allclose(found.shares, expected[:, 1:4].numpy(), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.marks, expected[:, [0, 4]].sum(-1).numpy(), rtol=1e-4)
    np.testing.assert_allclose(found.shares.sum(1) + found.marks + found.picture, 1, rtol=1e-4)
    assert found.picture[0] == pytest.approx(float(expected[0, 32]), rel=1e-4), "its own place"
    stream = ReadStream(picture(), "a red apple").answer(cache)
    assert np.array_equal(stream.looked.shares, found.shares)


@pytest.mark.weights("dalle", "vqgan")
def test_the_embedded_transformer_looks_at_a_thing_where_it_begins() -> None:
    cache = build_cache(EngineSettings(device="cpu"))
    data = CAT.read_bytes()
    written = written_by(dict(read_png(data)["easel"]))
    assert written is not None
    found = ReadStream(load_image(data), written.prompt, written=written).answer(cache)
    columns = {word: int(found.looked.shares[:, at].argmax()) % found.side
               for at, word in enumerate(found.looked.words)}
    assert columns["cat"] < found.side // 2 <= columns["umbrella"], "the cat stands on the left"
    cache.close()

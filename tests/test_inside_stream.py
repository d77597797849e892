"""What DALL·E expected of a picture: each figure against the transformer asked directly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html import escape
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from easel.ui.inside.looked import render_maps, render_words
from easel.ui.inside.planned import render_plan
from easel.ui.inside.stream import render_stream, telling
from easel.words import strings
from easel.words.language import PORTUGUESE, speaking
from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.settings import EngineSettings
from pipelines.dalle import TRANSFORMER, DalleOptions, read_texts
from pipelines.engine import build_cache
from pipelines.inside.attention import looked_at
from pipelines.inside.blocks import block_logits, codes_in, draw_blocks, likeliest_blocks
from pipelines.inside.layers import Stage, draw_layers, each_layer, over_checks, vqgan_of
from pipelines.inside.planned import PlanToken
from pipelines.inside.stream import ReadStream
from pipelines.inside.written import Layers, Written, read_layers, write_again
from pipelines.models.cache.cache import ModelCache
from pipelines.models.dalle import ImageTransformer, TransformerConfig
from pipelines.sampling import guide, truncate
from pipelines.world.plans import slots_of
from tests.small_models import small_cache

CAT = Written("an orange cat and a blue umbrella", 18, DalleOptions())
STEPS = 16  # blocks of a layer


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def picture(side_px: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), np.uint8)


def read(cache: ModelCache, image: np.ndarray) -> Layers:
    with cache.lease(TRANSFORMER) as model:
        return read_layers(image, model)


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
    page = render_stream(replace(told, surprise=np.arange(32, dtype=np.float32)), "a red apple")
    assert '<div data-cell="9"><table' in page
    last = strings.STREAM_AT.format(4, 4, strings.LAYER_OF_THING.format(1))
    assert escape(f'{strings.STREAM_MOST.format(last, "31.00")} {strings.STREAM_FIRST}') in page
    assert escape(strings.STREAM_REREAD) in page
    assert strings.STREAM_LEGEND.format("31.00") in page


def test_the_page_opens_on_the_most_surprising_block_where_the_caption_adds_nothing(
        cache: ModelCache) -> None:
    found = ReadStream(picture(), "a red apple").answer(cache)
    likely, without = np.full_like(found.likely, 0.1), np.full_like(found.likely, 0.1)
    likely[7, 0], without[7, 0] = 0.999, 0.998
    told = replace(found, likely=likely, likely_without=without,
                   surprise=np.arange(32, 0, -1, dtype=np.float32))
    assert telling(told) == (0, False)
    page = render_stream(told, "a red apple")
    assert '<div data-cell="0"><table' in page
    first = strings.STREAM_AT.format(1, 1, strings.LAYER_OF_GROUND)
    most = strings.STREAM_MOST.format(first, "32.00")
    assert escape(f"{most} {strings.STREAM_FIRST_MOST}") in page
    assert strings.STREAM_FIRST not in page


def test_the_plan_is_told_in_words() -> None:
    tokens = (PlanToken("style", 0, "fluent3d", True, 0.5, 4e-4, (("photo", 0.25), ("noto", 0.1))),
              PlanToken("way", 1, "once, mirrored", False, 0.5, 0.5, (("drafted", 0.5),)),
              PlanToken("column", 2, None, False, 0.9, 0.6, ((3, 0.1),)))
    page = render_plan(tokens)
    for said in ("Fluent emoji, 3D, set by an option", "photograph (25.0 %), Noto emoji (10.0 %)",
                 "Thing 1, way", "<b>at once, mirrored</b>", "drafted (50.0 %)", "&lt; 0.1 %",
                 "no further thing",
                 "All tokens together: 1.5 nats with this caption, 9.0 without one."):
        assert said in page
    assert "<details class=\"inside-means stream-plan\" open>" in page
    assert " open>" not in render_plan(tokens * 4), "a long one is folded away"
    never = render_plan([replace(tokens[0], likely=0), *tokens[1:]])
    assert "All tokens together" not in never
    assert "<td>0 %</td>" in never
    with speaking(PORTUGUESE):
        said = render_plan(tokens)
    assert "emoji Fluent, 3D, fixado por uma opção" in said
    assert "fotografia (25,0 %)" in said


def test_the_pieces_of_a_word_are_looked_at_together(cache: ModelCache) -> None:
    found = ReadStream(picture(), "a red apple").answer(cache)
    shares = np.full_like(found.looked.shares, 0.1)
    shares[STEPS:, 1:] = 0.2
    looked = replace(found.looked, words=("three", "banana", "##s"), shares=shares)
    maps = render_maps(looked, found.layers, found.stages, 4)
    for page in (render_words(looked, 3), maps):
        assert "#" not in page.replace("&#", "")
        assert "banana" not in page.replace("bananas", "")
    assert "bananas <small>20.0 %</small>" in render_words(looked, 3)
    assert strings.LOOKED_MAP.format("bananas", "40.0 %") in maps
    thing = strings.LAYER_THING.format(1)
    assert strings.LOOKED_LAYER.format("bananas", strings.LAYER_GROUND, "20.0 %") in maps
    assert strings.LOOKED_LAYER.format("bananas", thing, "40.0 %") in maps
    assert maps.count("<img") == 2 * 2


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
    found, own = ReadStream(image, "a red apple").answer(cache), read(cache, image)
    codes, plan = torch.from_numpy(own.codes)[None], torch.from_numpy(own.plan)[None]
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        tokens = model.to_blocks(codes)
        for text, said in (("a red apple", found.surprise), ("", found.without)):
            ids, states = read_texts(model, [text])
            logits = model(ids, codes, states, plan, slots_of(plan)).codes.log_softmax(-1)
            expected = -logits.gather(-1, tokens[..., None])[0, ..., 0].sum(-1)
            np.testing.assert_allclose(said, expected.numpy(), rtol=1e-4)
        assert np.array_equal(found.blocks[:, 0], tokens[0].numpy())
        assert np.array_equal(found.layers, each_layer(own.codes, vqgan_of(model)))
    assert (found.side, len(found.layers)) == (4, 2)
    assert np.array_equal(found.codes, own.codes)
    assert [found.place(number) for number in (0, 6, STEPS + 6)] == [
        (0, 0, 0), (0, 1, 2), (1, 1, 2)]
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
    image, at = picture(), STEPS + 5
    options = DalleOptions(guidance_scale=3.0, temperature=0.5, top_k=4, top_p=0.9)
    found, own = ReadStream(image, "a red apple", options).answer(cache), read(cache, image)
    codes, plan = torch.from_numpy(own.codes)[None], torch.from_numpy(own.plan)[None]
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        ids, states = read_texts(model, ["a red apple", ""])
        plans = plan.expand(2, -1)
        both = codes.expand(2, -1, -1, -1)
        logits = model(ids, both, states, plans, slots_of(plans)).codes[:, at]
        kept = truncate(guide(logits[0], logits[1], 3.0) / 0.5, 4, 0.9).softmax(-1)
        own_block = model.to_blocks(codes)[0, at]
        expected = float(kept.gather(-1, own_block[:, None]).prod())
    assert found.drawn[at, 0] == pytest.approx(expected, rel=1e-3, abs=1e-7)
    free = ReadStream(image, "a red apple", DalleOptions(
        guidance_scale=1.0, temperature=1.0, top_k=0, top_p=1.0)).answer(cache)
    np.testing.assert_allclose(free.drawn, free.likely, rtol=1e-3)
    greedy = ReadStream(image, "a red apple", DalleOptions(
        guidance_scale=1.0, temperature=0.1, top_k=1, top_p=1.0)).answer(cache)
    assert set(np.unique(greedy.drawn.round(4)).tolist()) <= {0.0, 1.0}


def test_blocks_are_drawn_in_their_place(cache: ModelCache) -> None:
    codes = read(cache, picture()).codes
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        vqgan = vqgan_of(model)
        own = model.to_blocks(torch.from_numpy(codes)[None])[0][:, None]  # (N, 1, T)
        assert np.array_equal(codes_in(model, own)[STEPS + 5, 0].numpy(), codes[1, 2:4, 2:4])
        drawn = draw_blocks(codes, model, own)
        windows = draw_layers(codes[:, 1:5, 1:5], vqgan)
    assert drawn.shape == (2 * STEPS, 1, 64, 64, 3)
    for layer in (0, 1):
        expected = over_checks(windows[layer:layer + 1], layer == 0)[0].astype(int)
        assert np.abs(drawn[layer * STEPS + 5, 0] - expected).max() <= 1


def test_what_is_transparent_shows_checks() -> None:
    layer = torch.zeros(1, 4, 16, 16)
    layer[:, 0, :, :8], layer[:, 3, :, :8] = 0.5, 0.5  # red, half covering
    thing, ground = over_checks(layer, False)[0], over_checks(layer, True)[0]
    assert thing[0, 8].tolist() == [209] * 3
    assert thing[8, 8].tolist() == [240] * 3
    assert thing[0, 0].tolist() == [247, 120, 120]
    assert ground[0, 0].tolist() == [128, 0, 0], "nothing is behind it"


def test_what_cannot_be_asked_is_refused(cache: ModelCache) -> None:
    with pytest.raises(InvalidRequest, match="The prompt is empty"):
        ReadStream(picture(), " ")
    with pytest.raises(Cancelled):
        ReadStream(picture(), "a cat").answer(cache, lambda: True)


def test_what_was_looked_at_is_what_the_layers_weigh(cache: ModelCache) -> None:
    """Each layer's softmax, by its own queries and keys; the pass itself is the same."""
    own = read(cache, picture())
    codes, plan = torch.from_numpy(own.codes)[None], torch.from_numpy(own.plan)[None]
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        ids, states = read_texts(model, ["a red apple"])
        tokens = model.to_blocks(codes)
        came: list[tuple[Tensor, Tensor]] = []
        hooks = [block.register_forward_pre_hook(lambda _, given: came.append(given))
                 for block in model.blocks]
        slots = slots_of(plan)
        _, hidden = model.trunk(ids, tokens, states, plan, slots)
        for hook in hooks:
            hook.remove()
        shares = []
        for block, (x, mask) in zip(model.blocks, came, strict=True):
            q, k, _ = block.attn.split(block.norm(x))
            scores = (q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5
            shares.append(scores.masked_fill(~mask, -torch.inf).softmax(-1)[0, :, -2 * STEPS:])
        expected = torch.stack(shares).mean((0, 1))  # (N, 5 + 1 + P + N)
        found = looked_at(ids[0], states[0], plan[0], tokens[0], model)
        assert torch.equal(model.trunk(ids, tokens, states, plan, slots)[1], hidden)
    assert found.words == ("a", "red", "apple")
    np.testing.assert_allclose(found.shares, expected[:, 1:4].numpy(), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.marks, expected[:, [0, 4]].sum(-1).numpy(), rtol=1e-4)
    begins = 5 + 1 + plan.shape[1]
    np.testing.assert_allclose(found.plan, expected[:, 5:begins].sum(-1).numpy(), rtol=1e-4)
    np.testing.assert_allclose(found.shares.sum(1) + found.marks + found.plan + found.picture, 1,
                               rtol=1e-4)
    assert found.picture[0] == pytest.approx(float(expected[0, begins]), rel=1e-4), "its own place"
    stream = ReadStream(picture(), "a red apple").answer(cache)
    np.testing.assert_allclose(stream.looked.shares, found.shares, rtol=1e-4)


@pytest.fixture(scope="module")
def embedded() -> Iterator[ModelCache]:
    built = build_cache(EngineSettings(device="cpu"))
    yield built
    built.close()


@pytest.mark.weights("dalle", "layer-vqgan", "minilm")
def test_the_caption_makes_the_embedded_transformer_less_surprised(embedded: ModelCache) -> None:
    with embedded.lease(TRANSFORMER) as model:
        cat = write_again(CAT, model).picture
    found = ReadStream(cat, CAT.prompt, written=CAT).answer(embedded)
    assert not found.reread
    assert found.stages == (Stage(0, "at once"), Stage(1, "draft"), Stage(1, "finished"),
                            Stage(2, "draft"), Stage(2, "finished"))
    assert len(found.layers) == 5
    assert found.patches.shape == (5 * STEPS, 6, 64, 64, 3)
    assert found.surprise.sum() < found.without.sum()
    other = ReadStream(cat, "a giraffe at night", written=CAT).answer(embedded)
    assert found.surprise.sum() < other.surprise.sum() / 1.5
    again = ReadStream(cat, CAT.prompt).answer(embedded)
    assert again.reread
    assert again.surprise.mean() > 2 * found.surprise.mean(), "as the page says"


@pytest.mark.weights("dalle", "layer-vqgan", "minilm")
def test_the_embedded_transformer_looks_at_a_word_in_the_layer_of_its_thing(
        embedded: ModelCache) -> None:
    with embedded.lease(TRANSFORMER) as model:
        cat = write_again(CAT, model).picture
    found = ReadStream(cat, CAT.prompt, written=CAT).answer(embedded)
    looked = found.looked
    layers = looked.shares.reshape(-1, STEPS, len(looked.words)).mean(1)
    most = {word: found.stages[int(layers[:, at].argmax())].thing
            for at, word in enumerate(looked.words)}
    assert {word: most[word] for word in ("orange", "cat", "blue", "umbrella")} == {
        "orange": 1, "cat": 1, "blue": 2, "umbrella": 2}

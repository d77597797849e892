"""What DALL·E wrote a picture by, written again or read; and what it expected of its plan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.errors import Cancelled, InvalidRequest, WeightsError
from pipelines.core.metadata import read_png
from pipelines.dalle import TRANSFORMER, DalleOptions, begin, planned, read_texts, write_block
from pipelines.dalle_layers import draw_written, plan_facts, steps_of
from pipelines.inside.layers import spots_in, vqgan_of
from pipelines.inside.planned import PlanToken, value_of
from pipelines.inside.stream import ReadStream
from pipelines.inside.written import Written, own_layers, read_layers, write_again, written_by
from pipelines.models.cache.cache import ModelCache
from pipelines.models.pixels import to_uint8
from pipelines.world.plans import TOKENS, slots_of
from tests.conftest import REPOSITORY
from tests.small_models import small_cache

CAT = REPOSITORY / "assets" / "samples" / "3-an-orange-cat-and-a-blue-umbrella.png"
PLANNED = Written("a cat", 4, DalleOptions(temperature=1.0, negative_prompt="a dog", style="blob",
                                           places="1 2 6; 8 9 5 mirrored"))


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def picture(height: int = 50, width: int = 90) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_picture_is_written_again_as_it_was(cache: ModelCache) -> None:
    options = PLANNED.options
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        ids, states = read_texts(model, ["a cat", "a dog"])
        writing = begin(model, ids, states, [3, 4], True, planned(options))
        for _ in range(steps_of(model, writing.plans)):
            write_block(model, writing, options)
        drawn = to_uint8(draw_written(model, vqgan_of(model), writing.plans, writing.blocks))[1]
        again = write_again(PLANNED, model)
        assert np.array_equal(again.plan, writing.plans[1].numpy())
        layers = steps_of(model, writing.plans[1:]) // model.layer_steps
        assert layers > 1 + len(plan_facts(writing.plans)[1]["things"]), "some are drafted"
        codes = model.to_grid(torch.stack(writing.blocks, 1))[1, :layers].numpy()
        assert np.array_equal(again.codes, codes)
        assert np.abs(again.picture.astype(int) - drawn).max() <= 1
        with pytest.raises(Cancelled):
            write_again(PLANNED, model, lambda: True)
    assert spots_in(again.plan)[:2] == [(1, 2, 6, 0), (8, 9, 5, 1)]
    found = ReadStream(drawn, "a cow", written=PLANNED).answer(cache)
    assert not found.reread
    assert np.array_equal(found.codes, codes)
    assert np.array_equal(found.picture, again.picture)
    smaller = drawn.reshape(128, 2, 128, 2, 3).mean((1, 3)).astype(np.uint8)
    with cache.lease(TRANSFORMER) as model:
        assert own_layers(drawn[::-1], PLANNED, model).reread, "another file's facts"
        assert own_layers(drawn, None, model).reread
        assert not own_layers(smaller, PLANNED, model).reread, "it was made smaller since"


def test_a_picture_is_read_as_one_thing_that_fills_it(cache: ModelCache) -> None:
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        vqgan = vqgan_of(model)
        red = np.zeros((40, 70, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
        found = read_layers(red, model)
        layer = torch.ones(1, 4, 128, 128)
        assert np.array_equal(found.codes[0], vqgan.encode(layer)[0].numpy())
        layer[:, 1:3] = -1
        assert np.array_equal(found.codes[1], vqgan.encode(layer)[0].numpy())
    assert found.reread
    assert len(found.plan) == TOKENS
    assert plan_facts(torch.from_numpy(found.plan)[None]) == [
        {"style": "photo", "background": "white",
         "things": [{"column": 0, "row": 0, "side": 16, "mirrored": False,
                     "drafted": False}]}]


def test_a_transformer_without_its_parts_is_refused() -> None:
    cache = small_cache()
    with cache.lease(TRANSFORMER) as model:
        del model.vqgan
        with pytest.raises(WeightsError, match="needs the part 'vqgan'"):
            own_layers(picture(), None, model)
    cache.close()


def test_a_vqgan_that_can_only_draw_reads_nothing() -> None:
    cache = small_cache()
    with cache.lease(TRANSFORMER) as model:
        model.vqgan.config = replace(model.vqgan.config, encoder=False)
        with pytest.raises(InvalidRequest, match="can only draw"):
            own_layers(picture(), None, model)
    cache.close()


def test_what_was_expected_of_a_plan_is_what_it_is_drawn_by(cache: ModelCache) -> None:
    """The same shares as the logits of teacher forcing have among what may stand there."""
    with cache.lease(TRANSFORMER) as model, torch.no_grad():
        again = write_again(PLANNED, model)
        found = ReadStream(again.picture, "a cow", written=PLANNED).answer(cache)
        ids, states = read_texts(model, ["a cow", ""])
        plan = torch.from_numpy(again.plan).expand(2, -1)
        codes = torch.from_numpy(again.codes).expand(2, -1, -1, -1)
        logits = model(ids, codes, states, plan, slots_of(plan)).plan
    assert logits is not None
    things = len(spots_in(again.plan))
    assert [(each.kind, each.thing) for each in found.plan[:7]] == [
        ("style", 0), ("background", 0), ("column", 1), ("row", 1), ("side", 1), ("way", 1),
        ("column", 2)]
    assert len(found.plan) == min(2 + 4 * things + 1, TOKENS)
    ends = [each for each in found.plan if each.value is None]
    assert [(each.kind, each.thing) for each in ends] == (
        [("column", things + 1)] if things < 5 else [])
    style = logits[:, 0, 1:10].softmax(-1)
    assert (found.plan[0].value, found.plan[0].given) == ("blob", True)
    assert found.plan[0].likely == pytest.approx(float(style[0, 4]), rel=1e-4)
    assert found.plan[0].likely_without == pytest.approx(float(style[1, 4]), rel=1e-4)
    rest = style[0].index_fill(0, torch.tensor(4), 0).sort(descending=True)
    assert [share for _, share in found.plan[0].others] == pytest.approx(
        rest.values[:3].tolist(), rel=1e-4)
    assert [value for value, _ in found.plan[0].others] == [
        value_of(0, 1 + at) for at in rest.indices[:3].tolist()]
    assert not found.plan[1].given
    said = [each.value for each in found.plan[2:10]]
    assert said[:3] + said[4:7] == [1, 2, 6, 8, 9, 5]
    assert said[3] in ("once", "drafted")
    assert said[7] in ("once, mirrored", "drafted, mirrored")
    second = found.plan[6]  # where a further thing may also not be, and none over the first
    assert {value for value, _ in second.others} <= {None, *range(14)}
    assert all(0 <= each.likely <= 1 for each in found.plan)
    assert isinstance(found.plan[0], PlanToken)


def test_a_thing_that_could_not_stand_there_had_no_chance(cache: ModelCache) -> None:
    """Places that are given may overlap, which the transformer never writes."""
    over = Written("a cat", 4, DalleOptions(places="1 2 6; 1 2 6"))
    with cache.lease(TRANSFORMER) as model:
        drawn = write_again(over, model).picture
    found = ReadStream(drawn, "a cat", written=over).answer(cache)
    assert not found.reread
    assert found.plan[7].likely == found.plan[7].likely_without == 0, "the second one's row"


def test_a_file_says_what_it_was_written_by() -> None:
    facts = dict(read_png(CAT.read_bytes())["easel"])
    assert written_by(facts) == Written("an orange cat and a blue umbrella", facts["seed"],
                                        DalleOptions())
    for wrong in ({"pipeline": "unclip"}, {"seed": -1}, {"seed": "9"}, {"prompt": 5},
                  {"options": {"temperature": "hot"}}, {"options": None},
                  {"options": {"model": "other/dalle"}}, {"seed": True}, {"seed": 2**32},
                  {"seed": None}, {"seed": 7.0}, {"prompt": "\ud800 x"}, {"prompt": "a\0b"},
                  {"prompt": " "}, {"prompt": "a " * 300}, {"prompt": None},
                  {"options": {"negative_prompt": "\udc00"}}, {"options": {"top_k": True}},
                  {"options": {"negative_prompt": "a " * 300}}, {"options": {"\ud800": 1}},
                  {"options": {"temperature": math.nan}}, {"options": []}, {"options": [["a"]]},
                  {"options": {"places": "here"}}, {"options": {"style": "cubist"}},
                  {"pipeline": ["dalle"]}):
        assert written_by({**facts, **wrong}) is None, wrong
    assert written_by({}) is None

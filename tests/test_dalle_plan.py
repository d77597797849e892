"""The transformer that writes a plan before the picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipelines.dalle_plan import admissible, apart, draw_plans
from pipelines.models.dalle import PAD_ID, ImageTransformer, TransformerConfig
from pipelines.sampling import RowNoise
from pipelines.world import plans
from pipelines.world.concepts import load_concepts
from pipelines.world.scenes import SceneSampler
from pipelines.world.sprites import STYLES
from tests.plan_tokens import from_tokens

CONFIG = TransformerConfig(text_vocab_size=40, text_length=8, codebook_size=10, digits=2, layers=6,
                           grid=8, patch=4, dim=32, depth=2, heads=2, code_dim=8, head_dim=32,
                           text_dim=8, sentence_dim=12, plan_length=plans.TOKENS,
                           plan_vocab_size=plans.VOCABULARY_SIZE)
PLANS = (plans.Plan(STYLES[0], "white", (plans.Spot(2, 5, 7, True),)),
         plans.Plan(STYLES[1], "beach", (plans.Spot(0, 0, 4, False, drafted=True),
                                         plans.Spot(9, 8, 5, True))))
DRAFTED = 1, 2  # the picture that has a draft, and the layer that is finished after it


@pytest.fixture(scope="module")
def model() -> ImageTransformer:
    torch.manual_seed(0)
    model = ImageTransformer(CONFIG)
    model.initialise()
    for table in (model.row_position, model.layer_position, model.plan_position,
                  model.text_embedding.weight):
        torch.nn.init.normal_(table, std=0.5)  # all must matter for the tests to see them
    return model.eval().requires_grad_(False)


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Text ids and states, plans, codes and what each layer is, of two pictures."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 40, (2, 8), generator=generator)
    ids[0, 5:] = PAD_ID
    plan = torch.tensor([plans.to_tokens(plan) for plan in PLANS])
    return (ids, torch.randn(2, 8, 12, generator=generator), plan,
            torch.randint(0, 100, (2, 4, 8, 8), generator=generator), plans.slots_of(plan))


def test_cached_steps_equal_teacher_forcing(model: ImageTransformer) -> None:
    ids, states, plan, codes, slots = batch()
    expected = model(ids, codes, states, plan, slots)
    assert expected.plan.shape == (2, plans.TOKENS + 1, plans.VOCABULARY_SIZE)
    blocks = model.to_blocks(codes)
    cache = model.new_cache(2, "cpu", torch.float32)
    hidden = model.prefill(ids, cache, states)
    for position in range(plans.TOKENS):
        torch.testing.assert_close(model.plan_head(hidden), expected.plan[:, position],
                                   atol=1e-4, rtol=1e-4)
        hidden = model.plan_step(plan[:, position], position, cache)
    hidden = model.start_picture(cache, slots)
    steps = blocks.shape[1]
    assert steps == 4 * model.layer_steps
    for step in range(steps):
        seen: list[Tensor] = []

        def choose(logits: Tensor, step: int = step, seen: list[Tensor] = seen) -> Tensor:
            seen.append(logits)
            return blocks[:, step, len(seen) - 1]

        tokens = model.sample_block(hidden, choose)
        torch.testing.assert_close(torch.stack(seen, 1), expected.codes[:, step], atol=1e-4,
                                   rtol=1e-4)
        if step + 1 < steps:
            hidden = model.step(tokens, cache)


def test_padding_of_text_and_plan_changes_nothing(model: ImageTransformer) -> None:
    ids, states, plan, codes, slots = batch()
    full = model(ids, codes, states, plan, slots)
    short = model(ids[:1, :5], codes[:1], states[:1, :5], plan[:1, :6], slots[:1])
    torch.testing.assert_close(short.codes, full.codes[:1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(short.plan, full.plan[:1, :7], atol=1e-5, rtol=1e-5)


def test_fewer_layers_are_the_first_ones(model: ImageTransformer) -> None:
    ids, states, plan, codes, slots = batch()
    full = model(ids, codes, states, plan, slots).codes
    some = model(ids, codes[:, :2], states, plan, slots[:, :2]).codes
    assert some.shape[1] == 2 * model.layer_steps
    torch.testing.assert_close(some, full[:, : some.shape[1]], atol=1e-5, rtol=1e-5)


def test_layers_are_written_one_after_the_other(model: ImageTransformer) -> None:
    codes = batch()[3]
    blocks = model.to_blocks(codes)
    assert blocks.shape == (2, 4 * 4, 32)
    assert torch.equal(model.to_grid(blocks), codes)
    assert torch.equal(model.to_grid(blocks[:, 8:12])[:, 0], codes[:, 2])


def test_a_finished_layer_reads_its_draft_at_the_same_place(model: ImageTransformer) -> None:
    ids, states, plan, codes, slots = batch()
    assert slots.tolist() == [[0, 1, -1, -1], [0, 1, 7, 2]]
    picture, finished = DRAFTED
    blocks = model.to_blocks(codes)
    first = finished * model.layer_steps
    blind = ImageTransformer(CONFIG).eval()
    blind.load_state_dict(model.state_dict())
    torch.nn.init.zeros_(blind.draft_in.weight)
    torch.nn.init.zeros_(blind.draft_out.weight)
    with torch.no_grad():
        full, other = (each(ids, codes, states, plan, slots).codes for each in (model, blind))
    before = first + model.layer_steps
    assert not torch.allclose(full[picture, first], other[picture, first], atol=1e-4)
    torch.testing.assert_close(full[picture, :first], other[picture, :first])
    torch.testing.assert_close(full[1 - picture], other[1 - picture])
    # What its draft has at a place, the finished layer reads where it writes that place.
    read, embedded = model.drafts(blocks, slots), model.embed(blocks).flatten(2)
    assert torch.equal(read[picture, first:before],
                       embedded[picture, first - model.layer_steps:first])
    assert not read[picture, :first].any()
    assert not read[picture, before:].any()
    assert not read[1 - picture].any()


def test_layers_of_plans_have_drafts_before_what_is_finished() -> None:
    spots = tuple(plans.Spot(0, 0, 3, False, drafted) for drafted in (True, False, True))
    tokens = torch.tensor([plans.to_tokens(plans.Plan(STYLES[0], "white", spots[:count]))
                           for count in (1, 3)])
    assert plans.slots_of(tokens).tolist() == [[0, 1, 7, -1, -1, -1], [0, 1, 7, 2, 3, 9]]
    assert plans.slots_of(tokens[:, :6]).tolist() == [[0, 1, 7]] * 2, "plans without padding"


def test_text_states_and_plan_all_matter(model: ImageTransformer) -> None:
    ids, states, plan, codes, slots = batch()
    full = model(ids, codes, states, plan, slots)
    other = plan.clone()
    other[:, 0] = plans.to_tokens(replace(PLANS[0], style=STYLES[2]))[0]
    for changed in (model(ids, codes, states.flip(0), plan, slots),
                    model(ids.flip(0), codes, states, plan, slots),
                    model(ids, codes, states, other, slots)):
        assert not torch.allclose(changed.codes, full.codes, atol=1e-5)
    # What a plan says later is no news to its earlier tokens.
    later = plan.clone()
    later[:, 5] = plans.to_tokens(replace(PLANS[0], spots=(plans.Spot(2, 5, 7, False),)))[5]
    torch.testing.assert_close(model(ids, codes, states, later, slots).plan[:, :5],
                               full.plan[:, :5])


@pytest.mark.parametrize("seed", range(4))
def test_drawn_plans_can_be_read(model: ImageTransformer, seed: int) -> None:
    ids, states, *_ = batch()
    rows = ids[:1].repeat(6, 1), states[:1].repeat(6, 1, 1)
    cache = model.new_cache(6, "cpu", torch.float32)
    hidden = model.prefill(rows[0], cache, rows[1])
    drawn, hidden = draw_plans(model, hidden, cache, RowNoise([seed, 7, 8]), 2.0,
                               {0: plans.to_tokens(PLANS[1])[:1]})
    assert drawn.shape == (3, plans.TOKENS)
    assert hidden.shape == (6, 32)
    read = [from_tokens(row.tolist()) for row in drawn]
    assert {plan.style for plan in read} == {STYLES[1]}
    assert all(plan.spots for plan in read)
    assert [plans.to_tokens(plan) for plan in read] == drawn.tolist()


def test_a_plan_depends_on_its_own_seed_alone(model: ImageTransformer) -> None:
    ids, states, *_ = batch()

    def of(*seeds: int) -> Tensor:
        count = len(seeds)
        cache = model.new_cache(count, "cpu", torch.float32)
        hidden = model.prefill(ids[:1].repeat(count, 1), cache, states[:1].repeat(count, 1, 1))
        return draw_plans(model, hidden, cache, RowNoise(seeds))[0]

    assert torch.equal(of(3, 4, 5)[1:2], of(4))
    assert len({tuple(row) for row in of(*range(8)).tolist()}) == 8


def test_a_thing_that_is_begun_is_finished() -> None:
    ended = torch.tensor([False, True])
    for position in range(plans.TOKENS):
        may = admissible(position, ended, plans.VOCABULARY_SIZE)
        assert may[1].nonzero().flatten().tolist() == [PAD_ID]
        assert bool(may[0, PAD_ID]) == (position in (6, 10, 14, 18))
        assert may[0, slice(*plans.allowed(position))].all()


def test_scenes_and_the_tensor_of_their_spots_agree() -> None:
    sampler = SceneSampler(load_concepts(), "train")
    laid = [plans.plan_of(sampler.sample(i)) for i in range(40)]
    spots, there, drafted = plans.spots_of(torch.tensor([plans.to_tokens(plan) for plan in laid]))
    assert there.sum(1).tolist() == [len(plan.spots) for plan in laid]
    for row, twice, plan in zip(spots.tolist(), drafted.tolist(), laid, strict=True):
        assert row[:len(plan.spots)] == [[s.column, s.row, s.side, s.flip] for s in plan.spots]
        assert twice[:len(plan.spots)] == [s.drafted for s in plan.spots]
    assert any(spot.drafted for plan in laid for spot in plan.spots)
    assert any(not spot.drafted for plan in laid for spot in plan.spots)


def test_things_stand_apart_but_for_what_is_held(model: ImageTransformer) -> None:
    ids, states, *_ = batch()
    rows = ids[:1].repeat(48, 1), states[:1].repeat(48, 1, 1)
    cache = model.new_cache(48, "cpu", torch.float32)
    hidden = model.prefill(rows[0], cache, rows[1])
    drawn, _ = draw_plans(model, hidden, cache, RowNoise(range(48)), 3.0)
    overlapping = held = 0
    for row in drawn.tolist():
        spots = from_tokens(row).spots
        for number, spot in enumerate(spots):
            assert max(spot.column, spot.row) + spot.side <= 16
            before = [(other, not meet(spot, other)) for other in spots[:number]]
            overlapping += sum(not far and other.side < 11 for other, far in before)
            held += sum(not far and other.side >= 11 for other, far in before)
    # Where the first things fill the picture there is no room to stand apart.
    assert overlapping <= 2
    assert held


def meet(one: plans.Spot, other: plans.Spot) -> bool:
    return (one.column < other.column + other.side and other.column < one.column + one.side
            and one.row < other.row + other.side and other.row < one.row + one.side)


def test_what_is_left_of_the_room_is_offered() -> None:
    plan = plans.to_tokens(plans.Plan(STYLES[0], "white", (plans.Spot(0, 0, 10, False),
                                                           plans.Spot(10, 4, 5, False))))
    tokens = torch.tensor([plan])
    columns, lines, sides = (apart(position, tokens)[0].nonzero().flatten().tolist()
                             for position in (6, 7, 8))
    assert columns == list(range(14)), "below the first thing, or beside it"
    assert lines == list(range(14)), "right of it all are free"
    assert sides == [0, 1, 2, 3, 4, 5], "to the picture's edge"
    everything = plans.to_tokens(plans.Plan(STYLES[0], "white", (plans.Spot(0, 0, 10, False),
                                                                 plans.Spot(2, 2, 4, False))))
    assert apart(8, torch.tensor([everything])).all(), "no room: anything goes"
    person = plans.to_tokens(plans.Plan(STYLES[0], "white", (plans.Spot(0, 2, 14, False),
                                                             plans.Spot(2, 8, 5, False))))
    assert apart(7, torch.tensor([person]))[0].nonzero().flatten().tolist() == list(range(14))
    assert apart(0, tokens).all()
    assert apart(9, tokens).all()

"""The transformer that writes a plan before the picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.dalle_plan import admissible, draw_plans
from pipelines.models.dalle import PAD_ID, ImageTransformer, TransformerConfig
from pipelines.models.spot_positions import SpotPositions, chosen_blocks
from pipelines.sampling import RowNoise
from pipelines.world import plans
from pipelines.world.concepts import load_concepts
from pipelines.world.scenes import SceneSampler
from pipelines.world.sprites import STYLES
from tests.plan_tokens import from_tokens

CONFIG = TransformerConfig(text_vocab_size=40, text_length=8, codebook_size=10, digits=2, grid=16,
                           patch=4, dim=32, depth=2, heads=2, code_dim=8, head_dim=32, text_dim=8,
                           sentence_dim=12, plan_length=plans.TOKENS,
                           plan_vocab_size=plans.VOCABULARY_SIZE)
PLANS = (plans.Plan(STYLES[0], "white", (plans.Spot(2, 5, 7, True),)),
         plans.Plan(STYLES[1], "beach", (plans.Spot(0, 0, 4, False), plans.Spot(9, 8, 5, True))))


@pytest.fixture(scope="module")
def model() -> ImageTransformer:
    torch.manual_seed(0)
    model = ImageTransformer(CONFIG)
    model.initialise()
    for table in (model.row_position, model.plan_position, model.text_embedding.weight):
        torch.nn.init.normal_(table, std=0.5)  # all must matter for the tests to see them
    return model.eval().requires_grad_(False)


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Text ids and states, plans and codes of two pictures."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 40, (2, 8), generator=generator)
    ids[0, 5:] = PAD_ID
    plan = torch.tensor([plans.to_tokens(plan) for plan in PLANS])
    return (ids, torch.randn(2, 8, 12, generator=generator), plan,
            torch.randint(0, 100, (2, 16, 16), generator=generator))


def test_cached_steps_equal_teacher_forcing(model: ImageTransformer) -> None:
    ids, states, plan, codes = batch()
    expected = model(ids, codes, states, plan)
    assert expected.plan.shape == (2, plans.TOKENS + 1, plans.VOCABULARY_SIZE)
    blocks = model.to_blocks(codes)
    cache = model.new_cache(2, "cpu", torch.float32)
    hidden = model.prefill(ids, cache, states)
    for position in range(plans.TOKENS):
        torch.testing.assert_close(model.plan_head(hidden), expected.plan[:, position],
                                   atol=1e-4, rtol=1e-4)
        hidden = model.plan_step(plan[:, position], position, cache)
    hidden = model.start_picture(plan, cache)
    for step in range(model.num_steps):
        seen: list[Tensor] = []

        def choose(logits: Tensor, step: int = step, seen: list[Tensor] = seen) -> Tensor:
            seen.append(logits)
            return blocks[:, step, len(seen) - 1]

        tokens = model.sample_block(hidden, choose)
        torch.testing.assert_close(torch.stack(seen, 1), expected.codes[:, step], atol=1e-4,
                                   rtol=1e-4)
        if step + 1 < model.num_steps:
            hidden = model.step(tokens, cache)


def test_padding_of_text_and_plan_changes_nothing(model: ImageTransformer) -> None:
    ids, states, plan, codes = batch()
    full = model(ids, codes, states, plan)
    short = model(ids[:1, :5], codes[:1], states[:1, :5], plan[:1, :6])
    torch.testing.assert_close(short.codes, full.codes[:1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(short.plan, full.plan[:1, :7], atol=1e-5, rtol=1e-5)


def test_text_states_and_plan_all_matter(model: ImageTransformer) -> None:
    ids, states, plan, codes = batch()
    full = model(ids, codes, states, plan)
    other = plan.clone()
    other[:, 0] = plans.to_tokens(replace(PLANS[0], style=STYLES[2]))[0]
    for changed in (model(ids, codes, states.flip(0), plan),
                    model(ids.flip(0), codes, states, plan), model(ids, codes, states, other)):
        assert not torch.allclose(changed.codes, full.codes, atol=1e-5)
    # What a plan says later is no news to its earlier tokens.
    later = plan.clone()
    later[:, 5] = plans.to_tokens(replace(PLANS[0], spots=(plans.Spot(2, 5, 7, False),)))[5]
    torch.testing.assert_close(model(ids, codes, states, later).plan[:, :5], full.plan[:, :5])


def test_blocks_that_are_left_out_are_not_seen(model: ImageTransformer) -> None:
    ids, states, plan, codes = batch()
    kept = torch.tensor([[0, 3, 4, 9], [1, 2, 5, 15]])
    some = model(ids, codes, states, plan, kept).codes
    assert some.shape == (2, 4, 32, 10)
    everything = torch.arange(model.num_steps).expand(2, -1)
    torch.testing.assert_close(model(ids, codes, states, plan, everything).codes,
                               model(ids, codes, states, plan).codes)
    # Block 3 of the first picture is read by the state of block 4 alone of those kept; 6 by none.
    changed = codes.clone()
    changed[0, 4:8, 8:12] = 7
    torch.testing.assert_close(model(ids, changed, states, plan, kept).codes, some)


def test_spots_cover_the_blocks_that_show_them() -> None:
    positions = SpotPositions(16, 2, 8)
    positions.initialise()
    plan = torch.tensor([plans.to_tokens(plan) for plan in PLANS])
    covered = positions.covers(plan).unflatten(1, (8, 8))
    for row, drawn in zip(covered, PLANS, strict=True):
        wanted = torch.zeros(16, 16, dtype=torch.bool)
        for spot in drawn.spots:
            wanted[spot.row:spot.row + spot.side, spot.column:spot.column + spot.side] = True
        assert torch.equal(row, F.max_pool2d(wanted[None, None].float(), 2)[0, 0] > 0)
    found = positions(plan).unflatten(1, (8, 8))
    assert torch.equal(found.abs().sum(-1) > 0, covered)


def test_a_thing_is_told_its_parts_alike_wherever_it_stands() -> None:
    positions = SpotPositions(16, 2, 8)
    positions.initialise()
    here, there = (torch.tensor([plans.to_tokens(plans.Plan(STYLES[0], "white", (spot,)))])
                   for spot in (plans.Spot(1, 2, 6, False), plans.Spot(7, 8, 6, False)))
    first, second = (positions(plan)[0].unflatten(0, (8, 8)) for plan in (here, there))
    torch.testing.assert_close(first[1:4, 0:4], second[4:7, 3:7])
    nearer = torch.tensor([plans.to_tokens(plans.Plan(STYLES[0], "white",
                                                      (plans.Spot(7, 8, 7, False),)))])
    assert not torch.allclose(positions(nearer)[0].unflatten(0, (8, 8))[4, 3], second[4, 3])


def test_blocks_for_a_step_are_those_of_things_first() -> None:
    covered = torch.zeros(3, 16, dtype=torch.bool)
    covered[0, 4:7] = covered[1, :12] = True
    generator = torch.Generator().manual_seed(0)
    kept = chosen_blocks(covered, 8, generator)
    assert kept.shape == (3, 8)
    assert (kept.diff(dim=1) > 0).all()
    assert {4, 5, 6} <= set(kept[0].tolist())
    assert set(kept[1].tolist()) <= set(range(12))
    assert not torch.equal(kept, chosen_blocks(covered, 8, generator))


@pytest.mark.parametrize("seed", range(4))
def test_drawn_plans_can_be_read(model: ImageTransformer, seed: int) -> None:
    ids, states, *_ = batch()
    rows = ids[:1].repeat(6, 1), states[:1].repeat(6, 1, 1)
    cache = model.new_cache(6, "cpu", torch.float32)
    hidden = model.prefill(rows[0], cache, rows[1])
    drawn, hidden = draw_plans(model, hidden, cache, RowNoise([seed, 7, 8]), 2.0,
                               {0: plans.to_tokens(PLANS[1])[0]})
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
    spots, there = plans.spots_of(torch.tensor([plans.to_tokens(plan) for plan in laid]))
    assert there.sum(1).tolist() == [len(plan.spots) for plan in laid]
    for row, plan in zip(spots.tolist(), laid, strict=True):
        assert row[:len(plan.spots)] == [[s.column, s.row, s.side, s.flip] for s in plan.spots]

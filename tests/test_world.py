"""The world: scenes with exact ground truth, deterministic pictures, and what is held out."""

from __future__ import annotations

import pytest
import torch

from pipelines.world.atlas import STYLES
from pipelines.world.backgrounds import PAINTERS, PLAIN_RGB
from pipelines.world.media import OPERATIONS, apply_media
from pipelines.world.scenes import (
    COLOURS,
    KINDS,
    MEDIA,
    PLACES,
    RELATIONS,
    Scene,
    SceneObject,
    is_held_out_pair,
    is_held_out_triple,
    uses_held_out,
)
from training.data import World

CENTRE = (0.25, 0.25, 0.75, 0.75)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def scene(
    concept: str = "car",
    colour: str | None = None,
    background: str = "white",
    medium=None,
    box=CENTRE,
    style: str = "fluent",
) -> Scene:
    return Scene(
        "single",
        (SceneObject(concept, style, colour, None, box),),
        None,
        background,
        True,
        medium,
        0,
    )


def test_at_least_350_concepts_in_three_styles(world):
    assert len(world.concepts) >= 350
    assert len(STYLES) == 3
    levels = world.renderer.atlas.levels[40]
    assert len(levels) == 3 * len(world.concepts)
    assert (levels[:, 3].float().mean((1, 2)) > 5).all()  # every sprite shows something


def test_scenes_are_deterministic_and_splits_differ(world):
    first, again = world.sampler("train-a"), world.sampler("train-a")
    assert [first.sample(i) for i in range(50)] == [again.sample(i) for i in range(50)]
    other = world.sampler("train-b")
    assert sum(first.sample(i) == other.sample(i) for i in range(50)) == 0


def test_every_kind_relation_place_medium_and_colour_occurs(world):
    sampler = world.sampler("train-cover")
    scenes = [sampler.sample(i) for i in range(4000)]
    assert {s.kind for s in scenes} == set(KINDS)
    assert {s.relation for s in scenes} >= set(RELATIONS)
    assert {s.medium for s in scenes} >= set(MEDIA)
    assert {s.background for s in scenes} == set(PLACES) | set(COLOURS)
    assert {o.colour for s in scenes for o in s.objects} >= set(COLOURS)


def test_training_never_shows_what_is_held_out(world):
    sampler = world.sampler("train-held-out")
    assert not any(uses_held_out(sampler.sample(i)) for i in range(3000))
    free = world.sampler("eval", held_out=True)
    assert any(uses_held_out(free.sample(i)) for i in range(500))
    pairs = [is_held_out_pair(c.id, colour) for c in world.concepts for colour in COLOURS]
    assert 0.08 < sum(pairs) / len(pairs) < 0.12


def test_a_composition_has_one_answer_from_both_sides():
    for a, b in (
        ("dog", "cat"),
        ("car", "bus"),
        ("apple", "chair"),
        ("bird", "bed"),
        ("cup", "fork"),
    ):
        assert is_held_out_triple(a, "left of", b) == is_held_out_triple(b, "right of", a)
        assert is_held_out_triple(a, "above", b) == is_held_out_triple(b, "below", a)
        assert is_held_out_triple(a, "next to", b) == is_held_out_triple(b, "next to", a)


def test_relations_hold_in_the_ground_truth(world):
    sampler = world.sampler("train-relations")
    checked = 0
    for i in range(1500):
        s = sampler.sample(i)
        if s.relation not in ("left of", "right of", "above", "below", "on top of"):
            continue
        a, b = ([(o.box[0] + o.box[2]) / 2, (o.box[1] + o.box[3]) / 2] for o in s.objects[:2])
        axis, sign = {
            "left of": (0, 1),
            "right of": (0, -1),
            "above": (1, 1),
            "below": (1, -1),
            "on top of": (1, 1),
        }[s.relation]
        assert sign * (b[axis] - a[axis]) > 0.3
        checked += 1
    assert checked > 50


def test_rendering_is_deterministic_and_independent_of_the_batch(world):
    sampler = world.sampler("train-render")
    scenes = [sampler.sample(i) for i in range(6)]
    batch = world.render(scenes, 64)
    assert torch.equal(batch, world.render(scenes, 64))
    for i, s in enumerate(scenes):
        torch.testing.assert_close(world.render([s], 64)[0], batch[i], atol=2e-3, rtol=0)


def test_an_object_is_drawn_inside_its_box_only(world):
    box = (0.125, 0.5, 0.5, 0.875)
    picture = world.render([scene(box=box)], 64)[0]
    changed = (picture - 1).abs().amax(0) > 0.02
    rows, columns = changed.nonzero().unbind(1)
    assert rows.min() >= 31
    assert rows.max() <= 56
    assert columns.min() >= 7
    assert columns.max() <= 32
    assert changed.float().mean() > 0.03


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("style", STYLES)
def test_a_colour_word_paints_the_object(world, colour, style):
    picture = world.render(
        [scene("car", colour, "green" if colour != "green" else "white", style=style)], 128
    )[0]
    near = (picture - torch.tensor(PLAIN_RGB[colour]).view(3, 1, 1) / 255).abs().amax(0) < 0.28
    assert near[32:96, 32:96].float().mean() > 0.08


def test_native_colours_are_not_repainted(world):
    native = world.by_id["apple"].native_colour
    assert native == "red"
    assert torch.equal(
        world.render([scene("apple", "red")], 64), world.render([scene("apple", None)], 64)
    )


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_media_keep_shape_and_range_and_change_the_picture(world, name):
    picture = world.render([scene("dog", background="beach")], 128)
    result = apply_media(picture, [name])
    assert result.shape == picture.shape
    assert result.min() >= 0
    assert result.max() <= 1
    assert (result - picture).abs().mean() > 0.01
    assert torch.equal(result, apply_media(picture, [name]))


def test_every_place_has_a_painter():
    assert set(PAINTERS) == set(PLACES)

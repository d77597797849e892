"""The world: scenes with exact ground truth, deterministic pictures, and what is held out."""

from __future__ import annotations

import pytest
import torch

from pipelines.world.backdrops import BACKDROPS
from pipelines.world.backgrounds import PAINTERS, PLAIN_RGB
from pipelines.world.layouts import square
from pipelines.world.media import OPERATIONS, apply_media
from pipelines.world.plans import (
    PAD,
    TOKENS,
    VOCABULARY_SIZE,
    allowed,
    plan_of,
    to_tokens,
)
from pipelines.world.scenes import (
    BACKDROP_NAMES,
    COLOURS,
    KINDS,
    MEDIA,
    PLACES,
    RELATIONS,
    Scene,
    SceneObject,
    is_held_out_pair,
    is_held_out_triple,
    styles_for,
    uses_held_out,
)
from pipelines.world.sprites import STYLES, TONES
from tests.plan_tokens import from_tokens
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


def test_every_concept_is_there_in_four_styles_and_most_in_more(world):
    assert len(world.concepts) >= 350
    index = world.renderer.atlas.index
    styles = {c.id: index.styles(c.id) for c in world.concepts}
    assert all(set(shown) >= {"noto", "twemoji", "fluent", "fluent3d"} for shown in styles.values())
    assert sum(len(shown) >= 5 for shown in styles.values()) > 0.75 * len(styles)
    assert sum("photo" in shown for shown in styles.values()) > 100
    for role in (c for c in world.concepts if c.role and c.id != "zombie"):
        looks = {look for style in STYLES for look in index.looks(style, role.id)}
        # An astronaut's helmet may hide the hair.
        assert looks >= set(TONES)
    aged = [c.id for c in world.concepts if c.role
            and any(look.startswith("old") for s in STYLES for look in index.looks(s, c.id))]
    assert len(aged) > 40


def test_every_sprite_shows_something(world):
    atlas = world.renderer.atlas
    rows = range(0, len(atlas.index.sprites), 7)
    assert all(atlas.tile(row, 40)[..., 3].float().mean() > 5 for row in rows)


def test_what_a_caption_leaves_open_is_drawn_evenly(world):
    sampler = world.sampler("test-even", kinds={"single": 1.0}, in_medium=0.0, coloured=0.0)
    scenes = [sampler.sample(i) for i in range(3000)]
    expected: dict[str, float] = dict.fromkeys(STYLES, 0.0)
    for s in scenes:
        shown = styles_for([s.objects[0].concept], None, False)
        for style in shown:
            expected[style] += 1 / len(shown)
    for style in STYLES:
        found = sum(s.objects[0].style == style for s in scenes)
        assert abs(found - expected[style]) < 5 * expected[style] ** 0.5
    sides = {round(16 * (s.objects[0].box[2] - s.objects[0].box[0])) for s in scenes}
    assert sides >= set(range(3, 17))
    places = {(o.box[0], o.box[1]) for s in scenes for o in s.objects}
    assert len(places) > 90
    assert 0.4 < sum(s.objects[0].flip for s in scenes) / len(scenes) < 0.6
    unsaid = [s.background for s in scenes if not s.say_background]
    assert set(unsaid) >= {*BACKDROP_NAMES, *PLACES, "white"}
    assert unsaid.count("white") < 0.4 * len(unsaid)


def test_photographs_are_not_painted(world):
    sampler = world.sampler("test-photos", coloured=1.0)
    scenes = [sampler.sample(i) for i in range(1500)]
    photos = [o for s in scenes for o in s.objects if o.style == "photo"]
    assert photos
    assert all(o.colour in (None, world.by_id[o.concept].native_colour) for o in photos)


def test_windows_keep_their_colour(world):
    for style in ("twemoji", "fluent", "fluent3d", "blob"):
        plain, painted = (world.render([scene("bus", colour, style=style)], 128)[0]
                          for colour in (None, "green"))
        red, green, blue = plain
        glass = (blue > 0.7) & (blue - red > 0.15) & (green > 0.5) & (green - red > 0.1)
        changed = (painted - plain).abs().amax(0) > 0.25
        assert changed.float().mean() > 0.05
        if glass.float().mean() > 0.01:
            assert (changed & glass).sum() < 0.4 * glass.sum()


def test_plans_are_tokens_and_back(world):
    sampler = world.sampler("test-plans")
    for i in range(400):
        s = sampler.sample(i)
        plan = plan_of(s)
        ids = to_tokens(plan)
        assert len(ids) == TOKENS
        assert all(0 <= token < VOCABULARY_SIZE for token in ids)
        assert all(token == PAD or allowed(k)[0] <= token < allowed(k)[1]
                   for k, token in enumerate(ids))
        assert from_tokens(ids) == plan
        squares = [square(spot.column, spot.row, spot.side) for spot in plan.spots]
        assert sorted(squares) == sorted(o.box for o in s.objects)
    ids = to_tokens(plan_of(sampler.sample(0)))
    with pytest.raises(ValueError, match="plan token"):
        from_tokens([ids[1], *ids[1:]])


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
    assert {s.background for s in scenes} == {*PLACES, *COLOURS, *BACKDROP_NAMES}
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
        assert sign * (b[axis] - a[axis]) > 0.25
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
@pytest.mark.parametrize("style", [s for s in STYLES if s not in ("clipart", "photo")])
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


def test_every_background_has_a_painter():
    assert set(PAINTERS) == set(PLACES)
    assert set(BACKDROPS) == set(BACKDROP_NAMES)

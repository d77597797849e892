"""Twins of scenes differ in one thing that both captions say, and can be drawn."""

from __future__ import annotations

import random
from collections import Counter

from pipelines.world.scenes import uses_held_out
from training.data import World
from training.twins import SHARES, Twins, twin


def test_twins_differ_in_one_thing_that_both_say() -> None:
    world = World()
    sampler = world.sampler("test-twins", coloured=0.6)
    found: Counter[str] = Counter()
    for number in range(600):
        scene = sampler.sample(number)
        made = twin(scene, random.Random(number), world.by_id)
        if made is None:
            continue
        kind, other = made
        found[kind] += 1
        assert not uses_held_out(other)
        assert (other.medium, other.background, other.kind, other.seed) == (
            scene.medium, scene.background, scene.kind, scene.seed)
        salt = 3
        assert world.caption(scene, salt, "en") != world.caption(other, salt, "en")
        changed = [(a, b) for a, b in zip(scene.objects, other.objects, strict=False) if a != b]
        styles = {thing.style for thing in (*scene.objects, *other.objects)}
        assert len(styles) == 1
        if kind == "count":
            assert len(scene.objects) != len(other.objects)
            assert {o.concept for o in other.objects} == {scene.objects[0].concept}
        elif kind == "colour":
            assert changed
            assert all(a.colour and b.colour and a.colour != b.colour for a, b in changed)
            assert all(a.box == b.box and a.concept == b.concept for a, b in changed)
            assert "photo" not in styles, "photographs are not painted"
        elif kind == "relation":
            assert other.relation != scene.relation
            assert [o.box for o in other.objects[:2]] == [o.box for o in scene.objects[1::-1]]
        else:
            assert kind == "concept"
            assert all(a.concept != b.concept and a.box == b.box and a.colour == b.colour
                       for a, b in changed)
    assert set(found) == set(SHARES)
    assert min(found.values()) >= 20, found


def test_pairs_stand_side_by_side_and_can_be_drawn() -> None:
    world = World()
    scene_of = Twins(world.sampler("test-twins-pairs"), world.by_id)
    scenes = [scene_of(number) for number in range(40)]
    assert scenes == [scene_of(number) for number in range(40)]
    pictures = world.render(scenes, 64)
    twins = [n for n in range(0, 40, 2) if scenes[n].seed == scenes[n + 1].seed]
    assert len(twins) > 10
    for n in twins:
        assert (pictures[n] - pictures[n + 1]).abs().mean() > 1e-4
    alone = [n for n in range(0, 40, 2) if scenes[n].seed != scenes[n + 1].seed]
    assert all(scenes[n + 1].seed == n + 1 for n in alone)

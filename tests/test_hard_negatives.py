"""Hard negatives say what the scene is not, and nothing that may be true of it."""

from __future__ import annotations

import random

from pipelines.world.concepts import Concept
from pipelines.world.hard_negatives import GREY_MEDIA, alike, excludes, hard_negative
from pipelines.world.scenes import Scene, uses_held_out
from tests.captioned import concepts, picture, scenes, thing

__all__ = ["concepts", "scenes"]


def test_hard_negatives_are_false(scenes: list[Scene], concepts: dict[str, Concept]) -> None:
    changed: set[str] = set()
    for scene in scenes:
        for i in range(6):
            negative = hard_negative(scene, random.Random(scene.seed * 6 + i), concepts)
            assert not uses_held_out(negative)
            changed.add(difference(scene, negative, concepts))
    assert changed == {
        "swap",
        "colour",
        "count",
        "size",
        "concept",
        "relation",
        "reversed",
        "place",
        "medium",
        "person",
    }


def difference(scene: Scene, negative: Scene, concepts: dict[str, Concept]) -> str:
    """What was changed, after checking that the change makes the caption false."""
    if negative.medium != scene.medium:
        assert negative.medium is not None
        return "medium"
    if (negative.background, negative.say_background) != (scene.background, scene.say_background):
        assert negative.say_background
        assert not alike(scene.background, negative.background)
        return "place"
    before, after = scene.objects, negative.objects
    if len(before) != len(after):
        assert len(after) > 1
        assert len({o.concept for o in after}) == 1
        return "count"
    if negative.relation != scene.relation or [o.concept for o in before] == [
        o.concept for o in reversed(after)
    ] != [o.concept for o in after]:
        if before[0].concept != after[0].concept:
            assert scene.relation == "on top of"
            assert negative.relation in ("on top of", "above")
            return "reversed"
        assert scene.relation not in ("with", "on top of")
        assert negative.relation not in (scene.relation, "next to", "with")
        return "relation"
    said = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert said
    a, b = said[0]
    if a.concept != b.concept:
        assert excludes(concepts[a.concept], concepts[b.concept])
        return "concept"
    if a.look != b.look:
        assert concepts[a.concept].group == "person"
        # Either grey hair that is not there, or a tone that is not next to the one drawn.
        assert (b.old and not a.old) or (b.say_tone and {a.tone, b.tone} != {None})
        return "person"
    if a.size != b.size:
        assert {a.size, b.size} == {"small", "big"}
        return "size"
    assert scene.medium not in GREY_MEDIA
    wrong = [
        pair
        for pair in said
        if pair[1].colour
        and (pair[0].colour or concepts[pair[0].concept].native_colour) != pair[1].colour
    ]
    assert wrong
    return "swap" if len(said) == 2 and scene.kind != "count" else "colour"


def test_a_kind_is_no_negative_of_its_genus(concepts: dict[str, Concept]) -> None:
    def excluded(shown: str, said: str) -> bool:
        return excludes(concepts[shown], concepts[said])

    assert not excluded("taxi", "car")
    assert not excluded("man-teacher", "woman-teacher"), "both may be called a teacher"
    assert not excluded("man-teacher", "man")
    assert not excluded("woman", "person")
    assert excluded("man", "woman")
    assert excluded("man-teacher", "man-cook")
    assert excluded("dog", "cat")


def test_next_to_is_never_turned_round(concepts: dict[str, Concept]) -> None:
    scene = picture("relation", thing("dog"), thing("chair", 0.5), relation="next to")
    for i in range(200):
        negative = hard_negative(scene, random.Random(i), concepts)
        assert negative.relation not in ("left of", "right of")
        assert [o.concept for o in negative.objects] != ["chair", "dog"]

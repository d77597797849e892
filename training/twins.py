"""Twins: scenes that differ in one thing that both captions say, and of which both are drawn.

A hard negative is a caption without a picture, so that a text is compared with one picture that it
nearly fits and with many that it does not fit at all. Of a pair of twins each caption is nearly
right for the other's picture, in both directions, and what tells them apart is in the pictures: the
paint, the number, the places or the thing, and nothing else.

Source: Yuksekgonul et al., "When and Why Vision-Language Models Behave like Bags-of-Words, and What
to Do About It?" (2023), section 4 (hard pictures beside hard captions).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from pipelines.world.concepts import Concept
from pipelines.world.hard_negatives import COLOURLESS_MEDIA, OPPOSITE, excludes, other_colour
from pipelines.world.layouts import place
from pipelines.world.scenes import Scene, SceneSampler, styles_for, uses_held_out

# How often a scene that can have several kinds of twin gets which.
SHARES = {"colour": 5.0, "count": 5.0, "relation": 8.0, "concept": 1.5}
_ATTEMPTS = 4

Concepts = Mapping[str, Concept]


def twin(scene: Scene, rng: random.Random, concepts: Concepts) -> tuple[str, Scene] | None:
    """A scene whose caption is false of ``scene``, and the other way round.

    Args:
        scene: the first one.
        rng: source of randomness.
        concepts: by id.

    Returns:
        What differs, of ``SHARES``, and the scene; None where there is no twin that can be drawn in
        the same style and holds no combination that no training may show.
    """
    shares = dict(SHARES)
    while shares:
        kind = rng.choices(list(shares), list(shares.values()))[0]
        for _ in range(_ATTEMPTS):
            found = _MAKERS[kind](scene, rng, concepts)
            if found is not None and not uses_held_out(found):
                return kind, found
        del shares[kind]
    return None


class Twins:
    """Scenes in twos: those of even numbers are a sampler's, and each is followed by its twin.

    Args:
        sampler: draws them.
        concepts: by id.
    """

    def __init__(self, sampler: SceneSampler, concepts: Concepts) -> None:
        self.sampler, self.concepts = sampler, concepts

    def __call__(self, number: int) -> Scene:
        """The scene of a number; one of an odd number is the sampler's own without a twin."""
        if number % 2 == 0:
            return self.sampler.sample(number)
        first = self.sampler.sample(number - 1)
        rng = random.Random(f"{self.sampler.split}/twin/{number}")
        found = twin(first, rng, self.concepts)
        return self.sampler.sample(number) if found is None else found[1]


def _colour(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    if scene.medium in COLOURLESS_MEDIA or scene.objects[0].style == "photo":
        return None
    found = other_colour(scene, rng, concepts)
    if found is None:
        return None
    changed = [(a.colour, b.colour) for a, b in zip(scene.objects, found.objects, strict=True)
               if a.colour != b.colour]
    # "A car" is true of a red one: both have to say which colour it is.
    return found if all(a and b for a, b in changed) else None


def _count(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    del concepts
    if scene.kind != "count":
        return None
    number = rng.choice([n for n in (2, 3, 4, 5) if n != len(scene.objects)])
    boxes = place("count", None, number, rng)
    return replace(scene, objects=tuple(replace(scene.objects[0], box=box) for box in boxes))


def _relation(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    """The first two have changed places."""
    del rng, concepts
    if scene.relation not in OPPOSITE:
        return None
    first, second, *rest = scene.objects
    changed = (replace(first, box=second.box), replace(second, box=first.box), *rest)
    return replace(scene, objects=changed, relation=OPPOSITE[scene.relation])


def _concept(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    """One thing is another of its group, drawn in the same style, colour and place."""
    index = rng.randrange(len(scene.objects))
    shown, style = scene.objects[index], scene.objects[index].style
    group = concepts[shown.concept].group
    if group == "person" or scene.kind == "portrait":
        return None
    present = [concepts[o.concept] for o in scene.objects]
    choices = [c.id for c in concepts.values()
               if c.group == group and (c.colours or not shown.colour)
               and all(excludes(p, c) and excludes(c, p) for p in present if p.group == group)
               and style in styles_for([c.id], scene.medium,
                                       shown.colour not in (None, c.native_colour))]
    if not choices:
        return None
    other = rng.choice(choices)
    return replace(scene, objects=tuple(
        replace(o, concept=other, variant=0, flip=False)
        if o.concept == shown.concept else o for o in scene.objects))


_MAKERS: dict[str, Callable[[Scene, random.Random, Concepts], Scene | None]] = {
    "colour": _colour, "count": _count, "relation": _relation, "concept": _concept}

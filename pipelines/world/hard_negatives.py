"""Hard negatives: scenes whose captions are nearly right and false of the picture."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from pipelines.world.concepts import Concept
from pipelines.world.scenes import (
    BACKDROP_NAMES,
    COLOURS,
    MEDIA,
    PLACES,
    Scene,
    SceneObject,
    uses_held_out,
)
from pipelines.world.sprites import OLD, TONES

Concepts = Mapping[str, Concept]
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_SIDEWAYS = ("left of", "right of", "next to")
# Words that may both be said of one picture, so that one is no false word for the other.
_ALIKE = (
    {"red", "orange", "pink", "brown"},
    {"orange", "yellow", "brown"},
    {"purple", "pink", "blue"},
    {"gray", "white"},
    {"gray", "black"},
    {"white", "snow", "sky"},
    {"black", "night", "space"},
    {"night", "sunset", "sky"},
    {"night", "space", "city"},
    {"grass", "forest", "green"},
    {"beach", "desert", "sunset", "yellow", "orange"},
    {"blue", "sky", "underwater", "beach"},
    {"brown", "room", "desert", "forest"},
    {"room", "gray"},
    {"city", "gray"},
    {"yellow", "white"},
    {"yellow", "green"},
    {"black", "blue", "purple"},
)
# Pictures in these media show no colours, so their captions name none.
GREY_MEDIA = ("bw", "pencil")
# Drawn from the same art in the end: too alike to call one of them wrong.
_CLEAN_MEDIA = (None, "emoji", "sticker", "icon")
COLOURLESS_MEDIA = ("bw", "pencil", "neon")
# Media in which nobody can tell a skin tone.
TONELESS_MEDIA = ("bw", "pencil", "neon")
_ATTEMPTS = 4


def alike(first: str, second: str) -> bool:
    """Whether two colours or places may be said of the same picture."""
    return first == second or any(first in group and second in group for group in _ALIKE)


def hard_negative(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene:
    """A scene of which only the caption is of use: nearly that of ``scene``, and false of it.

    Args:
        scene: The scene of the picture.
        rng: Source of randomness.
        concepts: Concepts by id.

    Returns:
        The scene with another colour, size, count, concept, relation, place or medium, or with
        the colours of two objects exchanged; never a held-out combination, unless ``scene`` is
        one.
    """
    return named_hard_negative(scene, rng, concepts)[1]


def named_hard_negative(scene: Scene, rng: random.Random, concepts: Concepts) -> tuple[str, Scene]:
    """As ``hard_negative``, with the kind of what is false: a key of ``KINDS_OF_CHANGE``."""
    changes = dict(KINDS_OF_CHANGE)
    held_out = uses_held_out(scene)
    while changes:
        kind = rng.choices(list(changes), [weight for weight, _ in changes.values()])[0]
        for _ in range(_ATTEMPTS):
            negative = changes[kind][1](scene, rng, concepts)
            # A combination met only in false captions would be learnt to be false.
            if negative is not None and (held_out or not uses_held_out(negative)):
                return kind, negative
        del changes[kind]
    raise ValueError("no other caption is false of the scene")


def other_medium(scene: Scene, rng: random.Random) -> Scene:
    """The scene in another of the media; only the caption is of use, and false of the picture.

    Args:
        scene: one in a stated medium, each of which has a look of its own.
        rng: source of randomness.
    """
    return replace(scene, medium=rng.choice([m for m in MEDIA if m != scene.medium]))


def other_colour(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    """The scene with another colour of one of its things, or with those of two exchanged.

    Args:
        scene: the scene of the picture.
        rng: source of randomness.
        concepts: by id.

    Returns:
        A scene whose caption is false of the picture; None where no colour can be said of it.
    """
    changes = [_swap_colours, _change_colour]
    if rng.random() < 0.5:
        changes.reverse()
    tried = (change(scene, rng, concepts) for change in changes for _ in range(_ATTEMPTS))
    held_out = uses_held_out(scene)
    return next((found for found in tried
                 if found is not None and (held_out or not uses_held_out(found))), None)


def _with_object(scene: Scene, index: int, **changes: object) -> Scene:
    objects = list(scene.objects)
    objects[index] = replace(objects[index], **changes)  # type: ignore[arg-type]
    return replace(scene, objects=tuple(objects))


def _is_false(colour: str | None, item: SceneObject, scene: Scene, concepts: Concepts) -> bool:
    """Whether it is surely false to call the object ``colour``."""
    if colour is None:
        return False
    if item.colour:
        return colour != item.colour
    native = concepts[item.concept].native_colour
    if native is None or scene.medium in COLOURLESS_MEDIA:
        return False
    return not alike(colour, native)


def _swap_colours(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    if scene.kind == "count" or len(scene.objects) < 2 or scene.medium in GREY_MEDIA:
        return None
    i, j = rng.sample(range(len(scene.objects)), 2)
    first, second = scene.objects[i], scene.objects[j]
    if not (concepts[first.concept].colours and concepts[second.concept].colours):
        return None
    if not (
        _is_false(second.colour, first, scene, concepts)
        or _is_false(first.colour, second, scene, concepts)
    ):
        return None
    swapped = _with_object(scene, i, colour=second.colour)
    return _with_object(swapped, j, colour=first.colour)


def _change_colour(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    index = rng.randrange(len(scene.objects))
    item = scene.objects[index]
    if not concepts[item.concept].colours or scene.medium in GREY_MEDIA:
        return None
    choices = [c for c in COLOURS if _is_false(c, item, scene, concepts)]
    if not choices:
        return None
    colour = rng.choice(choices)
    if scene.kind == "count":
        return replace(scene, objects=tuple(replace(o, colour=colour) for o in scene.objects))
    return _with_object(scene, index, colour=colour)


def _change_relation(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    del concepts
    if scene.relation is None or scene.relation == "with" or len(scene.objects) < 2:
        return None
    if scene.relation == "on top of":
        # "above" stays true; the other way round does not.
        first, second, *rest = scene.objects
        swapped = replace(scene, objects=(second, first, *rest))
        return replace(swapped, relation=rng.choice(("on top of", "above")))
    if scene.relation == "next to":
        return replace(scene, relation=rng.choice(("above", "below", "on top of")))
    if rng.random() < 0.8:
        return replace(scene, relation=OPPOSITE[scene.relation])
    across = ("above", "below") if scene.relation in _SIDEWAYS else ("left of", "right of")
    return replace(scene, relation=rng.choice(across))


def _add_relation(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    """Claims a relation that two objects side by side do not have."""
    del concepts
    if scene.kind != "pair" or len(scene.objects) != 2:
        return None
    first, second = scene.objects
    true = "left of" if first.box[0] < second.box[0] else "right of"
    relation = rng.choice((OPPOSITE[true], OPPOSITE[true], "above", "below", "on top of"))
    return replace(scene, kind="relation", relation=relation)


def _change_count(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    """Another number; never "a dog" for several dogs, which would be true of one of them."""
    del concepts
    if scene.kind not in ("single", "count"):
        return None
    number = len(scene.objects)
    wanted = rng.choice([n for n in (2, 3, 4, 5) if n != number])
    item = replace(scene.objects[0], size=None)
    return replace(scene, kind="count", objects=(item,) * wanted)


def _change_size(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    del rng, concepts
    size = scene.objects[0].size
    if scene.kind != "single" or size is None:
        return None
    return _with_object(scene, 0, size="small" if size == "big" else "big")


def _change_person(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    """Another skin tone, or grey hair that is not there."""
    people = [i for i, o in enumerate(scene.objects) if concepts[o.concept].group == "person"]
    if not people or scene.kind == "count":
        return None
    index = rng.choice(people)
    item = scene.objects[index]
    age = OLD if item.old else ""
    changes = []
    if item.tone and scene.medium not in TONELESS_MEDIA:
        # A caption may call neither of two neighbouring tones wrong with certainty.
        far = {"light": ("dark",), "medium": ("light", "dark"), "dark": ("light",)}[item.tone]
        changes.append({"look": f"{age}-{rng.choice(far)}".strip("-"), "say_tone": True})
    if concepts[item.concept].role and not item.old:
        changes.append({"look": f"{OLD}-{item.tone}" if item.tone in TONES else OLD})
    return _with_object(scene, index, **rng.choice(changes)) if changes else None


def excludes(shown: Concept, said: Concept) -> bool:
    """Whether a picture of ``shown`` is surely not one of ``said``, both of one group."""
    if shown.id == said.id or said.id in shown.broader or shown.id in said.broader:
        return False
    if shown.group != "person":
        return True
    if said.role is not None:
        return said.role != shown.role
    if said.id == "person" or shown.id == "person":
        return False
    return None not in (said.gender, shown.gender) and said.gender != shown.gender


def _change_concept(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    index = rng.randrange(len(scene.objects))
    shown = concepts[scene.objects[index].concept]
    present = [concepts[o.concept] for o in scene.objects]
    choices = [
        c
        for c in concepts.values()
        if c.group == shown.group
        and (c.colours or not scene.objects[index].colour)
        and all(excludes(p, c) or p.group != c.group for p in present)
    ]
    if not choices:
        return None
    said = rng.choice(choices).id
    if scene.kind == "count":
        return replace(scene, objects=tuple(replace(o, concept=said) for o in scene.objects))
    return _with_object(scene, index, concept=said)


def _change_place(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    del concepts
    if scene.medium in COLOURLESS_MEDIA:
        return None
    if scene.background in BACKDROP_NAMES:
        # What tint a backdrop has is not known here; a place it is not.
        return replace(scene, background=rng.choice(PLACES), say_background=True)
    places = [p for p in (*PLACES, *COLOURS) if not alike(p, scene.background)]
    # A place for a place and a colour for a colour is the harder case.
    same_kind = [p for p in places if (p in PLACES) == (scene.background in PLACES)]
    background = rng.choice(same_kind if rng.random() < 0.7 else places)
    return replace(scene, background=background, say_background=True)


def _change_medium(scene: Scene, rng: random.Random, concepts: Concepts) -> Scene | None:
    del concepts
    clean = scene.medium in _CLEAN_MEDIA
    media = [m for m in MEDIA if m != scene.medium and not (clean and m in _CLEAN_MEDIA)]
    return replace(scene, medium=rng.choice(media))


# How often each is tried first, and what it does.
KINDS_OF_CHANGE: dict[str, tuple[float, Callable[..., Scene | None]]] = {
    "exchanged colours": (6, _swap_colours),
    "colour": (4, _change_colour),
    "relation": (6, _change_relation),
    "count": (6, _change_count),
    "size": (4, _change_size),
    "person": (4, _change_person),
    "thing": (3, _change_concept),
    "added relation": (1.5, _add_relation),
    "place": (1, _change_place),
    "medium": (1, _change_medium),
}

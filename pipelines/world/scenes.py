"""What a picture of the world shows: scenes with exact ground truth, sampled from a seed.

Objects stand on the grid of the image tokens (one cell is a sixteenth of the picture), anywhere on
it and in any whole size, unless jitter is asked for. What a caption does not say is drawn at
random: art style, places, sizes, background, which way round; see ``pipelines.world.plans`` for
these as tokens.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.world.concepts import Concept
from pipelines.world.layouts import Box, jitter_box, place
from pipelines.world.sprites import OLD, STYLES, TONES, SpriteIndex, default_index

COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "gray",
)
PLACES = (
    "sky",
    "grass",
    "beach",
    "snow",
    "night",
    "sunset",
    "desert",
    "space",
    "underwater",
    "forest",
    "city",
    "room",
)
MEDIA = (
    "emoji",
    "sticker",
    "icon",
    "watercolour",
    "oil",
    "pencil",
    "pixel",
    "mosaic",
    "neon",
    "bw",
)
RELATIONS = ("left of", "right of", "above", "below", "next to", "on top of", "with")
KINDS = ("single", "count", "pair", "relation", "group", "portrait")
# A stated medium that is drawn by choosing the art and not by changing the picture.
MEDIUM_STYLES: dict[str, tuple[str, ...]] = {
    "emoji": ("noto", "twemoji", "blob", "emojione", "fxemoji"),
    "sticker": ("twemoji", "fluent", "blob", "emojione", "fxemoji"),
    "icon": ("fluent3d",),
}
KIND_WEIGHTS = {
    "single": 0.27,
    "count": 0.14,
    "pair": 0.18,
    "relation": 0.2,
    "group": 0.09,
    "portrait": 0.12,
}
# Names of ``pipelines.world.backdrops``, which draws them; captions never say these.
BACKDROP_NAMES = ("pastel", "strong", "dark", "gradient", "studio", "stripes", "dots", "checks",
                  "paper", "lights", "table")
# What people in portraits hold more often than other things.
HELD = ("book", "notebook", "newspaper", "pencil", "pen", "apple", "cup", "guitar", "violin",
        "paintbrush", "cell-phone", "laptop", "microphone", "camera", "magnifying-glass",
        "umbrella", "hammer", "wrench", "scissors", "rose", "cat", "dog", "globe", "clock",
        "telescope", "microscope", "soccer-ball", "birthday-cake", "trophy", "flower")
# Letters, digits and hands of clocks are wrong the other way round.
NEVER_MIRRORED = frozenset({"clock", "watch", "stop-sign", "newspaper", "keyboard", "compass",
                            "world-map", "globe", "musical-note", "dartboard", "die",
                            "taxi", "police-car", "ambulance", "hospital", "school", "ruler",
                            "billiard-ball", "desktop-computer", "game-controller", "atm"})


@dataclass(frozen=True)
class SceneObject:
    """One object.

    Attributes:
        concept: id of the concept.
        style: art style, one of ``pipelines.world.sprites.STYLES``.
        colour: stated colour, or None.
        size: stated size, "small", "big" or None.
        box: its square (x0, y0, x1, y1) in [0, 1].
        flip: mirrored.
        look: of people, age and skin tone as drawn ("old-dark"), see ``Sprite``.
        variant: which of the style's pictures of the concept.
        say_tone: whether the caption names the skin tone; an old person is always called old.
    """

    concept: str
    style: str
    colour: str | None
    size: str | None
    box: tuple[float, float, float, float]
    flip: bool = False
    look: str = ""
    variant: int = 0
    say_tone: bool = False

    @property
    def old(self) -> bool:
        """Whether it is a person drawn with grey hair."""
        return self.look.startswith(OLD)

    @property
    def tone(self) -> str | None:
        """Skin tone as drawn, one of ``TONES``, or None for the yellow of emoji."""
        return next((tone for tone in TONES if self.look.endswith(tone)), None)


@dataclass(frozen=True)
class Scene:
    """One picture: objects in drawing order, the relation of the first two, place and medium."""

    kind: str
    objects: tuple[SceneObject, ...]
    relation: str | None
    background: str
    say_background: bool
    medium: str | None
    seed: int


def _tenth(key: str) -> bool:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 10 == 0


def is_held_out_pair(concept: str, colour: str) -> bool:
    """Whether (object, colour) belongs to the fixed tenth that no training ever shows."""
    return _tenth(f"pair/{concept}/{colour}")


def is_held_out_triple(first: str, relation: str, second: str) -> bool:
    """Whether (object, relation, object) belongs to the fixed tenth that no training ever shows.

    "A left of B" and "B right of A" are one composition and share one answer; the same holds for
    above and below, and for both orders of "next to".
    """
    if relation in ("right of", "below"):
        first, second = second, first
        relation = {"right of": "left of", "below": "above"}[relation]
    if relation == "next to":
        first, second = sorted((first, second))
    return _tenth(f"triple/{first}/{relation}/{second}")


def uses_held_out(scene: Scene) -> bool:
    """Whether any coloured object or relation of the scene is held out from training."""
    for o in scene.objects:
        if o.colour and is_held_out_pair(o.concept, o.colour):
            return True
    if len(scene.objects) < 2 or scene.relation is None:
        return False
    first, second = scene.objects[:2]
    return is_held_out_triple(first.concept, scene.relation, second.concept)


def styles_for(concepts: Sequence[str], medium: str | None, painted: bool,
               index: SpriteIndex | None = None) -> list[str]:
    """Art styles in which all of some concepts can be drawn in a medium.

    Args:
        concepts: ids.
        medium: one of ``MEDIA`` or None.
        painted: whether one of them takes a colour that it has not by itself; photographs do not.
        index: the sprites; by default those of ``assets/world``.

    Returns:
        Styles in the order of ``STYLES``; at least one, as four styles show every concept.
    """
    index = index or default_index()
    allowed = MEDIUM_STYLES.get(medium or "", STYLES)
    return [style for style in STYLES
            if style in allowed and not (painted and style == "photo")
            and all(style in index.styles(concept) for concept in concepts)]


class SceneSampler:
    """Draws scenes; scene ``n`` of a split is always the same.

    Styles are drawn evenly among those that show all things of the scene, things stand anywhere in
    any size and either way round, and what is behind them varies, unless the caption says it.

    Args:
        concepts: the concepts to draw from.
        split: names a stream of seeds; two splits share no scenes ("train-dalle", "eval", …).
        jitter: share of scenes whose objects stand off the token grid, in [0, 1].
        held_out: whether held-out pairs and triples may occur (never in training).
        weights: relative frequency by concept id, where it is not 1; the closed loop of training
            raises the concepts that are drawn worst.
        kinds: relative frequency by kind of scene, where it differs from ``KIND_WEIGHTS``.
        coloured: share of the objects which can be painted whose colour is stated, in [0, 1].
        in_medium: share of the scenes in a stated medium, in [0, 1].
        in_place: share of the scenes in a stated place, in [0, 0.8].
    """

    def __init__(
        self,
        concepts: Sequence[Concept],
        split: str,
        *,
        jitter: float = 0.0,
        held_out: bool = False,
        weights: Mapping[str, float] | None = None,
        kinds: Mapping[str, float] | None = None,
        coloured: float = 0.4,
        in_medium: float = 0.25,
        in_place: float = 0.22,
    ) -> None:
        self.split, self.jitter, self.held_out = split, jitter, held_out
        self.coloured, self.in_medium, self.in_place = coloured, in_medium, in_place
        self.by_id = {c.id: c for c in concepts}
        self.ids = list(self.by_id)
        scale = weights or {}
        self.weights = [scale.get(c.id, 1.0) for c in concepts]
        self.people = [c.id for c in concepts if c.group == "person"]
        self.roles = [c.id for c in concepts if c.role]
        self.things = [c.id for c in concepts if c.group not in ("person", "building", "weather")]
        kinds = KIND_WEIGHTS if kinds is None else kinds
        self.kinds, self.kind_weights = list(kinds), list(kinds.values())
        self.index = default_index()

    def sample(self, seed: int) -> Scene:
        """Scene number ``seed`` of the split."""
        digest = hashlib.sha256(f"{self.split}/{seed}".encode()).digest()
        rng = random.Random(int.from_bytes(digest[:8], "big"))
        while True:
            scene = self._draw(rng, seed)
            if self.held_out or not uses_held_out(scene):
                return scene

    def _draw(self, rng: random.Random, seed: int) -> Scene:
        kind = rng.choices(self.kinds, self.kind_weights)[0]
        medium = rng.choice(MEDIA) if rng.random() < self.in_medium else None
        relation = size = None
        if kind == "count":
            ids = [self._concept(rng)] * rng.choice((2, 2, 3, 3, 4, 5))
        elif kind == "portrait":
            people = self.roles if self.roles and rng.random() < 0.75 else self.people
            ids = [rng.choice(people)]
            if rng.random() < 0.55:
                held = [c for c in HELD if c in self.by_id]
                ids.append(rng.choice(held if held and rng.random() < 0.5 else self.things))
            relation = "with" if len(ids) == 2 else None
        else:
            number = {"single": 1, "pair": 2, "relation": 2, "group": rng.choice((3, 3, 4))}[kind]
            ids = []
            while len(ids) < number:
                concept = self._concept(rng)
                if concept not in ids:
                    ids.append(concept)
            if kind == "relation":
                relation = rng.choices(RELATIONS, (3, 3, 2, 2, 3, 2, 1.5))[0]
            if kind == "single" and rng.random() < 0.2:
                size = rng.choice(("small", "big"))
        boxes = place(kind, relation, len(ids), rng, size)
        if rng.random() < self.jitter:
            boxes = [jitter_box(box, rng) for box in boxes]
        colours: list[str | None] = [self._colour(ids[0], rng)] * len(ids)
        if kind != "count":
            colours[1:] = [self._colour(concept, rng) for concept in ids[1:]]
        if medium == "bw":
            colours = [None] * len(ids)
        painted = any(colour and colour != self.by_id[concept].native_colour
                      for concept, colour in zip(ids, colours, strict=True))
        style = rng.choice(styles_for(ids, medium, painted, self.index))
        objects = self.dress(ids, colours, boxes, style, size, rng, alike=kind == "count")
        background, said = self._background(rng, kind)
        return Scene(kind, objects, relation, background, said, medium, seed)

    def dress(self, ids: Sequence[str], colours: Sequence[str | None], boxes: Sequence[Box],
              style: str, size: str | None, rng: random.Random,
              alike: bool = False) -> tuple[SceneObject, ...]:
        """Objects of one style with what captions leave open: mirroring, looks, which picture."""
        objects: list[SceneObject] = []
        for concept, colour, box in zip(ids, colours, boxes, strict=True):
            look, say_tone, variant = "", False, 0
            if alike and objects:
                look, say_tone = objects[0].look, objects[0].say_tone
                variant = objects[0].variant
            elif self.by_id[concept].group == "person":
                look = self._look(style, concept, rng)
                say_tone = rng.random() < 0.45
            if not (alike and objects):
                variant = rng.randrange(max(1, self.index.count(style, concept, look)))
            flip = rng.random() < 0.5 and concept not in NEVER_MIRRORED
            objects.append(SceneObject(concept, style, colour, size, box, flip, look, variant,
                                       say_tone))
        return tuple(objects)

    def _look(self, style: str, concept: str, rng: random.Random) -> str:
        looks = self.index.looks(style, concept)
        aged = [look for look in looks if look.startswith(OLD)]
        if aged and rng.random() < 0.3:
            return rng.choice(aged)
        return rng.choice([look for look in looks if not look.startswith(OLD)])

    def _concept(self, rng: random.Random) -> str:
        return rng.choices(self.ids, self.weights)[0]

    def _colour(self, concept: str, rng: random.Random) -> str | None:
        if self.by_id[concept].colours and rng.random() < self.coloured:
            return rng.choice(COLOURS)
        return None

    def _background(self, rng: random.Random, kind: str) -> tuple[str, bool]:
        draw = rng.random()
        if draw < self.in_place:
            return rng.choice(PLACES), True
        if draw < self.in_place + 0.06:
            return rng.choice(COLOURS), True
        return self.behind(rng, kind), False

    def behind(self, rng: random.Random, kind: str) -> str:
        """What stands behind a scene of a kind whose caption says nothing of it."""
        draw = rng.random()
        if kind == "portrait":
            return "studio" if draw < 0.4 else rng.choice((*BACKDROP_NAMES, "white", "room"))
        if draw < 0.3:
            return "white"
        if draw < 0.75:
            return rng.choice(BACKDROP_NAMES)
        return rng.choice(PLACES if draw < 0.93 else COLOURS)

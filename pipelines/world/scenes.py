"""What a picture of the world shows: scenes with exact ground truth, sampled from a seed.

Objects stand on the grid of the image tokens (one cell is a sixteenth of the picture), on even
cells and with one of three sides (6, 8 or 16 cells, mostly 8), unless jitter is asked for. A
transformer that reads blocks of two by two tokens then meets the same blocks for the same object
again and again, which is what makes identities learnable within a small budget.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.world.concepts import Concept

GRID = 16
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
MEDIUM_STYLE = {"emoji": "noto", "sticker": "twemoji", "icon": "fluent"}
# One style draws most pictures without a stated medium: fewer looks to learn for each concept.
STYLE_WEIGHTS = {"fluent": 0.88, "noto": 0.06, "twemoji": 0.06}
KIND_WEIGHTS = {
    "single": 0.27,
    "count": 0.16,
    "pair": 0.2,
    "relation": 0.2,
    "group": 0.1,
    "portrait": 0.07,
}
COCO_WEIGHT = 4.0


@dataclass(frozen=True)
class SceneObject:
    """One object: concept id, art style, stated colour and size, and its square in [0, 1]."""

    concept: str
    style: str
    colour: str | None
    size: str | None
    box: tuple[float, float, float, float]
    flip: bool = False


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


def _square(x: float, y: float, side: float) -> tuple[float, float, float, float]:
    return (x / GRID, y / GRID, (x + side) / GRID, (y + side) / GRID)


def place(
    kind: str, relation: str | None, count: int, rng: random.Random, size: str | None = None
) -> list[tuple[float, float, float, float]]:
    """Choose the squares of a scene's objects.

    Args:
        kind: one of ``KINDS``.
        relation: relation of the first object to the second, or None.
        count: number of objects, 1 to 5.
        rng: source of randomness.
        size: stated size of a single object: "small", "big" or None.

    Returns:
        ``count`` squares (x0, y0, x1, y1) in [0, 1], on the token grid.
    """
    if kind == "single":
        if size == "big":
            return [_square(0, 0, 16)]
        if size == "small":
            return [_square(rng.choice((4, 6)), rng.choice((4, 6, 8)), 6)]
        return [_square(4, rng.choice((4, 6)), 8)]
    if kind == "portrait" and count == 1:
        return [_square(0, 0, 16)]
    if relation == "with":
        return [_square(2, 4, 8), _square(10, rng.choice((6, 8)), 6)]
    if relation == "on top of":
        return [_square(rng.choice((4, 6)), 2, 6), _square(4, 8, 8)]
    if relation in ("above", "below"):
        upper, lower = _square(4, 0, 8), _square(4, 8, 8)
        return [upper, lower] if relation == "above" else [lower, upper]
    if count == 2:
        y = rng.choice((4, 6))
        left, right = _square(0, y, 8), _square(8, y, 8)
        return [right, left] if relation == "right of" else [left, right]
    if count == 3:
        triangle = [_square(4, 0, 8), _square(0, 8, 8), _square(8, 8, 8)]
        pointing_down = [_square(0, 0, 8), _square(8, 0, 8), _square(4, 8, 8)]
        return rng.choice((triangle, pointing_down))
    if count == 4:
        return [_square(0, 0, 8), _square(8, 0, 8), _square(0, 8, 8), _square(8, 8, 8)]
    # Five as on a die.
    return [_square(x, y, 6) for x, y in ((0, 0), (10, 0), (5, 5), (0, 10), (10, 10))]


def jitter_box(
    box: tuple[float, float, float, float], rng: random.Random
) -> tuple[float, float, float, float]:
    """Move a square off the grid by up to half a cell and scale it by up to a tenth."""
    side = (box[2] - box[0]) * rng.uniform(0.9, 1.1)
    x = min(max((box[0] + box[2] - side) / 2 + rng.uniform(-0.5, 0.5) / GRID, -0.02), 1.02 - side)
    y = min(max((box[1] + box[3] - side) / 2 + rng.uniform(-0.5, 0.5) / GRID, -0.02), 1.02 - side)
    return (x, y, x + side, y + side)


class SceneSampler:
    """Draws scenes; scene ``n`` of a split is always the same.

    Args:
        concepts: the concepts to draw from.
        split: names a stream of seeds; two splits share no scenes ("train-dalle", "eval", …).
        jitter: share of scenes whose objects stand off the token grid, in [0, 1].
        held_out: whether held-out pairs and triples may occur (never in training).
        weights: relative frequency by concept id, where it differs from the default; the closed
            loop of training raises the concepts that are drawn worst.
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
        weights: dict[str, float] | None = None,
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
        self.weights = [(COCO_WEIGHT if c.coco else 1.0) * scale.get(c.id, 1.0) for c in concepts]
        self.people = [c.id for c in concepts if c.group == "person"]
        self.things = [c.id for c in concepts if c.group not in ("person", "building", "weather")]
        kinds = KIND_WEIGHTS if kinds is None else kinds
        self.kinds, self.kind_weights = list(kinds), list(kinds.values())

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
            ids = [rng.choice(self.people)] + [rng.choice(self.things)] * rng.randint(0, 1)
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
        style = self._style(medium, rng)
        shared_colour = self._colour(ids[0], rng)
        objects = []
        for i, (concept, box) in enumerate(zip(ids, boxes, strict=True)):
            colour = shared_colour if kind == "count" or i == 0 else self._colour(concept, rng)
            objects.append(
                SceneObject(concept, style, colour if medium != "bw" else None, size, box)
            )
        background, said = self._background(rng)
        return Scene(kind, tuple(objects), relation, background, said, medium, seed)

    def _concept(self, rng: random.Random) -> str:
        return rng.choices(self.ids, self.weights)[0]

    def _style(self, medium: str | None, rng: random.Random) -> str:
        if medium in MEDIUM_STYLE:
            return MEDIUM_STYLE[medium]
        return rng.choices(list(STYLE_WEIGHTS), list(STYLE_WEIGHTS.values()))[0]

    def _colour(self, concept: str, rng: random.Random) -> str | None:
        if self.by_id[concept].colours and rng.random() < self.coloured:
            return rng.choice(COLOURS)
        return None

    def _background(self, rng: random.Random) -> tuple[str, bool]:
        draw = rng.random()
        if draw < self.in_place:
            return rng.choice(PLACES), True
        if draw < self.in_place + 0.06:
            return rng.choice(COLOURS), True
        # What the caption leaves open is mostly white; the rest teaches the model to vary.
        return ("white" if draw < 0.86 else rng.choice(PLACES)), False

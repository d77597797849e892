"""Prompts of what the embedded models draw well, put together at random.

The world of ``pipelines.world`` is wider than what the weights which ship draw so that one knows
it again. A prompt from here names things, places and media which were drawn by them and looked at
(``python -m benchmarks chips``), and no more of these at once than holds.
"""

from __future__ import annotations

import random
from typing import Any

from pipelines.world.concepts import Concept, concepts_by_id
from pipelines.world.grammar import load_grammar, settle_articles
from pipelines.world.noun_phrases import phrases
from pipelines.world.scenes import MEDIA, RELATIONS

# Captions call pictures in black and white photographs.
KNOWN_MEDIA = tuple(medium for medium in MEDIA if medium != "bw")
# Which "with" can be drawn depends on the things.
KNOWN_RELATIONS = tuple(relation for relation in RELATIONS if relation != "with")
# What lies on top of another is lost more often than not.
SURE_RELATIONS = tuple(relation for relation in KNOWN_RELATIONS if relation != "on top of")
# Chosen by looking at what DALL·E and unCLIP draw of them beside others, and alone.
DRAWN = (
    "dog", "cat", "giraffe", "lion", "fox", "panda", "penguin", "camel", "cow", "koala", "frog",
    "turtle", "butterfly", "whale", "duck", "owl", "bear", "crab", "shark", "apple", "banana",
    "pizza", "lemon", "pear", "watermelon", "hamburger", "castle", "house", "car", "bus", "taxi",
    "tractor", "bicycle", "airplane", "guitar", "umbrella", "clock", "tulip", "sunflower", "cactus",
    "mushroom", "dress", "soccer-ball", "trophy", "key", "skateboard")
ALONE = ("elephant", "fish", "rocket", "carrot", "star", "kite", "balloon", "horse")
# What keeps its look in another colour, and the colours in which it does.
COLOURED = ("dog", "cat", "giraffe", "camel", "apple", "car", "bus", "airplane", "guitar",
            "umbrella", "dress", "carrot", "star")
SURE_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
MOST = 4  # of a thing; of five each is too small
_DRAWN_PLACES = ("grass", "beach", "snow", "desert")
_DRAWN_MEDIA = ("emoji", "icon", "mosaic")
_KINDS = {"one": 3, "several": 2, "two": 4, "relation": 6}
_P_COLOUR, _P_PLACE, _P_MEDIUM = 0.8, 0.6, 0.3


def surprise(rng: random.Random, language: str = "en") -> str:
    """A new prompt.

    Args:
        rng: source of randomness; the same state gives the same prompt.
        language: "en" or "pt".

    Returns:
        A lower-case phrase such as "a watercolor painting of a red car".
    """
    words = load_grammar(language)
    kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
    # A place or a medium beside one thing in its own colours: with more, something is lost.
    draw = rng.random() if kind == "one" else 1.0
    medium = rng.choice(_DRAWN_MEDIA) if _P_PLACE <= draw < _P_PLACE + _P_MEDIUM else None
    said = _things(kind, rng, words, language, coloured=draw >= _P_PLACE + _P_MEDIUM)
    if draw < _P_PLACE:
        said = f"{said} {words['places'][rng.choice(_DRAWN_PLACES)].pick(rng)}"
    if medium:
        said = words["media"][medium].pick(rng).format(s=said)
    return settle_articles(said)


def _things(kind: str, rng: random.Random, words: dict[str, Any], language: str,
            coloured: bool) -> str:
    says = phrases(language)
    names = (*DRAWN, *ALONE) if kind in ("one", "several") else DRAWN
    first, second = rng.sample(list(map(concepts_by_id().__getitem__, names)), 2)
    if kind == "several":
        number = says.number(rng.randint(2, MOST), first, rng)
        return f"{number} {says.plural(first, rng, colour=_colour(first, rng, coloured))}"
    a, b = (says.phrase(concept, rng, colour=_colour(concept, rng, coloured), gendered=True)
            for concept in (first, second))
    if kind == "one":
        return str(a)
    template = words["pair_default"]
    if kind == "relation":
        # The others are sentences, before which no medium can stand.
        plain = [t for t in words["relations"][rng.choice(SURE_RELATIONS)].values
                 if t.startswith("{") and "{the_" not in t]
        template = rng.choice(plain)
    return template.format(a=a, b=b)


def _colour(concept: Concept, rng: random.Random, coloured: bool) -> str | None:
    if coloured and concept.id in COLOURED and rng.random() < _P_COLOUR:
        return rng.choice(SURE_COLOURS)
    return None

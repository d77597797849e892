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
from pipelines.world.hard_negatives import GREY_MEDIA
from pipelines.world.noun_phrases import phrases
from pipelines.world.scenes import COLOURS, MEDIA, RELATIONS

# Captions call pictures in black and white photographs.
KNOWN_MEDIA = tuple(medium for medium in MEDIA if medium != "bw")
# Which "with" can be drawn depends on the things.
KNOWN_RELATIONS = tuple(relation for relation in RELATIONS if relation != "with")
DRAWN = (
    "dog", "cat", "horse", "elephant", "giraffe", "lion", "fox", "panda", "penguin", "camel",
    "fish", "apple", "banana", "pizza", "carrot", "bell-pepper", "car", "bus", "bicycle",
    "airplane", "rocket", "guitar", "umbrella", "clock", "balloon", "kite", "star",
    "american-football")
_DRAWN_PLACES = ("grass", "beach", "snow", "desert")
_DRAWN_MEDIA = ("emoji", "icon", "watercolour", "mosaic")
_KINDS = {"one": 4, "several": 2, "two": 2, "relation": 3}
_P_COLOUR, _P_PLACE, _P_MEDIUM = 0.6, 0.5, 0.35


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
    # A place or a medium beside one thing alone: with more, something is lost.
    draw = rng.random() if kind == "one" else 1.0
    medium = rng.choice(_DRAWN_MEDIA) if _P_PLACE <= draw < _P_PLACE + _P_MEDIUM else None
    said = _things(kind, rng, words, language, coloured=medium not in GREY_MEDIA)
    if draw < _P_PLACE:
        said = f"{said} {words['places'][rng.choice(_DRAWN_PLACES)].pick(rng)}"
    if medium:
        said = words["media"][medium].pick(rng).format(s=said)
    return settle_articles(said)


def _things(kind: str, rng: random.Random, words: dict[str, Any], language: str,
            coloured: bool) -> str:
    says = phrases(language)
    first, second = rng.sample(list(map(concepts_by_id().__getitem__, DRAWN)), 2)
    if kind == "several":
        number = says.number(rng.randint(2, 5), first, rng)
        return f"{number} {says.plural(first, rng, colour=_colour(first, rng, coloured))}"
    a, b = (says.phrase(concept, rng, colour=_colour(concept, rng, coloured), gendered=True)
            for concept in (first, second))
    if kind == "one":
        return str(a)
    template = words["pair_default"]
    if kind == "relation":
        # The others are sentences, before which no medium can stand.
        plain = [t for t in words["relations"][rng.choice(KNOWN_RELATIONS)].values
                 if t.startswith("{") and "{the_" not in t]
        template = rng.choice(plain)
    return template.format(a=a, b=b)


def _colour(concept: Concept, rng: random.Random, coloured: bool) -> str | None:
    if coloured and concept.colours and rng.random() < _P_COLOUR:
        return rng.choice(COLOURS)
    return None

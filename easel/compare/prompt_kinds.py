"""Which kind of thing a prompt asks for, so that votes can be counted for each kind."""

from __future__ import annotations

import functools
import re

KINDS = ("media", "people", "counts", "relations", "places", "colours", "objects")
_WORDS = {
    "media": r"watercolou?r|oil painting|painting of|pencil sketch|sketch of|drawing of|pixel art|"
             r"mosaic|neon|black and white|cartoon|photo of",
    "counts": r"two|three|four|five|six|seven|eight|nine|ten|[2-9]|a pair of|a couple of",
    "relations": r"left of|right of|above|below|under|over|next to|beside|on top of|behind|"
                 r"in front of|on the left|on the right",
    "places": r"in the snow|at sunset|at night|under ?water|in space|on the beach|in the desert|"
              r"in a forest|in the forest|in the city|in a room|background|on the grass|in the sky",
    "colours": r"red|orange|yellow|green|blue|purple|violet|pink|brown|black|white|gr[ae]y",
}
_PEOPLE = ("man", "woman", "person", "people", "boy", "girl", "child", "baby", "portrait")


@functools.cache
def _people() -> str:
    """Words for people: those of the world where it is installed."""
    words = set(_PEOPLE)
    try:
        from pipelines.world.concepts import load_concepts
    except ImportError:
        pass
    else:
        for concept in load_concepts():
            if concept.group == "person":
                words |= {*concept.names, *concept.plurals, *concept.role_names}
    return "|".join(re.escape(word.lower()) for word in sorted(words, key=len, reverse=True))


def kind_of(prompt: str) -> str:
    """The first of ``KINDS`` that a prompt shows a word of; "objects" where there is none.

    "a green apple under water" asks for more than one thing; the rarer kind is counted.
    """
    text = prompt.lower()
    for kind in KINDS[:-1]:
        words = _people() if kind == "people" else _WORDS[kind]
        if re.search(rf"(?<![\w-])(?:{words})(?![\w-])", text):
            return kind
    return KINDS[-1]

"""Media that the embedded generators know the look of, and in which most things are lost.

Chosen by looking at twelve things in each of the ten media, drawn once by DALL·E: a 3D icon had all
of them, an emoji, a mosaic or a picture in black and white most, these at best a few.
"""

from __future__ import annotations

import re
from functools import cache

from pipelines.world.grammar import raw_grammar

LOST = ("sticker", "oil", "pencil", "pixel", "neon")


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Of the templates that say a lost medium, in every language of the captions."""
    templates = [text for words in raw_grammar().values() for medium in LOST
                 for _, text in words["media"][medium]]
    return tuple(re.compile(re.escape(text).replace(re.escape("{s}"), "(?P<said>.+)"), re.I)
                 for text in templates)


def without_lost_medium(prompt: str) -> str | None:
    """A prompt without the medium in which its things are likely to be lost.

    Args:
        prompt: English or Portuguese.

    Returns:
        What stands in the medium, as it was typed; None where the prompt names none of these media.
    """
    for pattern in _patterns():
        if found := pattern.fullmatch(prompt.strip()):
            return found["said"].strip()
    return None

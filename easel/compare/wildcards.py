"""Words for wildcards: the concepts, colours and places that the embedded models know."""

from __future__ import annotations

import functools
import re
from pathlib import Path

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
           "gray")
PLACES = ("in the snow", "at sunset", "at night", "under water", "in space", "on the beach",
          "in the desert", "in a forest", "in the city")
MEDIA = ("a watercolor painting of", "an oil painting of", "a pencil sketch of", "pixel art of",
         "a mosaic of")
MAX_LISTS, MAX_LIST_BYTES, MAX_WORD_CHARS = 200, 2**20, 200
OWN = "wildcards"  # folder in the data folder
_NAME = re.compile(r"[a-z][a-z0-9-]*")
NUMBERS = ("two", "three", "four", "five")


@functools.cache
def wildcard_words() -> dict[str, tuple[str, ...]]:
    """Words by wildcard: colour, place, medium, number, thing, and each group of concepts.

    The concepts are those of the world that the embedded models were trained on; without it there
    are the others alone.
    """
    found = {"colour": COLOURS, "color": COLOURS, "place": PLACES, "medium": MEDIA,
             "number": NUMBERS}
    try:
        from pipelines.world.concepts import load_concepts
    except ImportError:
        return found
    groups: dict[str, list[str]] = {}
    for concept in load_concepts():
        groups.setdefault(concept.group, []).append(concept.name)
        groups.setdefault("thing", []).append(concept.name)
    return {**found, **{group: tuple(names) for group, names in sorted(groups.items())}}


def own_wildcards(folder: Path) -> dict[str, tuple[str, ...]]:
    """The lists of words in a folder: a text file each, ``NAME.txt``, with one word a line.

    Args:
        folder: need not be there. Files that are no text, or whose name no wildcard can have, are
            passed over; lines that begin with # are remarks.
    """
    found = {}
    for path in sorted(folder.glob("*.txt"))[:MAX_LISTS]:
        try:
            with path.open("rb") as file:
                text = file.read(MAX_LIST_BYTES).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            continue
        words = tuple(dict.fromkeys(
            " ".join(line.split())[:MAX_WORD_CHARS] for line in text.splitlines()
            if line.strip() and not line.lstrip().startswith("#")))
        if words and _NAME.fullmatch(path.stem):
            found[path.stem] = words
    return found


def suggestions(text: str, limit: int = 8) -> list[str]:
    """Wildcards and words that complete the end of a prompt, for autocompletion.

    Args:
        text: the prompt up to the cursor.
        limit: how many at most.

    Returns:
        ``__animal__`` and the like after two underscores; else words of the world that begin as
        the last word does, which has at least two letters and is not one of them.
    """
    words = wildcard_words()
    last = text.rsplit(" ", 1)[-1].lower()
    if last.startswith("__"):
        start = last[2:].rstrip("_")
        return [f"__{name}__" for name in words
                if name.startswith(start) and last != f"__{name}__"][:limit]
    if len(last) < 2:
        return []
    known = {word for names in words.values() for word in names
             if " " not in word and word.startswith(last)}
    return [] if last in known else sorted(known)[:limit]

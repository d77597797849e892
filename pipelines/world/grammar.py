"""The words and templates of the captions, from ``grammar.toml``, and their random choice."""

from __future__ import annotations

import functools
import random
import re
import tomllib
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

GRAMMAR_PATH = Path(__file__).with_name("grammar.toml")
_AN = ("hour", "honest", "heir", "suv", "x-ray", "8")
_A = ("uni", "eur", "ufo", "uku", "use", "one")


class Choices:
    """Weighted alternatives, drawn with one random number."""

    def __init__(self, options: Sequence[tuple[float, Any]]) -> None:
        self.values = [value for _, value in options]
        self._sums = list(accumulate(weight for weight, _ in options))

    def pick(self, rng: random.Random) -> Any:
        """One of the values, by weight."""
        return self.values[bisect(self._sums, rng.random() * self._sums[-1])]


def _compile(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _compile(value) for key, value in node.items()}
    if isinstance(node, list) and node and isinstance(node[0], list):
        return Choices([(weight, value) for weight, value in node])
    return node


@functools.cache
def load_grammar(language: str) -> dict[str, Any]:
    """The words and templates of one language, with weighted lists as ``Choices``.

    Raises:
        KeyError: The language is not one of the grammar's.
    """
    return _compile(raw_grammar()[language])


@functools.cache
def raw_grammar() -> dict[str, Any]:
    """``grammar.toml`` as it is."""
    with GRAMMAR_PATH.open("rb") as file:
        return tomllib.load(file)


def grammar_strings(node: Any) -> Iterator[str]:
    """Every string of the grammar, placeholders removed."""
    if isinstance(node, dict):
        for value in node.values():
            yield from grammar_strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from grammar_strings(value)
    elif isinstance(node, str):
        yield re.sub(r"\{\w+\}", " ", node.replace("a~", "a an").replace("|", " "))


@dataclass(frozen=True)
class Phrase:
    """A noun phrase: ``article`` is empty or ends in a space; "a~ " stands for "a " or "an "."""

    article: str
    bare: str

    def __str__(self) -> str:
        return self.article + self.bare


def indefinite_article(following: str) -> str:
    """ "a" or "an", by the sound that ``following`` starts with."""
    if following.startswith(_A):
        return "a"
    return "an" if following.startswith(_AN) or following[:1] in "aeiou" else "a"


def settle_articles(text: str) -> str:
    """Replaces each "a~" by "a" or "an"."""
    first, *rest = text.split("a~ ")
    return first + "".join(f"{indefinite_article(part)} {part}" for part in rest)

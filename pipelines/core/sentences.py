"""Finished sentences that remember what they were made of, so that they can be said in a language.

The engine speaks English. What shows its sentences looks a template up in a table of translations
and puts the values into what it finds there, instead of guessing both from the finished text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from string import Formatter
from typing import Any


class Sentence(str):
    """A text made of a template and values.

    Args:
        template: as ``str.format`` reads it, its places without names; as it stands where there
            are no values.
        values: for the places; texts among them, sentences too, may be translated by themselves.
    """

    template: str
    values: tuple[Any, ...]

    def __new__(cls, template: str, *values: Any) -> Sentence:
        made = super().__new__(cls, template.format(*values) if values else template)
        made.template, made.values = template, values
        return made

    def __str__(self) -> str:
        return self  # where str() would forget what it was made of

    def __reduce__(self) -> tuple[type[Sentence], tuple[Any, ...]]:
        return Sentence, (self.template, *self.values)

    def to_text(self) -> str:
        """A text for a database: the sentence itself, or where it has values JSON of its parts."""
        return json.dumps([self.template, *self.values]) if self.values else str.__str__(self)

    @classmethod
    def from_text(cls, text: str) -> Sentence:
        """What ``to_text`` gave; any other text is a sentence without values."""
        try:
            parts = json.loads(text) if text.startswith('["') else None
            return cls(*parts) if parts else cls(text)
        except (ValueError, LookupError):
            return cls(text)

    def places(self) -> Iterator[tuple[Any, str, str]]:
        """Of each place the value, its format, and its conversion ("r" for ``{!r}``)."""
        values = iter(self.values)
        for _, name, form, conversion in Formatter().parse(self.template) if self.values else ():
            if name is not None:
                yield next(values), form or "", conversion or ""


def several(sentences: Iterable[str], between: str = " ") -> Sentence:
    """Sentences one after the other as one, each of which is translated by itself."""
    parts = list(sentences)
    return Sentence(between.join(["{}"] * len(parts)), *parts)


def joined(separator: str, parts: Iterable[str], end: str = "") -> Sentence:
    """Parts as one sentence, whose template is made of theirs.

    Args:
        separator: between the parts; a text, not a template.
        parts: sentences, or texts without braces.
        end: after them.
    """
    pieces = [part if isinstance(part, Sentence) else Sentence(part) for part in parts]
    return Sentence(separator.join(piece.template for piece in pieces) + end,
                    *(value for piece in pieces for value in piece.values))

"""The language of whoever asks: English, or Portuguese where the browser prefers it.

What stands on the page from the start is translated in the browser (``easel.ui.words.page_words``);
what the server says later is translated here, in the language of the request that it answers. The
words themselves are in ``translations``, one file a language, with the English text as the key: a
text without an entry is shown in English.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import Any

from gradio.context import LocalContext
from starlette.datastructures import Headers

ENGLISH, PORTUGUESE = "en", "pt"
TRANSLATIONS = Path(__file__).parent / "translations"
# Templates of fewer letters ("{} of {}") would also fit sentences that they were not made for; in
# those of few letters ("Picture {}"), a value is one word unless it comes after a colon.
MIN_LETTERS, FEW_LETTERS = 4, 8
MAX_DEPTH = 4  # values within values that are words again

_chosen: ContextVar[str | None] = ContextVar("language", default=None)


def language_of(headers: Mapping[str, str] | Headers) -> str:
    """The language of a request: Portuguese where its first choice is, else English.

    Gradio's page goes by ``navigator.language``, which is the first of the same list.
    """
    first = Headers(dict(headers)).get("accept-language", "").split(",")[0].split(";")[0]
    return PORTUGUESE if first.strip().lower().split("-")[0] == PORTUGUESE else ENGLISH


def current() -> str:
    """The language to speak now: as ``speaking`` says, else that of the request in progress."""
    if (chosen := _chosen.get()) is not None:
        return chosen
    request: Any = LocalContext.request.get(None)  # set by Gradio around every handler
    return ENGLISH if request is None else language_of(request.headers)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Speak a language inside ``with``, whoever asks. Not across a ``yield`` of a handler."""
    token = _chosen.set(language)
    try:
        yield
    finally:
        _chosen.reset(token)


@dataclass(frozen=True)
class Template:
    """What finished sentences look like: a text with places for values.

    Found without patterns, in a time in proportion to the sentence: values come from anyone.

    Attributes:
        literals: what stands around the places, one more than there are.
        one_word: for each place, whether its value has no blanks.
    """

    literals: tuple[str, ...]
    one_word: tuple[bool, ...]

    @classmethod
    def of(cls, text: str) -> Template:
        """The template of a text as ``str.format`` reads it."""
        few, literals, one_word, open_end = _letters(text) < FEW_LETTERS, [], [], True
        for literal, name, *_ in Formatter().parse(text):
            literals.append(literal)
            open_end = name is not None
            if open_end:
                one_word.append(few and not literal.endswith(": "))
        return cls((*literals, "") if open_end else tuple(literals), tuple(one_word))

    def values(self, text: str) -> list[str] | None:
        """What stands in the places of a sentence, each as short as it can be, none empty; None
        where the sentence is not of this template."""
        first, *middle, last = self.literals
        start, end = len(first), len(text) - len(last)
        if start >= end or not text.startswith(first) or not text.endswith(last):
            return None
        found = []
        for literal in middle:
            at = text.find(literal, start + 1, end)
            if at < 0:
                return None
            found.append(text[start:at])
            start = at + len(literal)
        found.append(text[start:end])
        fits = all(value and (not one or value.split() == [value])
                   for value, one in zip(found, self.one_word, strict=True))
        return found if fits else None


@dataclass(frozen=True)
class Catalogue:
    """The words of one language.

    Attributes:
        texts: by English text; both may hold places for values, as ``str.format`` writes them.
        templates: what finished English sentences look like, and the text that each becomes.
    """

    texts: Mapping[str, str]
    templates: tuple[tuple[Template, str], ...]

    def say(self, text: str, depth: int = MAX_DEPTH) -> str:
        """A text in this language; itself where there is no entry for it.

        Args:
            text: whole, or a finished sentence.
            depth: how often values within values are looked up as words of their own.
        """
        if (found := self.texts.get(text)) is not None:
            return found
        for template, translated in self.templates if depth else ():
            if (values := template.values(text)) is not None:
                # What was put in may be words as well, such as the title of an option.
                return translated.format(*(self.say(value, depth - 1) for value in values))
        return text


@lru_cache
def load_catalogue(language: str) -> Catalogue:
    """The words of a language, from its file in ``translations``.

    Raises:
        ValueError: two sections translate a text in two ways.
    """
    sections = tomllib.loads((TRANSLATIONS / f"{language}.toml").read_text(encoding="utf-8"))
    texts: dict[str, str] = {}
    for section in sections.values():
        for english, translated in section.items():
            if texts.setdefault(english, translated) != translated:
                raise ValueError(f"{english!r} is translated in two ways")
    found = [(english, translated) for english, translated in texts.items()
             if _is_template(english) and _letters(english) >= MIN_LETTERS]
    # The most specific first.
    found.sort(key=lambda pair: (-_letters(pair[0]), -pair[0].count("{")))
    return Catalogue(texts, tuple((Template.of(english), _plain(translated))
                                  for english, translated in found))


def _is_template(text: str) -> bool:
    """Whether a text has places, all of them without a number; others stand for no sentence."""
    try:
        names = [name for _, name, *_ in Formatter().parse(text) if name is not None]
    except ValueError:  # braces that are words, not places
        return False
    return bool(names) and not any(names)


def _letters(template: str) -> int:
    return sum(char.isalpha() for literal, *_ in Formatter().parse(template) for char in literal)


def _plain(template: str) -> str:
    """A template whose values are texts already: without their formats."""
    parts = []
    for literal, name, *_ in Formatter().parse(template):
        parts.append(literal.replace("{", "{{").replace("}", "}}"))
        parts.append("" if name is None else f"{{{name}}}")
    return "".join(parts)


def say(text: str) -> str:
    """A text, or a finished sentence such as an error's, in the language to speak now."""
    language = current()
    return text if language == ENGLISH else load_catalogue(language).say(text)


def say_all(words: Any) -> Any:
    """As ``say`` for texts in tuples, lists and the values of dictionaries; the rest as it is."""
    if isinstance(words, str):
        return say(words)
    if isinstance(words, tuple | list):
        return type(words)(map(say_all, words))
    if isinstance(words, dict):
        return {key: say_all(value) for key, value in words.items()}
    return words


def figure(value: float, form: str) -> str:
    """A number as the language to speak now writes it: 1,234.5 in English is 1.234,5 elsewhere.

    Args:
        value: what to write.
        form: as for ``format``, such as ",.1f".
    """
    return written(format(value, form))


def written(number: str) -> str:
    """The same for a number that is a text already, perhaps with its unit, such as "5.9 MB"."""
    return number if current() == ENGLISH else number.translate(str.maketrans(".,", ",."))


def in_every_language(render: Callable[[], str]) -> dict[str, str]:
    """What a function says in each language."""
    found = {}
    for language in (ENGLISH, PORTUGUESE):
        with speaking(language):
            found[language] = render()
    return found

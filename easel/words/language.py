"""The language of whoever asks: English, or Portuguese where the browser prefers it.

What stands on the page from the start is translated in the browser (``easel.ui.parts.page_words``);
what the server says later is translated here, in the language of the request that it answers. The
words themselves are in ``translations``, one file a language, with the English text or template as
the key: what has no entry is shown in English. Nothing is guessed from a finished text: a sentence
with values carries its template (``pipelines.core.sentences``).
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

from pipelines.core.sentences import Sentence

ENGLISH, PORTUGUESE = "en", "pt"
TRANSLATIONS = Path(__file__).parent / "translations"
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
class Catalogue:
    """The words of one language.

    Attributes:
        texts: by English text; both may hold places for values, as ``str.format`` writes them.
        templates: those with places, both without the formats of the values.
    """

    texts: Mapping[str, str]
    templates: Mapping[str, str]

    def say(self, text: str) -> str:
        """A text in this language; itself where there is no entry for it.

        A sentence is looked up by its template. Texts among its values may be words as well, such
        as the title of an option, and numbers are written as the language writes them.
        """
        if not isinstance(text, Sentence) or not text.values:
            return self.texts.get(text, str.__str__(text))
        template = bare(text.template)
        if any(map(str.isalpha, template)):  # else nothing but its values is to be translated
            template = self.templates.get(template)
        if template is None:
            return str.__str__(text)
        return template.format(*(self._value(*place) for place in text.places()))

    def _value(self, value: Any, form: str, conversion: str) -> str:
        if isinstance(value, str) and not conversion:
            return self.say(value)
        shown = format(repr(value) if conversion == "r" else value, form)
        return commas_swapped(shown) if isinstance(value, int | float) else shown


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
    return Catalogue(texts, {bare(english): bare(translated)
                             for english, translated in texts.items() if has_places(english)})


def has_places(text: str) -> bool:
    """Whether a text has places for values, all of them without a name."""
    try:
        names = [name for _, name, *_ in Formatter().parse(text) if name is not None]
    except ValueError:  # braces that are words, not places
        return False
    return bool(names) and not any(names)


def bare(template: str) -> str:
    """A template with its places, but without formats: "{:,} pictures" is "{} pictures"."""
    parts = []
    for literal, name, *_ in Formatter().parse(template):
        parts.append(literal.replace("{", "{{").replace("}", "}}"))
        parts.append("" if name is None else f"{{{name}}}")
    return "".join(parts)


def say(text: str) -> str:
    """A text, or a sentence such as an error's, in the language to speak now."""
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


def counted(number: int, forms: tuple[str, str], *values: Any) -> str:
    """A text about a number of things, which is another one for one of them.

    Args:
        number: of things; no things are said as several are.
        forms: for one and for several, in the language to speak; the first place is the number's.
        values: for the other places.
    """
    return forms[number != 1].format(figure(number, ","), *values)


def written(number: str) -> str:
    """The same for a number that is a text already, perhaps with its unit, such as "5.9 MB"."""
    return number if current() == ENGLISH else commas_swapped(number)


def commas_swapped(number: str) -> str:
    """A number with the commas and points of Portuguese."""
    return number.translate(str.maketrans(".,", ",."))


def in_every_language(render: Callable[[], str]) -> dict[str, str]:
    """What a function says in each language."""
    found = {}
    for language in (ENGLISH, PORTUGUESE):
        with speaking(language):
            found[language] = render()
    return found

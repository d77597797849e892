"""How the things of an English prompt are put together, beside how captions put them together.

A model that knows "cloud" and "castle" may still never have seen one "in" the other: captions set
things side by side, above each other, and at places. What else a prompt asks for can be told from
the words between its things, and be said as captions say it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

from pipelines.world.concepts import Concept, load_concepts
from pipelines.world.grammar import grammar_strings, indefinite_article, raw_grammar

Kind = Literal["thing", "place", "joint", "medium", "word"]
_TOKEN = re.compile(r"[^\W_]+(?:['’-]+[^\W_]+)*|[,&.;:!?]")
# Between two things these put one where no caption has it; other words are left to who reads them.
_ELSEWHERE = frozenset((
    "in", "inside", "into", "within", "of", "from", "at", "to", "by", "behind", "around", "through",
    "against", "along", "among", "across", "between", "during"))
_ARTICLES = frozenset(("a", "an", "the", "some", "one", "my", "your", "his", "her", "its", "their"))
_CARRIED = frozenset(("handbag", "backpack", "suitcase", "briefcase", "umbrella", "lipstick",
                      "diamond"))
_WEARS = frozenset(("with", "in", "wearing", "wears"))


@dataclass(frozen=True)
class Composition:
    """What captions do not put together as a prompt does.

    Attributes:
        worn: whether somebody should wear something, which then stands beside.
        rewritten: the prompt as captions would say it.
    """

    worn: bool
    rewritten: str


@dataclass(frozen=True)
class _Part:
    kind: Kind
    text: str
    start: int
    end: int
    concept: Concept | None = None
    several: bool = False


@dataclass(frozen=True)
class _Words:
    phrases: Mapping[tuple[str, ...], tuple[Kind, Concept | None, bool]]
    longest: int
    adjectives: frozenset[str]
    numbers: frozenset[str]
    places: Mapping[str, str]


@cache
def _words() -> _Words:
    grammar = raw_grammar()["en"]
    phrases: dict[tuple[str, ...], tuple[Kind, Concept | None, bool]] = {}

    def add(text: str, kind: Kind, concept: Concept | None = None, several: bool = False) -> None:
        if words := tuple(_TOKEN.findall(text.lower())):
            phrases.setdefault(words, (kind, concept, several))

    for templates in grammar["relations"].values():
        for _, template in templates:
            if found := re.fullmatch(r"\{[ab]\} (.+) \{[ab]\}", template):
                add(found[1], "joint")
    for text in ("and", "&", ",", "plus", "together with"):
        add(text, "joint")
    places = {name: [text for _, text in values] for name, values in grammar["places"].items()
              if name not in ("joins", "colour")}
    for texts in places.values():
        for text in texts:
            add(text, "place")
    for colour in grammar_strings(grammar["colours"]):
        for _, text in grammar["places"]["colour"]:
            for article in ("a", "an"):
                add(text.replace("a~", article).replace("{c}", colour), "place")
    for table in ("media", "styles", "keywords"):
        for text in grammar_strings(grammar[table]):
            add(re.sub(r"^an? | of *$|^ *, *| as an? *$", "", text.strip()), "medium")
    for text in ("portrait of", "closeup of", "close-up of", "photo of", "picture of"):
        add(text, "medium")
    for concept in load_concepts():
        for name in (*concept.names, *concept.role_names):
            add(name, "thing", concept)
        for name in concept.plurals:
            add(name, "thing", concept, True)
    # The noun of a place, which by itself is not a place.
    nouns: dict[str, str] = {}
    for texts in places.values():
        for text in texts:
            last = text.split()[-1]
            if "background" not in text and (last,) not in phrases:
                nouns.setdefault(last, texts[0])
    adjectives = frozenset(word for table in ("colours", "sizes", "ages", "tones", "niceties")
                           for text in grammar_strings(grammar[table]) for word in text.split())
    return _Words(phrases, max(map(len, phrases)), adjectives,
                  frozenset(grammar_strings(grammar["numbers"])), nouns)


def _parts(prompt: str) -> Iterator[_Part]:
    """The parts of a prompt in order, the longest phrases first."""
    known = _words()
    tokens = [(found.group().lower(), found.start(), found.end())
              for found in _TOKEN.finditer(prompt)]
    place = 0
    while place < len(tokens):
        size = next((size for size in range(min(known.longest, len(tokens) - place), 0, -1)
                     if tuple(word for word, *_ in tokens[place:place + size]) in known.phrases), 0)
        word, start, end = tokens[place]
        if size == 1 and word in known.adjectives and place + 1 < len(tokens) \
                and tokens[place + 1][0].isalpha() and tokens[place + 1][0] not in ("and", "at"):
            size = 0  # "an orange cat" has no orange in it
        if size:
            words = tuple(each for each, *_ in tokens[place:place + size])
            kind, concept, several = known.phrases[words]
            end = tokens[place + size - 1][2]
            yield _Part(kind, prompt[start:end].lower(), start, end, concept, several)
        else:
            yield _Part("word", word, start, end)
        place += size or 1


def read_composition(prompt: str) -> Composition | None:
    """What of an English prompt no caption puts together so; None where nothing is found."""
    parts = list(_parts(prompt))
    things = [index for index, part in enumerate(parts) if part.kind == "thing"]
    edits: list[tuple[int, int, str]] = []
    worn = False
    for first, second in pairwise(things):
        joint = _joint(parts[first + 1:second])
        if joint is None:
            return None  # more than can be told
        wears = _wears(parts[first], parts[second], joint) and not prompt[
            parts[second].end:].lstrip().lower().startswith(("on top", "above"))
        worn |= wears
        if joint and (wears or any(part.text in _ELSEWHERE for part in joint
                                   if part.kind == "word")):
            edits.append((joint[0].start, joint[-1].end, "next to" if wears else "and"))
    if len(things) > 1:
        edits += [each for index in things if (each := _counted(parts, index)) is not None]
    at = _moved_place(prompt, parts, things) if things and not edits else None
    if at is not None:
        edits.append(at[0])
    if not edits:
        return None
    edits += [each for index in things
              if (each := _singular(parts, index, len(things) > 1)) is not None]
    text = prompt
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    if at is not None:
        clause, comma, rest = text.partition(",")
        text = f"{clause.strip()} {at[1]}{comma}{rest}"
    return Composition(worn, re.sub(r" {2,}", " ", text).strip())


def _joint(between: Sequence[_Part]) -> list[_Part] | None:
    """What joins two things; None where it cannot be told."""
    known = _words()
    found = [part for part in between if not (part.kind == "word" and (
        part.text in _ARTICLES or part.text in known.adjectives or part.text in known.numbers))]
    if any(part.kind in ("place", "medium") for part in found) or len(found) > 2:
        return None
    if any(part.kind == "word" and part.text not in _ELSEWHERE | _WEARS for part in found):
        return None
    return found


def _wears(who: _Part, what: _Part, joint: Sequence[_Part]) -> bool:
    if who.concept is None or what.concept is None or what.concept.id in _CARRIED:
        return False
    return (who.concept.group in ("person", "animal") and what.concept.group == "clothing"
            and len(joint) == 1 and joint[0].text in _WEARS)


def _determiner(parts: Sequence[_Part], index: int) -> _Part | None:
    """The number or article of a thing, before its adjectives."""
    known = _words()
    while index and parts[index - 1].kind == "word" and parts[index - 1].text in known.adjectives:
        index -= 1
    before = parts[index - 1] if index else None
    return before if before is not None and before.kind == "word" and before.text in (
        _ARTICLES | known.numbers) else None


def _counted(parts: Sequence[_Part], index: int) -> tuple[int, int, str] | None:
    """A number of something beside something else; captions count one kind of thing."""
    number = _determiner(parts, index)
    if number is None or number.text not in _words().numbers or not parts[index].several:
        return None
    following = parts[parts.index(number) + 1]
    said = following.text if following is not parts[index] else _name(parts[index])
    return number.start, number.end, indefinite_article(said)


def _singular(parts: Sequence[_Part], index: int, uncounted: bool,
              ) -> tuple[int, int, str] | None:
    """Several of a thing without a number, or whose number went, as one of it."""
    part, before = parts[index], _determiner(parts, index)
    if not part.several or (before is not None and before.text in _words().numbers
                            and not uncounted):
        return None
    if before is None:
        name = _name(part)
        return part.start, part.end, f"{indefinite_article(name)} {name}"
    if before.text == "the":
        return before.start, part.end, f"{indefinite_article(_name(part))} {_name(part)}"
    return part.start, part.end, _name(part)


def _name(part: _Part) -> str:
    concept = part.concept
    if concept is None or part.text not in concept.plurals:
        return part.text if concept is None else concept.name
    return concept.names[concept.plurals.index(part.text)]


def _moved_place(prompt: str, parts: Sequence[_Part], things: Sequence[int],
                 ) -> tuple[tuple[int, int, str], str] | None:
    """The noun of a place before the things, and the place as captions say it after them."""
    known = _words()
    if any(part.kind == "place" for part in parts):
        return None
    for index, part in enumerate(parts[:things[0]]):
        if part.kind == "word" and part.text in known.places:
            end = index + 1
            while end < things[0] and (parts[end].kind == "joint" or parts[end].text in _ELSEWHERE):
                end += 1
            start = index - 1 if index and parts[index - 1].text in _ARTICLES else index
            return (parts[start].start, parts[end].start, ""), known.places[part.text]
    return None

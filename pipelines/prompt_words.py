"""What of a prompt the embedded models know: word by word, with what to write instead.

A word is known where training captions contain it, by itself or in the name that it stands in; else
it may be a known one misspelt, or near a known one by a sentence encoder ("puppy" is near "dog"),
or neither. Nothing is replaced in silence: a reading says what could be written instead.

Source: Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks"
(2019), section 3 (nearness is the cosine of embeddings).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from pipelines.core.errors import EaselError
from pipelines.models.tokenizer import Vocabulary
from pipelines.world.grammar import indefinite_article
from pipelines.zero_shot import fill_template

Encode = Callable[[Sequence[str]], np.ndarray]
Kind = Literal["known", "near", "misspelt", "unknown"]
NEAR = 0.54  # by `python -m benchmarks words`, where precision counts twice as much as recall
TEMPLATE = "a {}"  # the article sets things apart from actions
LEAST_LETTERS, LONG = 5, 7  # of a word that may have one letter wrong, and two
MAX_REMEMBERED = 10_000
# Ways to say where things are that no caption uses, and those that captions do.
RELATIONS = {"riding": "on top of", "rides": "on top of", "wearing": "with", "wears": "with",
             "beneath": "below", "alongside": "next to", "behind": "next to", "inside": "in"}
# No caption has these; what belongs to somebody is drawn as one of it.
POSSESSIVES = ("my", "your", "his", "her", "its", "our", "their")
_WORD = re.compile(r"[^\W_]+(?:['’-]+[^\W_]+)*")


def _words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Small words that tell languages apart: those of one alone, and of both that are read.
_ENGLISH = _words_of("an the of in on with and at to is are my his her next by for two three four")
_PORTUGUESE = _words_of("um uma uns umas em na nas ao aos com e da das dos de dois duas três")
_OWN = _ENGLISH | _PORTUGUESE | _words_of("o os do à")
_SMALL = _words_of("its our your their this that these those some very i it he she they be was")
_ENDS = (_OWN | _SMALL) - _words_of("two three four")  # of what belongs to somebody
_OTHERS = _words_of("""
    el los las un una y al del con en la les le une et avec sur dans du des d'une d'un
    ein eine einen einem einer der das und mit auf im il lo gli uno sul sulla nella nel di
    een het van met op""")


@dataclass(frozen=True)
class Thing:
    """Something that can be drawn.

    Attributes:
        names: English singular names; the first is the one that is suggested.
        plurals: their plurals, in the same order.
        portuguese: Portuguese names and plurals, for what is misspelt.
    """

    names: tuple[str, ...]
    plurals: tuple[str, ...]
    portuguese: tuple[str, ...] = ()


@dataclass(frozen=True)
class WordRead:
    """A word of a prompt, or several that stand for one thing.

    Attributes:
        text: as it was typed.
        start: of its first character in the prompt.
        kind: "known"; "near" another one in meaning; another one "misspelt"; "unknown".
        instead: what to write for it; None for nothing.
        similarity: cosine of a near word, in [-1, 1]; else None.
    """

    text: str
    start: int
    kind: Kind
    instead: str | None = None
    similarity: float | None = None

    @property
    def end(self) -> int:
        """One past its last character in the prompt."""
        return self.start + len(self.text)


@dataclass(frozen=True)
class Reading:
    """A prompt as the embedded models take it.

    Attributes:
        prompt: as it was typed.
        words: in order; what stands for nothing (numbers, marks) is left out.
        foreign: whether it is in a language that is not read; the words say nothing then.
        truncated: whether its end is not read.
    """

    prompt: str
    words: tuple[WordRead, ...] = ()
    foreign: bool = False
    truncated: bool = False

    def of_kind(self, *kinds: Kind) -> tuple[WordRead, ...]:
        """The words of some kinds, each once."""
        found = {word.text.lower(): word for word in self.words if word.kind in kinds}
        return tuple(found.values())

    @property
    def rewritten(self) -> str | None:
        """The prompt with every word that has another to write instead; None where none has."""
        text = self.prompt
        changed = [word for word in self.words if word.instead is not None]
        for word in reversed(changed):
            before, after = text[:word.start], text[word.end:]
            article = re.search(r"\b([Aa])n? $", before)
            new = word.instead or ""
            new = new.upper() if len(word.text) > 1 and word.text.isupper() else new
            if article:
                before, new = before[:article.start()], fill_template(f"{article[1]} {{}}", new)
            text = before + new + (after if new else after.lstrip())
        return text if changed else None


@dataclass
class PromptReader:
    """Reads prompts.

    Args:
        vocabulary: words that training captions contain.
        things: what can be drawn.
        alone: words that captions use by themselves; the others are known in names alone. None
            for all of the vocabulary.
        encode: texts to unit-length embeddings (N, D); None where meaning is not compared. Its
            errors leave meaning out.
        is_word: whether a lower-case word is a common English one, which is no mistake then.
        near: cosine from which another word is near, relative to the mean of all things.
    """

    vocabulary: Vocabulary
    things: Sequence[Thing] = ()
    alone: frozenset[str] | None = None
    encode: Encode | None = None
    is_word: Callable[[str], bool] = lambda word: False
    near: float = NEAR
    _nearest: dict[str, tuple[int, float]] = field(default_factory=dict, repr=False)

    @cached_property
    def _names(self) -> dict[str, Thing]:
        """The thing of every English name and plural, lower-case."""
        found: dict[str, Thing] = {}
        for thing in self.things:
            for name in (*thing.names, *thing.plurals):
                found.setdefault(name.lower(), thing)
        return found

    @cached_property
    def _phrases(self) -> frozenset[str]:
        """Every name of several words, in English and Portuguese."""
        names = {*self._names, *(name.lower() for thing in self.things
                                 for name in thing.portuguese)}
        return frozenset(name for name in names if " " in name)

    @cached_property
    def _candidates(self) -> list[tuple[str, Thing]]:
        return [(name, thing) for thing in self.things for name in thing.names]

    @cached_property
    def _directions(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean of all names' embeddings (D,), and where each lies from there (N, D)."""
        assert self.encode is not None
        found = self.encode([TEMPLATE.format(name) for name, _ in self._candidates])
        mean = found.mean(0)
        return mean, _unit(found - mean)

    def read(self, prompt: str) -> Reading:
        """What of a prompt is known."""
        found = [(match.group(), match.start()) for match in _WORD.finditer(prompt)
                 if not any(letter.isdigit() for letter in match.group())]
        truncated = self.vocabulary.truncated(prompt)
        lowered = [unicodedata.normalize("NFC", text.lower().replace("’", "'"))
                   for text, _ in found]
        unknown = sum(map(self._is_unknown, lowered))
        if _is_foreign(lowered, unknown):
            return Reading(prompt, foreign=True, truncated=truncated)
        portuguese = (not _ENGLISH.intersection(lowered)
                      and bool(_PORTUGUESE.intersection(lowered)))
        return Reading(prompt, tuple(self._words(prompt, found, lowered, portuguese)),
                       truncated=truncated)

    def _is_unknown(self, word: str) -> bool:
        return bool(self.vocabulary.unknown_words(word))

    def _words(self, prompt: str, found: Sequence[tuple[str, int]], lowered: Sequence[str],
               portuguese: bool) -> Iterator[WordRead]:
        longest = max((name.count(" ") + 1 for name in self._phrases), default=1)
        place = 0
        while place < len(found):
            text, start = found[place]
            taken = 1
            for count in range(min(longest, len(found) - place), 1, -1):
                if " ".join(lowered[place:place + count]) in self._phrases:
                    taken = count
                    break
            if taken > 1:
                last, last_start = found[place + taken - 1]
                yield WordRead(prompt[start:last_start + len(last)], start, "known")
            else:
                yield self._owned(text, start, lowered[place + 1:]) \
                    if lowered[place] in POSSESSIVES and not portuguese \
                    else self._word(text, start, lowered[place], portuguese)
            place += taken

    def _owned(self, text: str, start: int, following: Sequence[str]) -> WordRead:
        """A possessive before a thing: an article does, and nothing before several."""
        end = next((index for index, word in enumerate(following)
                    if word in _ENDS or word in RELATIONS), len(following))
        if not end:
            return WordRead(text, start, "known")
        noun = next((word for word in following[:end] if word in self._names), following[end - 1])
        return WordRead(text, start, "near",
                        "" if _is_plural(noun) else indefinite_article(following[0]))

    def _word(self, text: str, start: int, word: str, portuguese: bool) -> WordRead:
        if word in _OWN or word in _SMALL:
            return WordRead(text, start, "known")
        if (relation := RELATIONS.get(word)) is not None and not portuguese:
            return WordRead(text, start, "near", relation)
        by_itself = self.alone is None or word in self.alone or word in self._names
        if not self._is_unknown(word) and (by_itself or portuguese):
            return WordRead(text, start, "known")
        if (spelt := self.misspelt(word, portuguese)) is not None:
            return WordRead(text, start, "misspelt", spelt)
        if not portuguese and (near := self._near(word)) is not None:
            name, similarity = near
            return WordRead(text, start, "near", name, similarity)
        return WordRead(text, start, "unknown")

    def misspelt(self, word: str, portuguese: bool = False) -> str | None:
        """The known word that one is but for a letter or two; None for no such word."""
        if len(word) < LEAST_LETTERS or self.is_word(word):
            return None
        names = [name for thing in self.things for name in thing.portuguese] if portuguese \
            else list(self._names)
        wrong = 1 + (len(word) >= LONG)
        close = [(distance, name) for name in names if " " not in name and name[0] == word[0]
                 and (distance := edits(word, name, wrong)) <= wrong]
        return min(close)[1] if close else None

    def nearest(self, word: str) -> tuple[Thing, float] | None:
        """The thing that is nearest in meaning, and the cosine; None where meaning is left out.

        Args:
            word: lower-case, or a phrase.
        """
        if self.encode is None or not self.things:
            return None
        try:
            if word not in self._nearest:
                if len(self._nearest) >= MAX_REMEMBERED:
                    self._nearest.clear()
                mean, directions = self._directions
                asked = self.encode([TEMPLATE.format(word)])[0]
                similarities = directions @ _unit(asked - mean)
                best = int(similarities.argmax())
                self._nearest[word] = best, float(similarities[best])
        except EaselError:  # no room for the encoder: what is said of meaning can wait
            return None
        best, similarity = self._nearest[word]
        return self._candidates[best][1], similarity

    def name_of(self, word: str) -> str | None:
        """The singular name of what is suggested for an English word; None for no suggestion."""
        if (spelt := self.misspelt(word)) is not None:
            return self._names[spelt].names[0]
        near = self._near(word)
        found = self.nearest(word)
        return None if near is None or found is None else found[0].names[0]

    def _near(self, word: str) -> tuple[str, float] | None:
        """What to write for a word that is near another one, and how near."""
        found = self.nearest(word)
        if found is None or found[1] < self.near or word.endswith("ing"):  # a doing, no thing
            return None
        thing, similarity = found
        return (thing.plurals if _is_plural(word) else thing.names)[0], similarity


def _is_plural(word: str) -> bool:
    return word.endswith("s") and not word.endswith(("ss", "us", "is"))


def edits(word: str, other: str, most: int) -> int:
    """How many letters are wrong, missing, too many or swapped; more than ``most`` counts as one
    more.

    Source: Damerau, "A technique for computer detection and correction of spelling errors" (1964).
    """
    if abs(len(word) - len(other)) > most:
        return most + 1
    before, last = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, letter in enumerate(word, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and word[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return min(last[-1], most + 1)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True).clip(1e-12)


def _is_foreign(words: Sequence[str], unknown: int) -> bool:
    """Whether words are those of a language other than English and Portuguese.

    Args:
        words: lower-case.
        unknown: how many of them no caption contains.
    """
    letters = "".join(words)
    latin = sum("LATIN" in unicodedata.name(letter, "") for letter in letters if letter.isalpha())
    if letters and latin < sum(map(str.isalpha, letters)) / 2:
        return True
    own, others = (sum(word in marks for word in words) for marks in (_OWN, _OTHERS))
    if len(words) > 1 and others > 0 and others >= own and unknown >= 0.4 * len(words):
        return True
    return len(words) > 2 and not own and unknown >= 0.75 * len(words)

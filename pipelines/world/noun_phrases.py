"""Noun phrases of the captions, in English and Portuguese: articles, plurals, agreement."""

from __future__ import annotations

import functools
import random
import re

from pipelines.world.concepts import Concept
from pipelines.world.grammar import Phrase, load_grammar

# "a bunch of red grapes", but "a red cup of coffee": the colour belongs to what is counted.
_UNIT = re.compile(
    r"(bunch|box)(es)?|loaf|loaves"
    r"|(head|piece|slice|ear|stack|strip|roll|bar|pair|drop|bolt|pile|group)s?"
)
# How often a caption adds what nobody asked of the picture: in any scene and in a portrait.
_P_SUBJECT = {False: 0.04, True: 0.4}
_P_YOUNG = {False: 0.08, True: 0.35}


def _with_adjectives(name: str, outer: str, colour: str) -> str:
    """Puts size, age and niceties (``outer``) before the name and the colour where it belongs."""
    if colour:
        head, of, rest = name.partition(" of ")
        counted = of and _UNIT.fullmatch(head.rpartition(" ")[2])
        name = f"{head} of {colour} {rest}" if counted else f"{colour} {name}"
    return f"{outer} {name}" if outer else name


def name_index(concept: Concept, rng: random.Random, size: int) -> int:
    """Which of a concept's names to use: mostly the first."""
    return 0 if size == 1 or rng.random() < 0.65 else rng.randrange(1, size)


def _may_be_young(concept: Concept) -> bool:
    # Every adult of the emoji sets looks young, unless called old.
    return concept.age == "adult" and concept.id != "person"


class EnglishPhrases:
    """Noun phrases in English."""

    def __init__(self) -> None:
        self.words = load_grammar("en")

    def phrase(
        self,
        concept: Concept,
        rng: random.Random,
        *,
        colour: str | None = None,
        size: str | None = None,
        portrait: bool = False,
        gendered: bool = False,
        old: bool = False,
        tone: str | None = None,
    ) -> Phrase:
        """One thing: "a small red apple", "a young male teacher of history", "some grapes".

        Args:
            concept: The thing.
            rng: Source of randomness.
            colour: Stated colour, or None.
            size: "small", "big" or None.
            portrait: Says more about a person, as captions of portraits do.
            gendered: Never hides the gender of a role ("a teacher").
            old: Calls a person old.
            tone: Stated skin tone of a person, or None.
        """
        if concept.role_names and not gendered and rng.random() < 0.45:
            names: tuple[str, ...] = concept.role_names
            index = name_index(concept, rng, len(names))
            name, article = names[index], "a"
        else:
            index = name_index(concept, rng, len(concept.names))
            name, article = concept.names[index], concept.articles[index]
        if concept.group == "person":
            name = self._subject(concept, name, rng, portrait)
        colour_word = self.words["colours"][colour].pick(rng) if colour else ""
        outer = self._outer(concept, rng, size, portrait, old, tone)
        return self._determined(article, _with_adjectives(name, outer, colour_word), rng)

    def plural(
        self,
        concept: Concept,
        rng: random.Random,
        *,
        colour: str | None = None,
        size: str | None = None,
        old: bool = False,
        tone: str | None = None,
    ) -> str:
        """Several of one thing without number: "red apples", "pairs of black scissors"."""
        index = name_index(concept, rng, len(concept.plurals))
        if concept.role and concept.name.endswith(concept.role) and rng.random() < 0.3:
            # "male teachers" without the gender: the plural of the role ends the plural name.
            name = concept.plurals[0].removeprefix("male ").removeprefix("female ")
        else:
            name = concept.plurals[index]
        if concept.articles[index] == "a pair of" and rng.random() < 0.6:
            name = f"{self.words['pair_of_plural']} {name}"
        colour_word = self.words["colours"][colour].pick(rng) if colour else ""
        outer = self._outer(concept, rng, size, False, old, tone)
        return _with_adjectives(name, outer, colour_word)

    def number(self, count: int, concept: Concept, rng: random.Random) -> str:
        """The number word or digit of ``count``, 2 to 5."""
        return self.words["numbers"][str(count)].pick(rng)

    def colour(self, colour: str, rng: random.Random) -> str:
        """The word of a background's colour."""
        return self.words["colours"][colour].pick(rng)

    def _subject(self, concept: Concept, name: str, rng: random.Random, portrait: bool) -> str:
        # "a teacher of literature" is drawn as a teacher: prompts say such things.
        if concept.role in self.words["subject_roles"] and rng.random() < _P_SUBJECT[portrait]:
            return f"{name} of {rng.choice(self.words['subjects'])}"
        return name

    def _outer(
        self, concept: Concept, rng: random.Random, size: str | None, portrait: bool, old: bool,
        tone: str | None
    ) -> str:
        words = []
        if rng.random() < 0.015:
            words.append(rng.choice(self.words["niceties"]))
        if size:
            words.append(self.words["sizes"][size].pick(rng))
        words += self._age(concept, rng, portrait, old)
        if tone:
            words.append(self.words["tones"][tone].pick(rng))
        return " ".join(words)

    def _age(self, concept: Concept, rng: random.Random, portrait: bool, old: bool) -> list[str]:
        if old:
            return [self.words["ages"]["old"].pick(rng)]
        if _may_be_young(concept) and rng.random() < _P_YOUNG[portrait]:
            return [self.words["ages"]["young"].pick(rng)]
        return []

    def _determined(self, article: str, bare: str, rng: random.Random) -> Phrase:
        draw = rng.random()
        if article == "some":
            # "a broccoli" is how many people put it.
            return Phrase("a~ " if draw < 0.25 else "some " if draw < 0.7 else "", bare)
        if article == "a pair of":
            if draw < 0.55:
                return Phrase("a~ ", f"pair of {bare}")
            return Phrase("a~ " if draw < 0.62 else "", bare)
        return Phrase("" if draw < 0.025 else "a~ " if draw < 0.97 else "one ", bare)


_PT_INVARIANT = ("laranja", "rosa", "cor-de-rosa", "cinza")
_PT_PLURALS = {"azul": "azuis", "marrom": "marrons", "jovem": "jovens"}


def inflect(adjective: str, gender: str, plural: bool) -> str:
    """A Portuguese adjective, given in the masculine singular, in agreement with its noun."""
    if adjective in _PT_INVARIANT:
        return adjective
    if gender == "f" and adjective.endswith("o"):
        adjective = adjective[:-1] + "a"
    return _PT_PLURALS.get(adjective, adjective + "s") if plural else adjective


class PortuguesePhrases:
    """Noun phrases in Portuguese; the methods are those of ``EnglishPhrases``."""

    def __init__(self) -> None:
        self.words = load_grammar("pt")

    def phrase(
        self,
        concept: Concept,
        rng: random.Random,
        *,
        colour: str | None = None,
        size: str | None = None,
        portrait: bool = False,
        gendered: bool = False,
        old: bool = False,
        tone: str | None = None,
    ) -> Phrase:
        """One thing: "um carro azul", "uma maçã vermelha"."""
        name = concept.pt[name_index(concept, rng, len(concept.pt))]
        if concept.role in self.words["subject_roles"] and rng.random() < _P_SUBJECT[portrait]:
            name = f"{name} de {rng.choice(self.words['subjects'])}"
        young = not old and _may_be_young(concept) and rng.random() < _P_YOUNG[portrait]
        bare = self._adjectives(name, concept.pt_gender, False, rng, colour, size, young, old, tone)
        article = "uma " if concept.pt_gender == "f" else "um "
        return Phrase("" if rng.random() < 0.06 else article, bare)

    def plural(
        self,
        concept: Concept,
        rng: random.Random,
        *,
        colour: str | None = None,
        size: str | None = None,
        old: bool = False,
        tone: str | None = None,
    ) -> str:
        """Several of one thing without number: "maçãs vermelhas"."""
        name = concept.pt_plurals[name_index(concept, rng, len(concept.pt_plurals))]
        return self._adjectives(name, concept.pt_gender, True, rng, colour, size, False, old, tone)

    def number(self, count: int, concept: Concept, rng: random.Random) -> str:
        """The number word or digit of ``count``, 2 to 5, in the concept's gender."""
        masculine, _, feminine = self.words["numbers"][str(count)].pick(rng).partition("|")
        return feminine if feminine and concept.pt_gender == "f" else masculine

    def colour(self, colour: str, rng: random.Random) -> str:
        """The word of a background's colour (um fundo is masculine)."""
        return self.words["colours"][colour].pick(rng)

    def _adjectives(
        self,
        name: str,
        gender: str,
        plural: bool,
        rng: random.Random,
        colour: str | None,
        size: str | None,
        young: bool,
        old: bool,
        tone: str | None,
    ) -> str:
        before, after = [], []
        if young:
            before.append("jovem")
        if old:
            after.append(self.words["ages"]["old"].pick(rng))
        if tone:
            after.append(self.words["tones"][tone].pick(rng))
        if rng.random() < 0.015:
            after.append(rng.choice(self.words["niceties"]))
        if size:
            (before if rng.random() < 0.4 else after).append(self.words["sizes"][size].pick(rng))
        if colour:
            after.append(self.words["colours"][colour].pick(rng))
        agree = functools.partial(inflect, gender=gender, plural=plural)
        return " ".join([*map(agree, before), name, *map(agree, after)])


@functools.cache
def phrases(language: str) -> EnglishPhrases | PortuguesePhrases:
    """The noun phrases of a language."""
    return EnglishPhrases() if language == "en" else PortuguesePhrases()

"""Prompts that the page offers: the models that ship know what they ask for."""

from __future__ import annotations

import random
import re

import pytest

from easel.compare.wildcards import wildcard_words
from easel.ui.generate.examples import EXAMPLES, world_sampler
from easel.ui.generate.surprises import surprise
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.world.concepts import load_concepts
from pipelines.world.grammar import raw_grammar

LANGUAGES = ("en", "pt")


def drawn(language: str, count: int = 3000) -> list[str]:
    rng = random.Random(0)
    return [surprise(rng, language) for _ in range(count)]


def newer_words(language: str) -> list[str]:
    """What captions say of photographs, skin tones, grey hair and corners of the picture.

    Without colours, which are tones of people only, and what is in the name of a thing.
    """
    words = raw_grammar()[language]
    corners = {key: values for key, values in words["where"].items() if " " in key}
    said = {text for group in (words["tones"], {"old": words["ages"]["old"]}, corners)
            for values in group.values() for _, text in values}
    colours = {text for values in words["colours"].values() for _, text in values}
    names = " / ".join(name for c in load_concepts()
                       for name in (*c.names, *c.pt, *c.plurals, *c.pt_plurals))
    return ["photo of", ", photo", "photograph", "clip art", "clipart", "foto de", "fotografia",
            *(text for text in sorted(said - colours)
              if not re.search(rf"\b{re.escape(text)}\b", names))]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_surprise_asks_for_what_the_models_know(language: str) -> None:
    vocabulary, prompts = load_vocabulary(), drawn(language)
    assert {p: vocabulary.unknown_words(p) for p in prompts if vocabulary.unknown_words(p)} == {}
    assert not [p for p in prompts if vocabulary.truncated(p)]
    newer = newer_words(language)
    assert len(newer) > 8
    pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, newer)) + r")\b")
    assert [p for p in prompts if pattern.search(p)] == []


def test_nobody_is_given_a_colour() -> None:
    people = [concept for concept in load_concepts() if concept.group == "person"]
    assert len(people) > 50
    assert not [concept.id for concept in people if concept.colours]


@pytest.mark.parametrize("language", LANGUAGES)
def test_surprises_vary(language: str) -> None:
    prompts = drawn(language, 1000)
    assert len(set(prompts)) > 950
    assert not [p for p in prompts if "{" in p or "~" in p or "  " in p or p != p.strip()]
    words = raw_grammar()[language]
    for what in ("numbers", "colours", "places"):
        said = [re.escape(part) for key, values in words[what].items() if key not in (
            "joins", "colour") for _, text in values for part in text.split("|")]
        share = sum(bool(re.search(rf"\b(?:{'|'.join(said)})\b", p)) for p in prompts)
        assert 100 < share < 800, what


def test_the_same_state_gives_the_same_prompt() -> None:
    assert [surprise(random.Random(n)) for n in range(20)] == [
        surprise(random.Random(n)) for n in range(20)]


def test_the_page_draws_a_new_one_each_time() -> None:
    sampler = world_sampler()
    assert sampler is not None
    assert len({sampler() for _ in range(30)}) > 25


def test_examples_and_wildcards_name_no_photograph_and_nothing_unknown() -> None:
    vocabulary = load_vocabulary()
    offered = [p for prompts in EXAMPLES.values() for p in prompts]
    offered += [word for words in wildcard_words().values() for word in words]
    assert not [p for p in offered if vocabulary.unknown_words(p)]
    assert not [p for p in offered if re.search(r"\bphoto(graph)?s?\b", p)]

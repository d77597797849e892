"""A prompt is kept as it was typed; only the article before a word that was put in is settled."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel.compare.sweeps import Axis, expand_matrix, fill_wildcards, plan_sweep
from easel.compare.wildcards import wildcard_words
from pipelines.core.articles import is_english, takes_an, with_article
from pipelines.registry import Registry
from pipelines.zero_shot import fill_template
from tests.test_sweeps import SKETCH

WORDS = {"one": ("owl",), "two": ("cat",), "hour": ("hourglass",), "letter": ("x-ray",)}


@pytest.mark.parametrize("prompt", [
    "an hourglass", "an 8 ball", "a European bison", "a abelha", "plan A is", "a apple", "an cat",
    "a  red\tapple", "  a cat ", "a cat\nan dog", "the letter a is", "vitamin A or B"])
def test_a_prompt_with_nothing_to_fill_in_is_left_alone(prompt: str) -> None:
    assert fill_wildcards(prompt, WORDS, 1) == prompt
    assert expand_matrix(prompt) == [prompt]
    registry = Registry()
    registry.register(SKETCH)
    [request] = plan_sweep(registry, {"pipeline": "sketch", "prompt": prompt, "seed": 1},
                           Axis("seed", (1,)), Axis(), WORDS).requests
    assert request.prompt == prompt.strip(), "as /generate takes it"


@pytest.mark.parametrize(("prompt", "filled"), [
    ("a __one__", "an owl"), ("an __two__", "a cat"), ("a __hour__ and a  __two__",
                                                      "an hourglass and a  cat"),
    ("A __one__ on a apple", "An owl on a apple"), ("x: A __one__", "x: An owl"),
    ("plan A __one__", "plan A owl"), ("a old __one__", "a old owl"), ("a __letter__", "an x-ray"),
    ("a (__one__:2)", "a (owl:2)"), ("uma foto a __one__", "uma foto a owl"),
    ("à a __one__", "à a owl"), ("extra __one__", "extra owl"), ("d'a __one__", "d'a owl"),
    ("__one__ a __two__", "owl a cat"), ("pizza a\n__one__", "pizza an\nowl")])
def test_only_the_article_before_a_word_is_settled(prompt: str, filled: str) -> None:
    assert fill_wildcards(prompt, WORDS, 3) == filled


@pytest.mark.parametrize(("prompt", "prompts"), [
    ("a {owl|cat} in  a hat", ["an owl in  a hat", "a cat in  a hat"]),
    ("a {|old} apple", ["an apple", "an old apple"]), ("{|big} dog", ["dog", "big dog"]),
    ("a {abelha|casa} com asas", ["a abelha com asas", "a casa com asas"]),
    ("a {árvore|casa}", ["a árvore", "a casa"]), ("a dog{|s} run", ["a dog run", "a dogs run"]),
    ("a {__one__|cat}", ["a __one__", "a cat"])])
def test_braces_settle_their_articles(prompt: str, prompts: list[str]) -> None:
    assert expand_matrix(prompt) == prompts


@pytest.mark.parametrize(("word", "an"), [
    ("apple", True), ("cat", False), ("hour", True), ("honest man", True), ("unicorn", False),
    ("unimportant thing", True), ("uninvited guest", True), ("umbrella", True), ("user", False),
    ("one-way street", False), ("onion", True), ("European", False), ("8 ball", True),
    ("80s car", True), ("11 o'clock", True), ("110", False), ("18-wheeler", True), ("180", False),
    ("x-ray", True), ("u-turn", False), ("T-shirt", False), ("F-16", True), ("SUV", True),
    ('"owl"', True), ("ewe", False), ("ukulele", False), ("", False), ("7", False)])
def test_the_sound_decides(word: str, an: bool) -> None:
    assert takes_an(word) is an
    assert with_article("a ", word) == ("an " if an else "a ")


def test_every_wildcard_of_the_world_is_english() -> None:
    assert all(is_english(word) for words in wildcard_words().values() for word in words)


def test_labels_of_other_languages_keep_their_template() -> None:
    assert fill_template("a foto de a {}", "abelha") == "a foto de a abelha"
    assert fill_template("an picture of a {}, a apple", "owl") == "an picture of an owl, a apple"


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="{}_"), max_size=40)


@given(TEXT, TEXT, st.integers())
def test_nothing_but_one_article_ever_changes(before: str, after: str, seed: int) -> None:
    assert fill_wildcards(before, WORDS, seed) == before
    assert expand_matrix(before) == [before]
    filled = fill_wildcards(f"{before}__one__{after}", WORDS, seed)
    assert filled.endswith(f"owl{after}")
    left = filled.removesuffix(f"owl{after}")
    assert left == before or re.sub(r"([aA])n(\s+)$", r"\1\2", left) in (
        before, re.sub(r"([aA])n(\s+)$", r"\1\2", before))

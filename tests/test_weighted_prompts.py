"""The grammar of weighted prompts, and what is said about its faults."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import InvalidRequest
from pipelines.weighted_prompts import WeightedPrompt, parse_prompts, ranking_texts


@pytest.mark.parametrize(("prompt", "expected"), [
    ("a red apple", [("a red apple", 1, -math.inf)]),
    ("a red apple:2", [("a red apple", 2, -math.inf)]),
    (" a red apple : -0.5 : 0.1 ", [("a red apple", -0.5, 0.1)]),
    ("cat|dog:0.5 | text:-1:-inf", [("cat", 1, -math.inf), ("dog", 0.5, -math.inf),
                                    ("text", -1, -math.inf)]),
    ("a: b:1:0", [("a: b", 1, 0)]),
    ("a clock: late", [("a clock: late", 1, -math.inf)]),
    ("a clock at 10:30", [("a clock at 10:30", 1, -math.inf)]),
    ("a clock at 10:30:2", [("a clock at 10:30:2", 1, -math.inf)]),
    ("a clock at 10:30 : 2", [("a clock at 10:30", 2, -math.inf)]),
    ("platform 9:-2", [("platform 9", -2, -math.inf)]),
    ("platform 9:0.5:-1", [("platform 9", 0.5, -1)]),
    ("platform 9 :2", [("platform 9", 2, -math.inf)]),
    ("a Boeing 747:2", [("a Boeing 747", 2, -math.inf)]),
    ("a car from 1990:.5", [("a car from 1990", 0.5, -math.inf)]),
    ("a car from 1990:2:0.5", [("a car from 1990", 2, 0.5)]),
    ("a picture in 16:9", [("a picture in 16:9", 1, -math.inf)]),
    ("a picture in 16:9:0.5", [("a picture in 16:9", 0.5, -math.inf)]),
    ("a model in 1:100", [("a model in 1:100", 1, -math.inf)]),
    ("Psalm 119:105", [("Psalm 119:105", 1, -math.inf)]),
    ("a clock at 10:30:+2", [("a clock at 10:30", 2, -math.inf)]),
    ("gate B2:+3", [("gate B2", 3, -math.inf)]), ("x²:2", [("x²", 2, -math.inf)]),
    ("a٣:٢", [("a٣:٢", 1, -math.inf)]),
    ("cat:two", [("cat:two", 1, -math.inf)]),
    ("cat:", [("cat:", 1, -math.inf)]),
    ("apple:1e1", [("apple", 10, -math.inf)]),
    ("maçã 🍎:0|cat", [("maçã 🍎", 0, -math.inf), ("cat", 1, -math.inf)]),
])
def test_prompts_are_read(prompt: str, expected: list[tuple[str, float, float]]) -> None:
    assert parse_prompts(prompt) == tuple(WeightedPrompt(*p) for p in expected)


@pytest.mark.parametrize(("prompt", "says"), [
    ("cat:nan", "between -100 and 100"),
    ("cat:1:nan", "less than infinity"),
    ("cat:inf", "between -100 and 100"),
    ("cat:1000", "between -100 and 100"),
    ("cat:1:inf", "less than infinity"),
    ("cat | | dog", "no text"),
    ("|", "no text"),
    (":1", "no text"),
    ("cat:0 | dog:0", "All weights"),
    ("|".join(["cat"] * 17), "17 parts"),
    ("x" * 400 + ":1000", "…"),
])
def test_faults_are_one_sentence(prompt: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_prompts(prompt)
    message = str(caught.value)
    assert says in message
    assert message.endswith(".")
    assert len(message) < 200
    assert caught.value.field == "prompt"


@pytest.mark.parametrize(("prompt", "texts"), [
    ("a red apple", [("a red apple", 1.0)]),
    ("a red apple:2 | a worm:-0.5:1", [("a red apple", 2.0), ("a worm", -0.5)]),
    ("an apple: red", [("an apple: red", 1.0)]),
    ("apple:0", [("apple:0", 1.0)]),
    ("apple:1000", [("apple:1000", 1.0)]),
])
def test_every_prompt_can_be_ranked(prompt: str, texts: list[tuple[str, float]]) -> None:
    assert ranking_texts(prompt) == texts


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="|:\0"), min_size=1).filter(
    str.strip)
WEIGHTS = (st.integers(-100, 100).map(str) | st.floats(-100, 100).map("{:.4f}".format)).filter(
    float)


@given(WORDS, WEIGHTS, st.sampled_from([":", " :", ": ", " : "]))
def test_a_weight_is_a_weight_after_any_word(text: str, weight: str, colon: str) -> None:
    [found] = parse_prompts(text + colon + weight)
    ratio = colon == ":" and text[-1:] in tuple("0123456789") and weight.isdecimal()
    expected = [(text.strip(), float(weight))]
    if ratio:  # "1:2" is text, and "747:2" a weight
        expected.append((f"{text}:{weight}".strip(), 1.0))
    assert (found.text, found.weight) in expected

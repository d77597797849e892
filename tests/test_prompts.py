"""The grammar of weighted prompts, and what is said about its faults."""

from __future__ import annotations

import math

import pytest

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

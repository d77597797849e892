"""Texts from outside: refused where people type them, cleaned where they come with a file."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import InvalidRequest
from pipelines.core.texts import (
    MAX_DEPTH,
    check_text,
    clean_json,
    clean_text,
    decoded,
    fault_of,
    shown_name,
)

ANY_TEXT = st.text(st.characters(codec=None), max_size=20) | st.text(
    st.sampled_from("a\0\ud83c\udf4e\udce9 ñ🍎"), max_size=12)


@given(ANY_TEXT)
def test_clean_texts_can_be_written_and_good_ones_stay(text: str) -> None:
    for clean in (clean_text(text), shown_name(text)):
        assert "\0" not in clean
        assert clean.encode().decode() == clean
    assert (clean_text(text) == text) == (fault_of(text) is None)
    assert clean_text(clean_text(text)) == clean_text(text)


@pytest.mark.parametrize(("text", "clean", "name"), [
    ("caf\udce9.png", "caf.png", "caf\ufffd.png"), ("a\ud800 cat", "a cat", "a\ufffd cat"),
    ("\ud83c\udf4e", "🍎", "🍎"), ("\udf4e\ud83c", "", "\ufffd\ufffd"), ("a\0b", "ab", "a\ufffdb"),
    ("ñ 🍎", "ñ 🍎", "ñ 🍎")])
def test_halves_are_dropped_or_marked_and_pairs_joined(text: str, clean: str, name: str) -> None:
    assert (clean_text(text), shown_name(text)) == (clean, name)


def test_typed_texts_are_refused_in_a_sentence() -> None:
    assert check_text("ñ 🍎") == "ñ 🍎"
    with pytest.raises(InvalidRequest, match=r"^The label holds half a character, which no file") \
            as caught:
        check_text("a\ud800", "The label", "labels")
    assert caught.value.field == "labels"
    with pytest.raises(InvalidRequest, match=r"^The text holds a NUL character, which no text"):
        check_text("a\0")


JSON = st.recursive(st.none() | st.integers(-2**63, 2**63 - 1) | ANY_TEXT, lambda inner: st.lists(
    inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3), max_leaves=10)


@given(JSON)
def test_clean_json_can_be_sent(value: Any) -> None:
    json.dumps(clean_json(value), ensure_ascii=False).encode()
    again = json.loads(json.dumps(value))
    assert clean_json(json.loads(json.dumps(clean_json(again)))) == clean_json(again)


BAD = st.integers(2**63) | st.integers(max_value=-2**63 - 1) | st.sampled_from(
    [math.nan, math.inf, -math.inf])


@given(JSON, BAD)
def test_numbers_that_no_answer_can_hold_are_refused(value: Any, bad: Any) -> None:
    for wrong in (bad, [value, bad], {"a": {"b": [bad, value]}}):
        with pytest.raises(ValueError, match=r"too large|not finite"):
            clean_json(wrong)


def test_what_lies_too_deep_is_refused() -> None:
    value: Any = 0
    for _ in range(MAX_DEPTH):
        value = [value]
    assert clean_json(value) == value
    with pytest.raises(ValueError, match="too deep"):
        clean_json({"a": value})


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_utf8_is_read_where_latin_1_was_promised(text: str) -> None:
    assert decoded(text.encode()) == text


def test_latin_1_is_read_where_it_is() -> None:
    assert decoded("café".encode("latin-1")) == "café"

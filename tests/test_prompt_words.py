"""What of a prompt is known, what is written instead, and which languages are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.words import labelled, language_errors, scores
from easel.settings import load_settings
from easel.ui.generate.examples import EXAMPLES
from easel.ui.parts.prompt_note import prompt_reader, render_reading
from easel.words.language import PORTUGUESE, speaking
from easel.words.strings import FIRST_PROMPT
from pipelines.core.errors import OutOfMemory
from pipelines.engine import build_cache
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.tokenizer import Vocabulary
from pipelines.prompt_words import PromptReader, Thing, edits
from tests.small_models import SmallLoader

THINGS = (Thing(("dog", "hound"), ("dogs", "hounds"), ("cachorro", "cachorros")),
          Thing(("apple",), ("apples",), ("maçã", "maçãs")),
          Thing(("elephant",), ("elephants",), ("elefante", "elefantes")),
          Thing(("fire truck", "fire engine"), ("fire trucks", "fire engines")))
MEANINGS = {"dog": 0, "hound": 0, "puppy": 0, "puppies": 0, "apple": 1, "pippin": 1, "elephant": 2,
            "fire truck": 3, "fire engine": 3}


def encode(texts: Sequence[str]) -> np.ndarray:
    """A direction for each meaning, and one of its own for every other text."""
    return np.stack([np.eye(8)[MEANINGS.get(text.removeprefix("a "), 5)] for text in texts])


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return load_vocabulary()


@pytest.fixture
def reader(vocabulary: Vocabulary) -> PromptReader:
    return PromptReader(vocabulary, THINGS, None, encode)


@pytest.mark.parametrize(("prompt", "rewritten"), [
    ("a puppy", "a dog"), ("two puppies and a red apple", "two dogs and a red apple"),
    ("a pippin", "an apple"), ("an elefant", "an elephant"), ("A PUPPY!", "A DOG!"),
    ("a dog riding an elephant", "a dog on top of an elephant"),
    ("my dog", "a dog"), ("Her orange elephant", "an orange elephant"), ("my two dogs", "two dogs"),
    ("my dogs and a dog", "dogs and a dog"), ("my puppy riding an elephant",
                                             "a dog on top of an elephant"),
    ("a red dog, 3 apples", None), ("a fire engine at the beach", None), ("", None),
    ("a zyzzyva", None)])
def test_a_prompt_is_rewritten_by_what_is_known(reader: PromptReader, prompt: str,
                                                rewritten: str | None) -> None:
    assert reader.read(prompt).rewritten == rewritten


def test_each_word_is_said(reader: PromptReader) -> None:
    reading = reader.read("My puppy by a fire engine, elefant, zyzzyva and Zyzzyva")
    assert [(w.text, w.kind) for w in reading.words if w.kind != "known"] == [
        ("My", "near"), ("puppy", "near"), ("elefant", "misspelt"), ("zyzzyva", "unknown"),
        ("Zyzzyva", "unknown")]
    assert "fire engine" in [word.text for word in reading.words]
    assert [word.text for word in reading.of_kind("unknown")] == ["Zyzzyva"]
    for word in reading.words:
        assert reading.prompt[word.start:word.end] == word.text


def test_words_known_in_names_alone_are_not_known_by_themselves(vocabulary: Vocabulary) -> None:
    reader = PromptReader(vocabulary, THINGS, frozenset({"a", "red"}))
    kinds = {word.text: word.kind for word in reader.read("a red truck and a fire truck").words}
    assert kinds["truck"] == "unknown"
    assert kinds["fire truck"] == "known"


def test_a_common_word_is_no_mistake(vocabulary: Vocabulary) -> None:
    reader = PromptReader(vocabulary, (Thing(("bride",), ("brides",)),))
    assert reader.read("a bridge").rewritten == "a bride"
    reader.is_word = {"bridge"}.__contains__
    assert reader.read("a bridge").rewritten is None


def test_without_room_for_the_encoder_words_are_only_unknown(vocabulary: Vocabulary) -> None:
    def full(texts: Sequence[str]) -> np.ndarray:
        raise OutOfMemory("The device is full.")

    reader = PromptReader(vocabulary, THINGS, None, full)
    assert [word.text for word in reader.read("a puppy").of_kind("unknown")] == ["puppy"]


@pytest.mark.parametrize(("word", "other", "wrong"), [
    ("elefant", "elephant", 2), ("girafe", "giraffe", 1), ("bycicle", "bicycle", 2),
    ("dgo", "dog", 1), ("dog", "dog", 0), ("dog", "elephant", 3)])
def test_edits(word: str, other: str, wrong: int) -> None:
    assert edits(word, other, 2) == wrong
    assert edits(other, word, 2) == wrong


def test_languages_are_told_apart(reader: PromptReader) -> None:
    assert language_errors(reader) == {"foreign_read": [], "own_not_read": []}
    assert reader.read("un perro azul al lado de una manzana roja").rewritten is None


def test_the_note_says_it_in_both_languages(reader: PromptReader) -> None:
    assert "<mark>" not in render_reading(reader.read(FIRST_PROMPT))
    assert "learned every word" in render_reading(reader.read(FIRST_PROMPT))
    note = render_reading(reader.read("a puppy and a zyzzyva"))
    assert 'data-prompt="a dog and a zyzzyva"' in note
    assert "never seen <mark>zyzzyva</mark>" in note
    assert "not seen" in render_reading(reader.read("dog " * 40))
    foreign = reader.read("一只猫在海边")
    assert "English and Portuguese" in render_reading(foreign)
    with speaking(PORTUGUESE):
        assert "inglês e português" in render_reading(foreign)
        assert "nunca viu <mark>zyzzyva</mark>" in render_reading(reader.read("a zyzzyva"))


def test_many_unknown_words_are_counted(reader: PromptReader) -> None:
    note = render_reading(reader.read("the " + " ".join(f"zyz{letter}va" for letter in "abcdefgh")))
    assert note.count("<mark>") == 6
    assert "and 2 more" in note


def test_without_a_catalogue_of_models_meaning_is_left_out(vocabulary: Vocabulary) -> None:
    from pipelines.models.cache.cache import ModelCache

    reader = prompt_reader(vocabulary, ModelCache(SmallLoader(), "cpu"))
    assert reader.encode is None
    assert reader.read("a kitty").rewritten is None


@pytest.mark.weights("minilm")
def test_the_shipped_reader_holds_its_measure(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured: precision .86 and recall .60 on 192 words."""
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    reader = prompt_reader(load_vocabulary(), build_cache(load_settings()))
    assert len(labelled()["near"]) + len(labelled()["far"]["words"]) >= 190
    found = scores(reader, reader.near)
    assert found["precision"] >= 0.84, found
    assert found["recall"] >= 0.58, found
    assert language_errors(reader) == {"foreign_read": [], "own_not_read": []}
    assert reader.read("a puppy next to an automobile").rewritten == "a dog next to an automobile"
    assert reader.read("a lighthouse").of_kind("unknown")
    for prompt in (FIRST_PROMPT, *(p for prompts in EXAMPLES.values() for p in prompts)):
        assert {word.kind for word in reader.read(prompt).words} == {"known"}, prompt

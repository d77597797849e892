"""Prompts whose words are known, put together as no caption puts them together."""

from __future__ import annotations

import random
import re

import pytest

from benchmarks.chips import offered, surprises
from easel.ui.parts.prompt_note import render_note
from easel.words import strings
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.prompt_words import PromptReader
from pipelines.world.captions import caption
from pipelines.world.compositions import read_composition
from pipelines.world.concepts import concepts_by_id
from pipelines.world.lost_media import without_lost_medium
from pipelines.world.scenes import SceneSampler


@pytest.mark.parametrize(("prompt", "worn", "rewritten"), [
    ("a castle in the clouds, oil painting", False, "a castle and a cloud, oil painting"),
    ("A castle behind a red car", False, "A castle and a red car"),
    ("sunset over mountains", False, "a mountain at sunset"),
    ("a beach with two dogs", False, "two dogs at the beach"),
    ("two dogs and a castle", False, "a dog and a castle"),
    ("two dogs next to three orange cats", False, "a dog next to an orange cat"),
    ("portrait of a teacher with glasses", True, "portrait of a teacher next to glasses"),
    ("a woman in a red dress", True, "a woman next to a red dress"),
    ("a cat with a hat", True, "a cat next to a hat")])
def test_what_no_caption_says_is_said_as_captions_do(prompt: str, worn: bool, rewritten: str,
                                                     ) -> None:
    found = read_composition(prompt)
    assert found is not None
    assert (found.worn, found.rewritten) == (worn, rewritten)
    again = read_composition(rewritten)
    assert again is None, again


@pytest.mark.parametrize("prompt", [
    "a dog on top of a skateboard", "a man holding an umbrella", "a bird", "", "zzyzx in zzyzx",
    "a dog, a cat and a mouse", "um gato em cima de uma mesa", "a sailboat at sunset",
    "a dog eating a pizza", "an orange cat at the beach", "a black and white photo of a train"])
def test_what_captions_say_or_nobody_can_tell_is_left_alone(prompt: str) -> None:
    assert read_composition(prompt) is None


def test_no_offered_prompt_and_no_caption_is_found_fault_with() -> None:
    """Captions dress people too, whose clothes the scenes then set beside them."""
    concepts, rng = concepts_by_id(), random.Random(3)
    sampler = SceneSampler(list(concepts.values()), "train")
    said = [caption(sampler.sample(seed), concepts, rng) for seed in range(3000)]
    found = [(text, each.rewritten) for text in (*offered(), *surprises(300), *said)
             if (each := read_composition(text)) is not None and not each.worn]
    assert found == []


@pytest.mark.parametrize(("prompt", "plain"), [
    ("an oil painting of a castle", "a castle"), ("A castle, oil painting", "A castle"),
    ("a red car in neon lights", "a red car"), ("uma pintura a óleo de um castelo", "um castelo"),
    ("a mosaic of a cat", None), ("a 3d icon of a castle", None), ("a castle", None), ("", None)])
def test_a_medium_in_which_things_are_lost_is_left_out(prompt: str, plain: str | None) -> None:
    assert without_lost_medium(prompt) == plain
    reader = PromptReader(load_vocabulary())
    note = render_note(reader, prompt, "prompt")
    assert (strings.WORDS_MEDIUM in note) == (plain is not None)
    assert re.findall('data-prompt="([^"]+)"', note) == ([plain] if plain else [])
    assert strings.WORDS_MEDIUM not in render_note(reader, prompt, "lab-text", judged=True)


def test_a_prompt_to_write_instead_has_nothing_left_to_mend() -> None:
    reader = PromptReader(load_vocabulary())
    note = render_note(reader, "a castle in the clouds, oil painting", "prompt")
    assert re.findall('data-prompt="([^"]+)"', note) == ["a castle and a cloud"]


def test_nothing_is_offered_in_such_a_medium() -> None:
    assert [text for text in (*offered(), *surprises(300)) if without_lost_medium(text)] == []


def test_the_note_says_it_with_a_prompt_to_click() -> None:
    reader = PromptReader(load_vocabulary())
    note = render_note(reader, "a cat wearing a hat", "prompt")
    assert strings.WORDS_WORN in note
    assert re.findall('data-prompt="([^"]+)"', note) == ["a cat next to a hat"]
    note = render_note(reader, "a castle in the clouds", "prompt")
    assert strings.WORDS_APART in note
    assert render_note(reader, "a castle in the clouds", "lab-text", judged=True) == ""

"""What can be drawn, shown to click; and the reading of a prompt under every field."""

from __future__ import annotations

import re
from html import unescape

import numpy as np
import pytest
from PIL import Image

from easel.ui.generate.drawable import render_drawable, render_drawable_line
from easel.ui.parts.prompt_note import prompt_reader, render_note
from easel.words import strings
from easel.words.language import ENGLISH, PORTUGUESE, speaking
from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.world.concepts import load_concepts
from pipelines.world.thumbnails import COLUMNS, SHEET, SIDE_PX

INSERTS = re.compile(r'data-insert="([^"]*)" data-how="(\w+)"')


@pytest.mark.parametrize("language", [ENGLISH, PORTUGUESE])
def test_everything_that_is_offered_is_known(language: str) -> None:
    """What a click puts in gets no mark of a word that the models have never seen."""
    reader = prompt_reader(load_vocabulary(), None)
    with speaking(language):
        html = render_drawable("things.webp")
    found = [(unescape(text), how) for text, how in INSERTS.findall(html)]
    assert len(found) == len(load_concepts()) + 12 + 11 + 4 + 6 + 9
    start = "a dog" if language == ENGLISH else "um cachorro"
    for text, how in found:
        prompt = text.replace("{s}", start) if how == "wrap" else f"{start} {text}"
        reading = reader.read(prompt)
        assert not reading.foreign, prompt
        assert not reading.of_kind("unknown", "misspelt", "near"), prompt


def test_the_sheet_shows_every_concept_in_its_place() -> None:
    """Fails where concepts came or went and `python -m pipelines.world.thumbnails` did not run."""
    with Image.open(SHEET) as sheet:
        pixels = np.asarray(sheet.convert("RGBA"))
    count = len(load_concepts())
    rows = -(-count // COLUMNS)
    assert pixels.shape[:2] == (rows * SIDE_PX, COLUMNS * SIDE_PX)
    cells = pixels.reshape(rows, SIDE_PX, COLUMNS, SIDE_PX, 4).swapaxes(1, 2).reshape(
        -1, SIDE_PX, SIDE_PX, 4)
    seen = (cells[..., 3] > 128).mean((1, 2))
    assert (seen[:count] > 0.05).all()
    assert (seen[count:] == 0).all()


def test_the_line_under_the_title_counts_them() -> None:
    assert f"know {len(load_concepts())} things, 12 places, 11 colours" in render_drawable_line()


def test_a_field_is_read_and_completed_until_its_word_is_done() -> None:
    reader = prompt_reader(load_vocabulary(), None)
    assert render_note(reader, "", "walk-start") == ""
    assert render_note(None, "a zzyzx", "walk-start") == ""
    for text in ("a __animal__ at the beach", "a {red|blue} car"):
        assert strings.WORDS_TEMPLATE in render_note(reader, text, "prompt")
        assert strings.WORDS_TEMPLATE not in render_note(reader, text, "compare-prompt",
                                                         wildcards=())
    assert "__animal__" in render_note(reader, "a __an", "compare-prompt", wildcards=())
    assert "__animal__" not in render_note(reader, "a __an", "prompt")
    note = render_note(reader, "a zzyzx and a giraf", "walk-start")
    assert note.startswith('<div data-for="walk-start">')
    assert 'data-complete="giraffe"' in note
    assert "<mark>zzyzx</mark>" in note
    assert "data-complete" not in render_note(reader, "a cat", "prompt"), "done, though caterpillar"
    drawn, judged = (render_note(reader, "a zzyzx ", "x", judged) for judged in (False, True))
    assert "it draws something else" in drawn
    assert "what they say of it means nothing" in judged


def test_a_rewriting_is_offered_to_click() -> None:
    note = render_note(prompt_reader(load_vocabulary(), None), "a dog riding a skateboard ",
                       "compare-prompt")
    assert 'data-prompt="a dog on top of a skateboard ' in note

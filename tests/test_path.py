"""The path: eight lessons that name what is on the page, in both languages."""

from __future__ import annotations

import json
import re

import gradio as gr
import pytest

from easel.ui.generate.lesson import RANKING
from easel.ui.inside.path import FURTHER, NOTEBOOKS, PLACES, render_path
from easel.ui.inside.sources import render_sources
from easel.words import strings
from easel.words.english import inside
from easel.words.language import ENGLISH, PORTUGUESE, say, speaking
from pipelines.dalle import DallePipeline
from tests.conftest import REPOSITORY
from tests.served import App


@pytest.mark.parametrize("language", [ENGLISH, PORTUGUESE])
def test_every_lesson_is_whole(language: str) -> None:
    with speaking(language):
        page = render_path()
        lessons = page.split("<li ")[1:]
        assert len(lessons) == len(PLACES) == len(strings.PATH_LESSONS) == 8
        for number, lesson in enumerate(lessons, 1):
            assert f'href="?lesson={number}"' in lesson
            assert f'data-go="{PLACES[number - 1]}"' in lesson
            assert lesson.count("?</p>") >= 1, "a question"
            assert re.search(r"\(20\d\d\)", lesson.split('class="inside-source"')[1]), "a source"
            assert "<details><summary>" in lesson, "folded, until one has guessed"
            assert strings.PATH_FURTHER in lesson
            further = f'data-go="{FURTHER[number - 1]}"'
            assert (further in lesson) == bool(FURTHER[number - 1])
        assert "{" not in page


@pytest.mark.parametrize("language", [ENGLISH, PORTUGUESE])
def test_a_lesson_asks_what_its_view_asks(language: str) -> None:
    views = {"inside.contrast": inside.CONTRAST_QUESTION, "inside.codes": inside.CODES_QUESTION,
             "inside.loop": inside.LOOP_QUESTION, "inside.stream": inside.STREAM_QUESTION,
             "inside.prior": inside.PRIOR_QUESTION}
    assert set(views) == {place for place in PLACES if place.startswith("inside.")}
    with speaking(language):
        for place, lesson in zip(PLACES, strings.PATH_LESSONS, strict=True):
            if place in views:
                assert lesson[1] == say(views[place])


def test_a_notebook_asks_what_its_lesson_asks() -> None:
    for number in (1, 3, 4, 5, 6, 7):  # the others look at pictures of their own
        name, lesson = NOTEBOOKS[number - 1], strings.PATH_LESSONS[number - 1]
        book = json.loads((REPOSITORY / "notebooks" / f"{name}.ipynb").read_text("utf-8"))
        assert f"**{lesson[1]}**" in "".join(book["cells"][0]["source"])


@pytest.mark.parametrize("language", [ENGLISH, PORTUGUESE])
def test_names_are_told_in_a_sentence_and_lead_to_the_explanations(language: str) -> None:
    with speaking(language):
        page = render_path()
        assert page.count("<dt>") == len(strings.PATH_MEANINGS)
        for word in ("CLIP", "VQGAN", "Transformer", "unCLIP"):
            assert f"<dt>{word}</dt>" in page
        for name, lesson in {"dalle": DallePipeline.lesson, "clip": RANKING}.items():
            assert f'data-explains="{name}">{say(lesson.title)}</a>' in page


@pytest.mark.parametrize("language", [ENGLISH, PORTUGUESE])
def test_every_paper_that_is_named_can_be_opened(language: str) -> None:
    with speaking(language):
        sources = [text for name, text in vars(inside).items() if name.endswith("_SOURCE")]
        assert len(sources) >= 9
        for text in (*map(say, sources), *(lesson[5] for lesson in strings.PATH_LESSONS)):
            years = len(re.findall(r"\(\d{4}\)", text))
            assert years >= 1
            assert render_sources(text).count('<a href="https://') == years, text


def test_lessons_name_buttons_and_fields_as_the_page_does() -> None:
    with speaking(PORTUGUESE):
        page = render_path()
        for label in (strings.CONTRAST_DO, strings.CODES_DO, strings.STREAM_DO, strings.RERANK,
                      strings.LAB_EXAMPLE, strings.LOOP_OTHER, strings.PRIOR_DO,
                      strings.ADD_PANE, strings.BLIND_LABEL, strings.MASK_INVERT):
            assert f"“{label}”" in page


def test_every_lesson_leads_to_a_tab_that_there_is() -> None:
    app = App()
    try:
        tabs = {block.id for block in app.page.blocks.values() if isinstance(block, gr.Tab)}
    finally:
        app.close()
    assert {part for place in (*PLACES, *filter(None, FURTHER))
            for part in place.split(".")} <= tabs

"""The path: eight lessons over the page's views, each with a question, an address and a source."""

from __future__ import annotations

from html import escape

import gradio as gr

from easel.ui.generate.lesson import RANKING
from easel.ui.inside.sources import render_sources
from easel.ui.parts.page_words import worded_html
from easel.words import strings
from easel.words.language import say
from pipelines.dalle import DallePipeline
from pipelines.unclip.pipeline import UnclipOptions, UnclipPipeline
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline

# Where each is looked at, which page.js opens, where one goes further, and its notebook.
PLACES = ("inside.contrast", "lab.classify", "lab.search", "inside.codes", "inside.loop",
          "inside.stream", "inside.prior", "compare")
FURTHER = ("", "", "", "inside.mix", "generate", "inside.complete", "compare", "rerank")
NOTEBOOKS = ("1-contrastive", "2-classify", "3-search", "4-codes", "5-loop", "6-one-stream",
             "7-prior", "8-rerank")


def build_path() -> gr.HTML:
    """The lessons, which stand on the page from the start."""
    return worded_html(render_path, elem_id="path")


def render_path() -> str:
    """All lessons in the language to speak; what one sees folds away until one has guessed."""
    lessons = "".join(_lesson(number) for number in range(1, len(PLACES) + 1))
    return (f'<div class="path"><p class="hint">{escape(strings.PATH_INTRO)} '
            f'<button type="button" class="chip" data-print>{escape(strings.PATH_PRINT)}</button>'
            f"</p>{_meanings()}<ol>{lessons}</ol></div>")


def _meanings() -> str:
    """What the names mean, each in a sentence, with the explanation in Generate that says more."""
    rows = "".join(
        f"<dt>{escape(word)}</dt><dd>{escape(meaning)}"
        + (f' <a href="?lesson={more[0]}" data-explains="{more[0]}">{escape(say(more[1]))}</a>'
           if more else "") + "</dd>"
        for (word, meaning), more in zip(strings.PATH_MEANINGS, _explanations(), strict=True))
    return (f'<details class="meanings"><summary>{escape(strings.PATH_WORDS)}</summary>'
            f"<dl>{rows}</dl></details>")


def _explanations() -> tuple[tuple[str, str] | None, ...]:
    """Of each word the explanation at the foot of Generate, its name and title; None for none."""
    loop, stream, prior = ((kind.name, kind.lesson.title) for kind in (
        VQGANCLIPPipeline, DallePipeline, UnclipPipeline))
    return None, None, ("clip", RANKING.title), None, None, None, None, loop, stream, prior, None


def _lesson(number: int) -> str:
    title, question, do, further, see, source, further_see = strings.PATH_LESSONS[number - 1]
    in_do, in_further, in_see = _labels()[number - 1]
    do, further, see = do.format(*in_do), further.format(*in_further), see.format(*in_see)
    notebook = strings.PATH_NOTEBOOK.format(f"notebooks/{NOTEBOOKS[number - 1]}.ipynb")
    return (
        f'<li data-step="{number}" id="lesson-{number}" tabindex="-1">'
        f'<p class="number">{_address(number, strings.PATH_NUMBER.format(number))}</p>'
        f"<h3>{escape(title)}</h3>"
        f'<p class="inside-question">{escape(question)}</p>'
        f"<h4>{escape(strings.PATH_DO)}</h4><p>{escape(do)}</p><p>{_go(PLACES[number - 1])}</p>"
        f"{_seen(see)}"
        f"<h4>{escape(strings.PATH_FURTHER)}</h4><p>{escape(further)}</p>"
        f"<p>{_go(FURTHER[number - 1])}</p>{_seen(further_see)}"
        f'<p class="inside-source">{render_sources(source)} {escape(notebook)}</p>'
        f"<template>{_strip(number, do, further, see, further_see)}</template></li>")


def _seen(text: str) -> str:
    """What one sees, folded until one has guessed; nothing where there is nothing to say."""
    return (f"<details><summary>{escape(strings.PATH_SEE)}</summary><p>{escape(text)}</p></details>"
            if text else "")


def _strip(number: int, do: str, further: str, see: str, further_see: str) -> str:
    """What page.js puts above the view that a lesson leads to: its texts, and the ways on."""
    name = f"{strings.PATH_NUMBER.format(number)}: {strings.PATH_LESSONS[number - 1][0]}"
    folds = "".join(
        f"<details><summary>{escape(title)}</summary><p>{escape(text)}</p>{more}</details>"
        for title, text, more in (
            (strings.PATH_DO, do, ""), (strings.PATH_SEE, see, ""),
            (strings.PATH_FURTHER, further, _go(FURTHER[number - 1]) + _seen(further_see))))
    ways = [(number, strings.PATH_BACK)]
    if number < len(PLACES):
        ways.append((number + 1, strings.PATH_NEXT.format(number + 1)))
    links = "".join(f'<a class="chip" href="?lesson={to}" data-path="{to}">{escape(said)}</a>'
                    for to, said in ways)
    leave = escape(strings.PATH_LEAVE)
    return (f'<section class="following" aria-label="{escape(name)}"><b>{escape(name)}</b>{folds}'
            f'<span>{links}<button type="button" class="chip" data-leave title="{leave}" '
            f'aria-label="{leave}">×</button></span></section>')


def _address(number: int, text: str) -> str:
    return f'<a href="?lesson={number}">{escape(text)}</a>'


def _go(place: str) -> str:
    """The button that leads to a place; empty for none."""
    return (f'<a class="chip" href="?tab={place}" data-go="{place}">'
            f"{escape(strings.PATH_GO.format(_name(place)))}</a>") if place else ""


def _name(place: str) -> str:
    """What a tab is called, with that which it is in."""
    outer, _, inner = place.partition(".")
    names = {"inside": strings.TAB_INSIDE, "lab": strings.TAB_LAB, "rerank": strings.TAB_RERANK,
             "compare": strings.TAB_COMPARE, "generate": strings.TAB_GENERATE,
             "contrast": strings.CONTRAST, "classify": strings.LAB_CLASSIFY,
             "search": strings.LAB_SEARCH, "codes": strings.CODES, "mix": strings.MIX,
             "loop": strings.LOOP, "stream": strings.STREAM, "complete": strings.COMPLETE,
             "prior": strings.PRIOR}
    return f"{names[outer]}, {names[inner]}" if inner else names[outer]


def _labels() -> tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...]:
    """What the buttons and fields are called that a lesson names: to do, to go further, and in what
    one sees."""
    prior = say(str(UnclipOptions.model_fields["prior"].title))
    return (((strings.CONTRAST_DO, strings.CONTRAST_TEXTS, strings.CONTRAST_TEMPERATURE),
             (strings.REPLAY, strings.REPLAY_MOMENT), ()),
            ((strings.LAB_EXAMPLE, strings.LAB_TEMPLATES, strings.LAB_LABELS,
              strings.LAB_CLASSIFY), (), ()),
            ((strings.LAB_COLLECTION, strings.LAB_TEXT, strings.LAB_DO_SEARCH, strings.LAB_MINUS),
             (), (strings.LAB_MINUS,)),
            ((strings.CODES_DO,), (strings.PATCHES, strings.PATCHES_DO, strings.MIX), ()),
            ((strings.LOOP_DO,), (strings.LOOP_OTHER,), ()),
            ((strings.STREAM_DO, strings.INSIDE_PROMPT), (strings.COMPLETE, strings.MASK_INVERT),
             ()),
            ((strings.PRIOR_DO,), (strings.PANE_OPTIONS, prior), ()),
            ((strings.ADD_PANE, strings.BLIND_LABEL, strings.COMPARE),
             (strings.SOURCE_LAST, strings.RERANK_SOURCE, strings.RERANK, strings.PROMPTS_AGAINST),
             ()))

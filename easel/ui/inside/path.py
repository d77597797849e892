"""The path: eight lessons over the page's views, each with a question, an address and a source."""

from __future__ import annotations

from html import escape

import gradio as gr

from easel.ui.parts.page_words import worded_html
from easel.words import strings
from easel.words.language import say
from pipelines.unclip.pipeline import UnclipOptions

# Where each is looked at, which page.js opens, and the notebook of the same.
PLACES = ("inside.contrast", "lab.classify", "lab.search", "inside.codes", "inside.loop",
          "inside.stream", "inside.prior", "rerank")
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
            f"</p><ol>{lessons}</ol></div>")


def _lesson(number: int) -> str:
    title, question, do, see, source = strings.PATH_LESSONS[number - 1]
    where, place = _names()[number - 1], PLACES[number - 1]
    in_do, in_see = _labels()[number - 1]
    return (
        f'<li data-step="{number}" id="lesson-{number}" tabindex="-1"><p class="number">'
        f'<a href="?lesson={number}">{escape(strings.PATH_NUMBER.format(number))}</a></p>'
        f"<h3>{escape(title)}</h3>"
        f'<p class="inside-question">{escape(question)}</p>'
        f"<h4>{escape(strings.PATH_DO)}</h4><p>{escape(do.format(*in_do))}</p>"
        f'<p><a class="chip" href="?tab={place}" data-go="{place}">'
        f"{escape(strings.PATH_GO.format(where))}</a></p>"
        f"<details><summary>{escape(strings.PATH_SEE)}</summary>"
        f"<p>{escape(see.format(*in_see))}</p></details>"
        f'<p class="inside-source">{escape(source)} '
        f"{escape(strings.PATH_NOTEBOOK.format(f'notebooks/{NOTEBOOKS[number - 1]}.ipynb'))}"
        "</p></li>")


def _names() -> tuple[str, ...]:
    """What the tabs are called."""
    inside, lab = f"{strings.TAB_INSIDE}, {{}}", f"{strings.TAB_LAB}, {{}}"
    return (inside.format(strings.CONTRAST), lab.format(strings.LAB_CLASSIFY),
            lab.format(strings.LAB_SEARCH), inside.format(strings.CODES),
            inside.format(strings.LOOP), inside.format(strings.STREAM),
            inside.format(strings.PRIOR), strings.TAB_RERANK)


def _labels() -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """What the buttons and fields are called that a lesson names: to do, and in what one sees."""
    prior = say(str(UnclipOptions.model_fields["prior"].title))
    return (((strings.CONTRAST_DO, strings.CONTRAST_TEXTS, strings.CONTRAST_TEMPERATURE,
              strings.REPLAY, strings.REPLAY_MOMENT), ()),
            ((strings.LAB_EXAMPLE, strings.LAB_LABELS, strings.LAB_CLASSIFY), ()),
            ((strings.LAB_COLLECTION, strings.LAB_TEXT, strings.LAB_MINUS, strings.LAB_DO_SEARCH),
             (strings.LAB_MINUS,)),
            ((strings.CODES_DO, strings.PATCHES, strings.PATCHES_DO, strings.MIX), ()),
            ((strings.LOOP_DO, strings.LOOP_OTHER), ()),
            ((strings.STREAM_DO, strings.INSIDE_PROMPT, strings.COMPLETE), ()),
            ((strings.PRIOR_DO, prior), ()),
            ((strings.SOURCE_LAST, strings.RERANK_SOURCE, strings.RERANK, strings.PROMPTS_AGAINST),
             ()))

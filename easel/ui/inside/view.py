"""What the views of the tab have in common: a question, a guess, a run, and grids to walk in."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Literal

import gradio as gr
import numpy as np

from easel.ui.inside.chooser import Chooser, Found
from easel.ui.inside.sources import render_sources
from easel.ui.lab.lab import Lab
from easel.ui.lab.render import render_note
from easel.ui.lab.steps import LabPart, Shown, Steps
from easel.ui.parts.lines import Updates
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.task import Asked, Tasks
from easel.words import strings
from easel.words.language import say
from pipelines.core.images import plain_png
from pipelines.core.request import MAX_PROMPT_CHARS

Of = Literal["picture", "prompt", "nothing"]


class View:
    """A view under construction; what is built inside ``with view:`` stands at its question.

    Args:
        lab: whose backend answers.
        chooser: the picture and the prompt.
        name: of the view.
        question: to be answered before one looks, in English.
        guess_info: under the field for the guess.
    """

    def __init__(self, lab: Lab, chooser: Chooser, name: str, question: str,
                 guess_info: str) -> None:
        self.lab, self.chooser, self.name = lab, chooser, name
        self.desk = gr.Column(elem_classes="lab-desk")
        with self.desk:
            self.column = gr.Column(elem_classes="lab-ask")
            with self.column:
                worded_html(lambda: f'<h3 class="inside-question">{escape(say(question))}</h3>')
                self.guess = gr.Textbox(label=strings.INSIDE_GUESS, info=guess_info, max_lines=1,
                                        max_length=MAX_PROMPT_CHARS,
                                        elem_id=f"inside-{name}-guess")

    def finish(self, button: str, seen: str, source: str) -> None:
        """Add the buttons, the source and the stage.

        Args:
            button: what Go says.
            seen: one sentence of what one sees.
            source: of the method, in English.
        """
        with self.column:
            self.part = LabPart(f"inside-{self.name}", button)
            worded_html(lambda: f'<p class="inside-source">{render_sources(say(source))}</p>')
        with self.desk, gr.Column() as self.results:
            self.part.build_stage(seen)

    def connect(self, tasks: Tasks, tabs: Sequence[gr.Tab], look: Callable[[Asked], str],
                fields: Sequence[gr.components.Component] = (), again: Sequence[Any] = (),
                of: Of = "picture", more: Callable[[], Updates] = dict) -> None:
        """Let Go run it.

        Args:
            tasks: of the page.
            tabs: the view's, after those that it is in.
            look: finds out what there is to see, as HTML.
            fields: what a person fills in besides picture, prompt and guess.
            again: events that run it as well, of sliders.
            of: what of the chooser it looks into; "nothing" where it has pictures of its own.
            more: updates that leave nothing of what a view shows besides the stage.
        """
        if again:
            self.column.elem_classes = ["lab-ask", "lab-live"]  # for page.js

        def work(asked: Asked) -> Steps:
            yield strings.LAB_STARTING
            said = asked.text(self.guess)[:MAX_PROMPT_CHARS].strip()
            guessed = render_note(strings.INSIDE_GUESSED.format(said)) if said else ""
            yield Shown(guessed + look(asked))

        self.part.connect(tasks, tabs, [*self.chooser.fields(), self.guess, *fields])
        for event in (self.part.go.click, *again):
            self.part.starts(event, work)
        self.found = Found(self.part.task, lambda: self.part.empty() | more(), of == "picture")
        if of != "nothing":
            self.chooser.found.append(self.found)


def picture(pixels: np.ndarray, alt: str) -> str:
    """A picture (H, W, 3) uint8 RGB as HTML, without loss."""
    data = base64.b64encode(plain_png(pixels)).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}">'


def render_means(*notes: str) -> str:
    """What the figures mean, folded away: the view's question is answered without it."""
    return (f'<details class="inside-means"><summary>{escape(strings.INSIDE_MEANS)}</summary>'
            f'{"".join(map(render_note, notes))}</details>')


def render_figure(shown: str, title: str) -> str:
    """Some HTML with what it is below it."""
    return f"<figure>{shown}<figcaption>{escape(title)}</figcaption></figure>"


def render_grid(label: str, rows: Sequence[Sequence[tuple[str, str]]], kind: str,
                first: int = 0) -> str:
    """Cells that arrow keys walk through, and a line that says what the chosen one is (page.js).

    Args:
        label: what the grid is.
        rows: of each cell what is said of it, and its attributes as HTML.
        kind: its class.
        first: number of the cell that Tab comes to, row by row.
    """
    lines, number = [], 0
    for row in rows:
        cells = []
        for said, attributes in row:
            stop = 0 if number == first else -1
            cells.append(f'<button type="button" role="gridcell" tabindex="{stop}" '
                         f'data-said="{escape(said)}" aria-label="{escape(said)}" {attributes}>'
                         "</button>")
            number += 1
        lines.append(f'<div role="row">{"".join(cells)}</div>')
    return f'<div class="{kind}" role="grid" aria-label="{escape(label)}">{"".join(lines)}</div>'

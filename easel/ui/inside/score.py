"""Why this score: what each word of a prompt and each cell of a picture is worth to CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import gradio as gr
import numpy as np

from easel.ui.inside.chooser import Chooser
from easel.ui.inside.view import View, render_grid
from easel.ui.lab.lab import Lab
from easel.ui.lab.render import render_image, render_note
from easel.ui.parts.task import Asked, Tasks
from easel.words import strings
from easel.words.language import figure
from pipelines.inside.score import Why, WhyScore

PICTURE_PX = 512
MAX_COVER = 78  # percent


def build_score(lab: Lab, chooser: Chooser, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """Lay the view out and connect it."""
    view = View(lab, chooser, "score", strings.SCORE_QUESTION, strings.SCORE_GUESS_INFO)
    view.finish(strings.SCORE_DO, strings.SCORE_EMPTY, strings.SCORE_SOURCE)

    def look(asked: Asked) -> str:
        question = WhyScore(chooser.read(asked), asked.text(chooser.prompt))
        found = lab.backend.inside(question, asked.run.next_job())
        return render_score(found, chooser.path(asked), question.prompt)

    view.connect(tasks, tabs, look)


def render_score(found: Why, path: str, prompt: str) -> str:
    """The score, the heat map over the picture, the words, and the tokens."""
    score = strings.SCORE_WHOLE.format(_worth(found.score))
    notes = [strings.SCORE_EMPTY, _most(found)]
    if found.tie is not None:
        notes.append(strings.SCORE_TIE.format(figure(found.tie, ".3f")))
    head = f'<p class="inside-figure">{escape(score)}</p>{"".join(map(render_note, notes))}'
    return (f'{head}<div class="lab-one inside-pair"><div>{_heat(found.cells, path, prompt)}</div>'
            f"<div>{_words(found)}{_pieces(found)}</div></div>")


def _most(found: Why) -> str:
    row, column = np.unravel_index(found.cells.argmax(), found.cells.shape)
    cell = int(row) + 1, int(column) + 1, _worth(float(found.cells.max()))
    if not found.words:
        return strings.SCORE_MOST_CELL.format(*cell)
    best = max(found.words, key=lambda word: word.drop)
    return strings.SCORE_MOST.format(best.text, _worth(best.drop), *cell)


def _worth(drop: float) -> str:
    return figure(drop, "+.3f")


def _heat(cells: np.ndarray, path: str, prompt: str) -> str:
    most = max(float(np.abs(cells).max()), 1e-9)
    rows = [[(strings.SCORE_CELL.format(row, column, _worth(float(worth))),
              f'class="{_kind(worth)}" style="--cover:{MAX_COVER * abs(worth) / most:.0f}%"')
             for column, worth in enumerate(line, start=1)]
            for row, line in enumerate(cells, start=1)]
    return ('<div class="inside-grid heat-box"><label class="inside-switch">'
            f'<input type="checkbox" checked> {escape(strings.SCORE_HEAT)}</label>'
            f'<div class="heat">{render_image(path, prompt, PICTURE_PX)}'
            f'{render_grid(strings.SCORE_CELLS, rows, "cells")}</div>'
            f'<output class="lab-note">{escape(strings.SCORE_CELLS)}</output>'
            f'<ul class="legend"><li><span class="for"></span>'
            f'{escape(strings.SCORE_LEGEND_FOR)}</li><li><span class="against"></span>'
            f"{escape(strings.SCORE_LEGEND_AGAINST)}</li></ul></div>")


def _words(found: Why) -> str:
    if not found.words:
        return render_note(strings.SCORE_ONE_WORD)
    most = max(max(abs(word.drop) for word in found.words), 1e-9)
    rows = []
    for word in found.words:
        name = escape(word.text)
        if word.known is False:
            name = f'<mark title="{escape(strings.SCORE_UNKNOWN)}">{name}</mark>'
        rows.append(
            f'<li><span class="lab-label">{name}</span><span class="lab-bar">'
            f'<span class="{_kind(word.drop)}" style="width:{100 * abs(word.drop) / most:.1f}%">'
            f'</span></span><span class="lab-share">{_worth(word.drop)}</span></li>')
    return f'<h4>{escape(strings.SCORE_WORDS)}</h4><ol class="lab-bars">{"".join(rows)}</ol>'


def _pieces(found: Why) -> str:
    if not found.pieces:
        return ""
    pieces = "".join(
        f'<li{"" if piece.known else " class=unknown"} '
        f'title="{escape(strings.SCORE_PIECE.format(piece.id))}">{escape(piece.text)}</li>'
        for piece in found.pieces)
    return (f"<h4>{escape(strings.SCORE_PIECES)}</h4><ol class=\"pieces\">{pieces}</ol>"
            f"{render_note(strings.SCORE_PIECES_INFO)}")


def _kind(worth: float) -> str:
    return "for" if worth > 0 else "against"

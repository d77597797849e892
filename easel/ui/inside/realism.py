"""Real or drawn: a patch discriminator's map over a picture and over its codes drawn, in Codes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import gradio as gr
import numpy as np

from easel.ui.inside.chooser import Chooser
from easel.ui.inside.view import View, picture, render_grid
from easel.ui.lab.lab import Lab
from easel.ui.lab.render import percent, render_note
from easel.ui.parts.task import Asked, Tasks
from easel.words import strings
from easel.words.language import figure
from pipelines.inside.realism import STRONGEST, Judged, JudgePatches, PatchMap

MAX_COVER = 60  # percent


def build_realism(lab: Lab, chooser: Chooser, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """Lay the fold out and connect it."""
    with gr.Accordion(strings.PATCHES, open=False, elem_id="patches", elem_classes="lab-fold"):
        view = View(lab, chooser, "patches", strings.PATCHES_QUESTION, strings.PATCHES_GUESS_INFO)
        view.finish(strings.PATCHES_DO, strings.PATCHES_EMPTY, strings.PATCHES_SOURCE)

    def look(asked: Asked) -> str:
        found = lab.backend.inside(JudgePatches(chooser.read(asked)), asked.run.next_job())
        return render_judged(found)

    view.connect(tasks, tabs, look)


def render_judged(found: Judged) -> str:
    """Both pictures under their maps, the mean logits, and what is to be thought of them."""
    maps = found.picture, found.reconstruction
    head = strings.PATCHES_MEANS.format(*(_logit(each.mean) for each in maps))
    seen = (strings.PATCHES_SHARES.format(*(percent(each.real) for each in maps)),
            strings.PATCHES_SEEN.format(found.patch_px))
    known = [strings.PATCHES_ALONE]
    if found.right is not None:
        known.append(strings.PATCHES_RIGHT.format(percent(found.right)))
    figures = "".join(_figure(pixels, title, each) for pixels, title, each in (
        (found.codes.image, strings.CODES_READ.format(len(found.codes.image)), maps[0]),
        (found.codes.reconstruction, strings.CODES_DRAWN, maps[1])))
    return (f'<p class="inside-figure">{escape(head)}</p>{"".join(map(render_note, seen))}'
            '<div class="inside-grid heat-box"><label class="inside-switch">'
            f'<input type="checkbox" checked> {escape(strings.PATCHES_MAP)}</label>'
            f'<div class="inside-row two">{figures}</div>'
            f'<output class="lab-note">{escape(strings.PATCHES_WALK)}</output>'
            f'<ul class="legend"><li><span class="for"></span>'
            f'{escape(strings.PATCHES_REAL)}</li><li><span class="against"></span>'
            f"{escape(strings.PATCHES_FAKE)}</li></ul>{''.join(map(render_note, known))}</div>")


def _figure(pixels: np.ndarray, title: str, found: PatchMap) -> str:
    """A picture under a cell for each of its codes."""
    rows = [[(strings.PATCHES_CELL.format(row, column, _logit(float(logit))),
              f'class="{"for" if logit > 0 else "against"}" '
              f'style="--cover:{MAX_COVER * min(1, abs(logit) / STRONGEST):.0f}%"')
             for column, logit in enumerate(line, start=1)]
            for row, line in enumerate(found.cells, start=1)]
    said = strings.PATCHES_ALT.format(title, _logit(found.mean))
    return (f'<figure><div class="heat">{picture(pixels, said)}'
            f'{render_grid(said, rows, "cells")}</div>'
            f"<figcaption>{escape(said)}</figcaption></figure>")


def _logit(value: float) -> str:
    return figure(value, "+.2f")

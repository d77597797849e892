"""Mix: the codes of two pictures in one grid, drawn together."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import gradio as gr
import numpy as np

from easel.ui.inside.chooser import Chooser, build_second
from easel.ui.inside.codes import AMPLIFIED
from easel.ui.inside.mask import MaskField
from easel.ui.inside.view import View, picture, render_figure
from easel.ui.lab.lab import Lab
from easel.ui.lab.render import render_note
from easel.ui.parts.task import Asked, Tasks
from easel.ui.parts.uploads import read_many
from easel.words import strings
from easel.words.language import counted, figure
from pipelines.core.errors import InvalidRequest
from pipelines.inside.mix import MixCodes, Mixed


def build_mix(lab: Lab, chooser: Chooser, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """Lay the view out and connect it."""
    view = View(lab, chooser, "mix", strings.MIX_QUESTION, strings.MIX_GUESS_INFO)
    with view.column:
        second = build_second(lab.playground, chooser, "mix")
        mask = MaskField(chooser, "mix", "left", strings.MIX_MASK)
    view.finish(strings.MIX_DO, strings.MIX_EMPTY, strings.MIX_SOURCE)

    def look(asked: Asked) -> str:
        kept = mask.read(asked)
        if not asked.values[second.picture]:
            raise InvalidRequest(strings.MIX_NO_SECOND, field="image")
        one, other = read_many([chooser.path(asked), asked.values[second.picture]])
        return render_mix(lab.backend.inside(MixCodes(one, other, kept), asked.run.next_job()))

    view.connect(tasks, tabs, look, [second.picture, mask.text])
    second.found.append(view.found)
    second.connect(lab.playground)


def render_mix(found: Mixed) -> str:
    """Both pictures as they are read, what their codes draw together, and where that differs."""
    count = int(found.kept.sum())
    head = counted(count, strings.MIX_COUNT, found.kept.size - count)
    lost = (found.difference.astype(int) * AMPLIFIED).clip(0, 255).astype(np.uint8)
    figures = "".join(render_figure(picture(pixels, title), title) for pixels, title in (
        (found.one.reconstruction, strings.MIX_ONE), (found.other.reconstruction,
                                                      strings.MIX_OTHER),
        (found.picture, strings.MIX_TOGETHER), (found.pasted, strings.MIX_PASTED),
        (lost, strings.MIX_DIFFERENCE.format(AMPLIFIED))))
    return (f'<p class="inside-figure">{escape(head)}</p>'
            f"{render_note(strings.MIX_PSNR.format(figure(found.psnr_db, '.1f')))}"
            f"{render_note(strings.MIX_READ)}"
            f'<div class="inside-row five">{figures}</div>')

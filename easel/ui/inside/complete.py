"""Complete: DALL·E's transformer goes on with a part of a picture, several times."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import gradio as gr

from easel.guard.turns import reading
from easel.ui.inside.chooser import Chooser
from easel.ui.inside.loop import whole
from easel.ui.inside.mask import MaskField
from easel.ui.inside.stream import option_sliders, options_asked, written_in
from easel.ui.inside.view import View, picture, render_figure
from easel.ui.lab.lab import Lab
from easel.ui.lab.render import render_note
from easel.ui.parts.task import Asked, Tasks
from easel.ui.parts.uploads import read_upload
from easel.words import strings
from pipelines.core.images import load_small
from pipelines.core.request import SEED_COUNT
from pipelines.inside.complete import BOLD, MAX_COMPLETIONS, Completed, CompletePicture

SET = ("guidance_scale", "temperature", "top_k")


def build_complete(lab: Lab, chooser: Chooser, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """Lay the view out and connect it."""
    view = View(lab, chooser, "complete", strings.COMPLETE_QUESTION, strings.COMPLETE_GUESS_INFO)
    with view.column:
        mask = MaskField(chooser, "complete", "upper", strings.COMPLETE_MASK)
        count = gr.Slider(1, MAX_COMPLETIONS, value=CompletePicture.count, step=1, buttons=[],
                          label=strings.COMPLETE_COUNT, elem_id="inside-complete-count")
        fields = option_sliders("complete", SET, BOLD)
        seed = gr.Number(CompletePicture.seed, precision=0, minimum=0, maximum=SEED_COUNT - 1,
                         label=strings.LOOP_SEED, elem_id="inside-complete-seed")
    view.finish(strings.COMPLETE_DO, strings.COMPLETE_EMPTY, strings.COMPLETE_SOURCE)

    def look(asked: Asked) -> str:
        data = read_upload(chooser.path(asked))
        kept, options = mask.read(asked), options_asked(asked, fields)
        with reading.turn():
            question = CompletePicture(
                load_small(data), asked.text(chooser.prompt), kept, options,
                whole(asked.values[seed]), whole(asked.values[count]), written_in(data))
        found = lab.backend.inside(question, asked.run.next_job())
        return render_complete(found, question.prompt)

    view.connect(tasks, tabs, look, [mask.text, count, *fields.values(), seed])


def render_complete(found: Completed, prompt: str) -> str:
    """The picture, what of it stays, and what was written to that, side by side."""
    written = found.kept.size - int(found.kept.sum())
    head = strings.COMPLETE_FIGURE.format(written, found.kept.size)
    note = strings.COMPLETE_REREAD if found.reread else strings.COMPLETE_OWN
    shown = [(found.picture, strings.COMPLETE_PICTURE), (found.stays, strings.COMPLETE_STAYS)]
    shown += [(pixels, strings.COMPLETE_ONE.format(rank, seed)) for rank, (pixels, seed)
              in enumerate(zip(found.pictures, found.seeds, strict=True), start=1)]
    figures = "".join(render_figure(picture(pixels, f"{title}: {prompt}"), title)
                      for pixels, title in shown)
    return (f'<p class="inside-figure">{escape(head)}</p>{render_note(note)}'
            f"{render_note(strings.COMPLETE_ORDER)}"
            f'<div class="inside-row five">{figures}</div>')

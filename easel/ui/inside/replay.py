"""While it learned: the same twelve pairs at eight moments of a training, in Contrastive."""

from __future__ import annotations

from html import escape
from math import log
from typing import Any

import gradio as gr

from easel.ui.inside.loop import whole
from easel.ui.lab.render import render_note, render_reading
from easel.ui.parts.errors import shows_errors_by
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.tiles import alert
from easel.words import strings
from easel.words.language import figure
from pipelines.inside.contrast import MAX_TEMPERATURE, MIN_TEMPERATURE
from pipelines.inside.replay import replayed, replayed_pairs

FIRST_TEMPERATURE = 0.07  # with which Radford et al. begin (section 2.5)


def build_replay() -> None:
    """Lay the fold out and connect it; no model answers, so nothing waits for the device."""
    moments = len(replayed_pairs().steps)
    readings = [(strings.MATRIX_PICTURES, 0), (strings.MATRIX_TEXTS, 1),
                (strings.MATRIX_SIMILARITIES, 2)]
    with gr.Accordion(strings.REPLAY, open=False, elem_id="replay",
                      elem_classes="lab-fold") as fold:
        worded_html(_introduction)
        with gr.Column(elem_classes="lab-desk"):
            with gr.Column(elem_classes="lab-ask"):
                moment = gr.Slider(1, moments, value=1, step=1, buttons=[],
                                   label=strings.REPLAY_MOMENT, info=strings.REPLAY_MOMENT_INFO,
                                   elem_id="replay-moment")
                own = gr.Checkbox(True, label=strings.REPLAY_OWN, info=strings.REPLAY_OWN_INFO,
                                  container=False, elem_id="replay-own")
                temperature = gr.Slider(MIN_TEMPERATURE, MAX_TEMPERATURE, value=FIRST_TEMPERATURE,
                                        step=0.005, buttons=[], visible=False,
                                        label=strings.CONTRAST_TEMPERATURE,
                                        elem_id="replay-temperature")
                reading = gr.Radio(readings, value=0, label=strings.MATRIX_SHOW,
                                   elem_id="replay-reading")
            stage = gr.HTML("", elem_id="replay-stage", elem_classes="lab-stage", **PLAIN)

    @shows_errors_by(alert)
    def show(at: Any, learned: Any, chosen: Any, read: Any) -> str:
        return render_moment(whole(at), None if learned else chosen, read)

    fields = [moment, own, temperature, reading]
    gr.on([fold.expand, *(field.change for field in fields)], show, fields, stage, **LIVE)
    own.change(lambda learned: gr.update(visible=not learned), own, temperature, **LIVE)


def _introduction() -> str:
    pairs = replayed_pairs()
    count = len(pairs.texts)
    return render_note(strings.REPLAY_INTRO.format(pairs.batch_size, count, figure(log(count),
                                                                                   ".2f")))


def render_moment(number: int, temperature: float | None, reading: int) -> str:
    """What the CLIP made of the pairs at one moment.

    Args:
        number: of the moment, from 1.
        temperature: see ``replayed``.
        reading: 0 for the softmax over the pictures, 1 for that over the texts, 2 for cosines.
    """
    pairs, found = replayed_pairs(), replayed(number, temperature)
    contrast, count = found.contrast, len(pairs.texts)
    head = strings.REPLAY_HEAD.format(figure(found.step, ","), figure(found.pictures_seen, ","))
    notes = (
        strings.CONTRAST_PARTS.format(figure(contrast.loss_of_texts, ".3f"),
                                      figure(contrast.loss_of_pictures, ".3f")),
        strings.REPLAY_TRAINED.format(figure(contrast.temperature, ".3f"),
                                      figure(contrast.trained, ".3f")),
        strings.REPLAY_BATCH.format(figure(found.training_loss, ".3f"), pairs.batch_size),
        strings.MATRIX_DIAGONAL.format(*contrast.right, count))
    values = (contrast.over_pictures, contrast.over_texts, contrast.similarities)[reading]
    title = (strings.MATRIX_PICTURES, strings.MATRIX_TEXTS, strings.MATRIX_SIMILARITIES)[reading]
    table = render_reading("alone", title, pairs.texts, pairs.texts, pairs.paths, values,
                           reading < 2)
    loss = strings.CONTRAST_LOSS.format(figure(contrast.loss, ".3f"))
    return (f'<div role="status"><h4 class="replay-head">{escape(head)}</h4>'
            f'<p class="inside-figure">{escape(loss)}</p></div>'
            f'{render_note(" ".join(notes))}<div class="matrix-scroll">{table}</div>')

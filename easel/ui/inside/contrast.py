"""Contrastive: pairs of pictures and texts against each other, as CLIP was trained."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log
from pathlib import Path

import gradio as gr

from easel.ui.inside.chooser import Chooser
from easel.ui.inside.replay import FIRST_TEMPERATURE, build_replay
from easel.ui.inside.view import View, render_means
from easel.ui.lab.lab import Lab
from easel.ui.lab.render import render_note, render_readings
from easel.ui.parts.prompt_note import build_note
from easel.ui.parts.task import Asked, Tasks
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_many
from easel.words import strings
from easel.words.language import figure, say
from pipelines.core.sentences import several
from pipelines.inside.contrast import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Contrast,
    ContrastPairs,
    check_pairs,
    contrast_of,
)


def build_contrast(lab: Lab, chooser: Chooser, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """Lay the view out and connect it; below it what a training made of such pairs."""
    view = View(lab, chooser, "contrast", strings.CONTRAST_QUESTION, strings.CONTRAST_GUESS_INFO)
    with view.column:
        pictures = gr.File(list(chooser.paths) or None, label=strings.CONTRAST_PICTURES,
                           file_count="multiple", type="filepath", file_types=IMAGE_SUFFIXES,
                           height=120,
                           elem_classes="upload", elem_id="inside-contrast-pictures")
        texts = gr.Textbox(label=strings.CONTRAST_TEXTS, info=strings.CONTRAST_TEXTS_INFO, lines=4,
                           max_lines=12, elem_id="inside-contrast-texts")
        texts.value = several(chooser.prompts, "\n")  # each in the language of the browser
        build_note(lab.playground.reader, texts, "inside-contrast-note")
        temperature = gr.Slider(MIN_TEMPERATURE, MAX_TEMPERATURE, value=FIRST_TEMPERATURE,
                                step=0.005, buttons=[], label=strings.CONTRAST_TEMPERATURE,
                                info=strings.CONTRAST_TEMPERATURE_INFO,
                                elem_id="inside-contrast-temperature")
    view.finish(strings.CONTRAST_DO, strings.CONTRAST_EMPTY, strings.CONTRAST_SOURCE)

    def look(asked: Asked) -> str:
        files = [Path(path) for path in asked.values[pictures] or []]
        said = [line.strip() for line in asked.text(texts).splitlines() if line.strip()]
        check_pairs(len(files), len(said))  # before any picture is decoded
        question = ContrastPairs(read_many(files), said,
                                 asked.values[temperature])
        found = lab.backend.inside(question, asked.run.next_job())
        return render_contrast(found, files, said, _before(found, files, said, chooser))

    view.connect(tasks, tabs, look, [pictures, texts, temperature], [temperature.release],
                 of="nothing")
    build_replay()


def _before(found: Contrast, files: Sequence[Path], said: Sequence[str], chooser: Chooser,
            ) -> float | None:
    """The loss with each text in its picture's place, where the texts that stand there at first
    have changed places; None where they have not, or others are there."""
    own = [say(prompt) for prompt in chooser.prompts]
    if [file.name for file in files] != [Path(path).name for path in chooser.paths] or (
            said == own or sorted(said) != sorted(own)):
        return None
    order = [said.index(text) for text in own]
    return contrast_of(found.similarities[order], found.temperature, found.trained).loss


def render_contrast(found: Contrast, paths: Sequence[Path], texts: Sequence[str],
                    before: float | None = None) -> str:
    """The loss, and the matrix in its three readings.

    Args:
        found: of the pairs.
        paths: of the pictures.
        texts: theirs, in the same order.
        before: the loss with each text in its picture's place; None for nothing to be said of it.
    """
    head = strings.CONTRAST_LOSS.format(figure(found.loss, ".3f"))
    means = render_means(strings.CONTRAST_PARTS.format(figure(found.loss_of_texts, ".3f"),
                                                       figure(found.loss_of_pictures, ".3f")),
                         strings.CONTRAST_TRAINED.format(figure(found.temperature, ".3f"),
                                                         figure(found.trained, ".3f")))
    count = len(texts)
    nats = strings.CONTRAST_NATS.format(figure(log(count), ".2f"), count)
    if before is not None:
        nats = f"{strings.CONTRAST_BEFORE.format(figure(before, '.3f'))} {nats}"
    readings = render_readings(
        "contrast-view", texts, [path.name for path in paths], paths,
        (found.over_pictures, found.over_texts, found.similarities),
        escape(strings.MATRIX_DIAGONAL.format(*found.right, count)))
    return (f'<p class="inside-figure">{escape(head)}</p>{render_note(nats)}{means}'
            f"{readings}")

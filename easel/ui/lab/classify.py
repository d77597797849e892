"""Classify: pictures and the visitor's own labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from easel.guard.turns import reading
from easel.ui.lab.accuracy import render_accuracy, render_templates
from easel.ui.lab.example import EXAMPLES
from easel.ui.lab.lab import HISTORY, UPLOADS, Lab
from easel.ui.lab.labelled import new_folder, unpack_labelled
from easel.ui.lab.outcomes import Classified, classify_collection, classify_files
from easel.ui.lab.render import (
    render_facts,
    render_faults,
    render_many,
    render_one,
    render_save,
    render_sorted,
)
from easel.ui.lab.steps import LabPart, Shown, Steps
from easel.ui.parts.invitation import served
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.prompt_note import build_note
from easel.ui.parts.suited import render_suited
from easel.ui.parts.task import Asked, Tasks
from easel.ui.parts.theme import LIVE
from easel.ui.parts.tiles import alert
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_upload
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.core.texts import decode_file
from pipelines.zero_shot import (
    DEFAULT_TEMPLATE,
    classification_csv,
    openai_templates,
    parse_labels,
    parse_templates,
)

EXAMPLE = ("cat.png", "dog.png", "human.png")
TEXT_SUFFIXES, ZIP = [".txt", ".csv"], ".zip"


def build_classify(lab: Lab, clip: gr.Dropdown, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """Lay the part out and connect it; ``clip`` chooses the CLIP."""
    places = [place for place in lab.places() if place[1] in (HISTORY, UPLOADS)]
    with gr.Column(elem_classes="lab-desk"):
        with gr.Column(elem_classes="lab-ask"):
            where = gr.Radio(places, value=UPLOADS, label=strings.LAB_WHERE, container=False,
                             visible=len(places) > 1, elem_classes="lab-where")
            uploads = gr.File(label=strings.LAB_PICTURES, file_count="multiple", type="filepath",
                              file_types=[*IMAGE_SUFFIXES, ZIP], height=120,
                              elem_classes="upload", elem_id="lab-classify-pictures")
            worded_html(lambda: f'<p class="hint">{escape(say(strings.LAB_LABELLED))}</p>',
                        elem_id="lab-labelled-hint")
            labels = gr.Textbox(strings.LAB_FIRST_LABELS, label=strings.LAB_LABELS, lines=2,
                                max_lines=8, info=strings.LAB_LABELS_INFO, elem_id="lab-labels")
            build_note(lab.playground.reader, labels, f"{labels.elem_id}-note", clip)
            with gr.Row(elem_classes="lab-small"):
                example = gr.Button(strings.LAB_EXAMPLE, size="sm", elem_id="lab-example",
                                    visible=EXAMPLES.is_dir())
                file = gr.UploadButton(strings.LAB_LABELS_FILE, size="sm",
                                       file_types=TEXT_SUFFIXES, type="filepath")
            with gr.Accordion(strings.LAB_TEMPLATES, open=False, elem_classes="lab-fold"):
                templates = gr.Textbox(DEFAULT_TEMPLATE, label=strings.LAB_TEMPLATES, lines=2,
                                       max_lines=16, show_label=False,
                                       info=strings.LAB_TEMPLATES_INFO, elem_id="lab-templates")
                many = gr.Button(strings.LAB_MANY_TEMPLATES, size="sm",
                                 elem_id="lab-many-templates")
            part = LabPart("classify", strings.LAB_CLASSIFY)
        stage = part.build_stage(strings.LAB_EMPTY_CLASSIFY)

    def work(asked: Asked, rebuild: bool = False) -> Steps:
        wanted = parse_labels(asked.text(labels))
        said = parse_templates(asked.text(templates))
        place = asked.values[where]
        chosen = lab.suited(asked.values[clip], place, asked.values[uploads] or [], asked.run)
        model_id = chosen.model_id
        if place == UPLOADS:
            steps = classify_files(lab, asked.values[uploads] or [], wanted, said, model_id,
                                   asked.run)
        else:
            steps = classify_collection(lab, lab.collection(place, asked.run.visitor), wanted,
                                        said, model_id, asked.run, rebuild)
        for step in steps:
            if isinstance(step, Classified):
                title = next(title for title, known in lab.clips if known == model_id)
                step = replace(step, misfits=tuple(chosen.of(step.paths)))
                head = render_facts(step, title, len(said))
                head += render_suited(chosen, lab.titles(), "lab")
                yield Shown(head + render_accuracy(step) + _body(step, place)
                            + render_templates(step) + render_faults(step.unreadable)
                            + render_save(_write_csv(stage, step)))
            else:
                yield step

    part.connect(tasks, tabs, [clip, where, uploads, labels, templates])
    part.starts(part.go.click, work)
    part.starts(part.rebuild.click, partial(work, rebuild=True))
    where.change(lambda place: (gr.update(visible=place == UPLOADS),
                                strings.LAB_CLASSIFY if place == UPLOADS else strings.LAB_SORT),
                 where, [uploads, part.go], **LIVE)
    file.upload(_read_labels, file, [labels, stage], **LIVE)
    many.click(lambda: "\n".join(openai_templates()), None, templates, **LIVE)
    uploads.upload(partial(_unpack, stage), uploads, [uploads, labels, stage], **LIVE)
    _connect_example(part, example, work, (where, uploads, labels, templates))


def _read_labels(path: str | None) -> tuple[Any, Any]:
    """The text of a file of labels for the field, or a sentence for the stage."""
    try:
        return decode_file(Path(path or "").name, read_upload(path), "labels"), gr.skip()
    except EaselError as error:
        return gr.skip(), alert(str(error))


def _unpack(owner: gr.HTML, paths: list[str] | None) -> tuple[Any, Any, Any]:
    """The pictures of a zip in its place, with its folders as labels, or a sentence."""
    zips = [path for path in paths or () if path.lower().endswith(ZIP)]
    if not zips:
        return gr.skip(), gr.skip(), gr.skip()
    try:
        if len(paths or ()) > 1:
            raise InvalidRequest("A zip file of labelled pictures is given by itself.",
                                 field="images")
        with reading.turn():
            pictures, found = unpack_labelled(zips[0], new_folder(owner.GRADIO_CACHE))
    except EaselError as error:
        return None, gr.skip(), alert(str(error))
    return [str(path) for path in pictures], ", ".join(found), gr.skip()


def _body(outcome: Classified, place: str) -> str:
    if place != UPLOADS:
        return render_sorted(outcome)
    return render_one(outcome) if len(outcome.names) == 1 else render_many(outcome)


def _write_csv(owner: gr.HTML, outcome: Classified) -> Path:
    """The table as a file that the visitor alone knows the address of."""
    folder = new_folder(owner.GRADIO_CACHE)
    folder.mkdir(parents=True)
    path = folder / "labels.csv"
    path.write_text(classification_csv(outcome.names, outcome.found), encoding="utf-8-sig")
    owner.move_resource_to_block_cache(path)
    return path


def _connect_example(part: LabPart, button: gr.Button, work: Callable[[Asked], Steps],
                     fields: tuple[Any, ...]) -> None:
    """The three labels of the lesson, in one click."""
    paths = served(part.stage, [EXAMPLES / name for name in EXAMPLE])
    part.invite(strings.LAB_EXAMPLE, paths, button)
    filled = button.click(
        lambda: (UPLOADS, paths, strings.LAB_FIRST_LABELS, say(DEFAULT_TEMPLATE)),
        None, list(fields), **LIVE)
    part.starts(filled.then, work)

"""See how CLIP works: the matrix of texts and pictures, and the map of a collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import gradio as gr

from easel.search.snapshot import Snapshot
from easel.ui.lab.example import (
    build_collection_example,
    connect_collection_example,
    samples,
)
from easel.ui.lab.lab import UPLOADS, Lab, first_files
from easel.ui.lab.outcomes import map_of, matrix_of
from easel.ui.lab.render import render_faults, render_map, render_matrix
from easel.ui.lab.search import build_where
from easel.ui.lab.steps import LabPart, Shown, Steps
from easel.ui.parts.facts import title_of
from easel.ui.parts.prompt_note import build_note
from easel.ui.parts.suited import render_suited
from easel.ui.parts.task import Asked, Tasks
from easel.ui.parts.theme import LIVE
from easel.ui.parts.uploads import IMAGE_SUFFIXES
from easel.words import strings
from easel.words.language import say
from pipelines.zero_shot import DEFAULT_TEMPLATE, parse_labels


def build_matrix(lab: Lab, clip: gr.Dropdown, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """Texts × pictures, on which CLIP was explained; ``clip`` chooses the CLIP."""
    with gr.Column(elem_classes="lab-desk"):
        with gr.Column(elem_classes="lab-ask"):
            uploads = gr.File(label=strings.LAB_PICTURES, file_count="multiple", type="filepath",
                              file_types=IMAGE_SUFFIXES, height=120, elem_classes="upload",
                              elem_id="lab-matrix-pictures")
            texts = gr.Textbox(label=strings.MATRIX_TEXTS_LABEL, info=strings.MATRIX_TEXTS_INFO,
                               lines=4, max_lines=12, elem_id="lab-matrix-texts")
            build_note(lab.playground.reader, texts, f"{texts.elem_id}-note", clip)
            with gr.Row(elem_classes="lab-small"):
                example = gr.Button(strings.MATRIX_EXAMPLE, size="sm", elem_id="lab-matrix-example")
            part = LabPart("matrix", strings.MATRIX_DO)
        stage = part.build_stage(strings.MATRIX_EMPTY)

    def work(asked: Asked) -> Steps:
        yield strings.LAB_STARTING
        paths = asked.values[uploads] or []
        chosen = lab.suited(asked.values[clip], UPLOADS, paths, asked.run)
        matrix = matrix_of(lab, paths, asked.text(texts).splitlines(), chosen.model_id)
        matrix = replace(matrix, misfits=tuple(chosen.of(matrix.paths)))
        yield Shown(render_suited(chosen, lab.titles(), "lab") + render_matrix(matrix))

    part.connect(tasks, tabs, [clip, uploads, texts])
    part.starts(part.go.click, work)
    paths, prompts = samples(stage)
    example.visible = bool(paths)
    part.invite(strings.MATRIX_EXAMPLE, paths, example)
    filled = example.click(lambda: (paths, "\n".join(map(say, prompts))), None,
                           [uploads, texts], **LIVE)
    part.starts(filled.then, work)


def build_map(lab: Lab, clip: gr.Dropdown, tasks: Tasks, tabs: Sequence[gr.Tab]) -> None:
    """A collection on a plane; ``clip`` chooses the CLIP."""
    with gr.Column(elem_classes="lab-desk"):
        with gr.Column(elem_classes="lab-ask"):
            where, uploads = build_where(lab, "map")
            labels = gr.Textbox(label=strings.LAB_LABELS, info=strings.MAP_LABELS_INFO, lines=2,
                                max_lines=6, elem_id="lab-map-labels")
            build_note(lab.playground.reader, labels, f"{labels.elem_id}-note", clip)
            example = build_collection_example("map")
            part = LabPart("map", strings.MAP_DO)
        part.build_stage(strings.MAP_EMPTY)

    def work(asked: Asked, rebuild: bool = False) -> Steps:
        typed = asked.text(labels)
        wanted = parse_labels(typed) if typed.strip() else ()
        collection = lab.collection(asked.values[where], asked.run.visitor,
                                    asked.values[uploads] or [])
        chosen = lab.suited(asked.values[clip], asked.values[where], first_files(collection),
                            asked.run)
        model_id = chosen.model_id
        for step in lab.current(collection, model_id, asked.run, rebuild):
            if isinstance(step, Snapshot):
                found = map_of(lab, step, wanted, (DEFAULT_TEMPLATE,), model_id, asked.run)
                if not wanted:  # then the labels are generators, or "not known"
                    found = replace(found, labels=tuple(
                        say(title_of(lab.playground.registry, name)) for name in found.labels))
                yield Shown(render_suited(chosen, lab.titles(), "lab") + render_map(found)
                            + render_faults(lab.unreadable(collection, step)))
            else:
                yield step

    part.connect(tasks, tabs, [clip, where, uploads, labels])
    part.starts(part.go.click, work)
    part.starts(part.rebuild.click, partial(work, rebuild=True))
    connect_collection_example(part, example, work, (where, uploads), {labels: ""})

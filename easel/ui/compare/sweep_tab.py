"""The fold of the Compare tab that draws a grid over two options."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from easel.compare.prompt_lists import Line, read_prompts
from easel.compare.sweeps import proposed_values, share_work, sweep_options
from easel.ui.compare.form import read_panes
from easel.ui.compare.parts import CompareParts
from easel.ui.compare.sweep import SweepView, fold_sweep, read_sweep, render_sweep
from easel.ui.compare.word_lists import build_word_lists
from easel.ui.generate.render import render_earlier
from easel.ui.parts.choice import on_choice
from easel.ui.parts.lines import Updates
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.task import Asked, Tasks, build_alert
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.playground import Playground
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import InvalidRequest
from pipelines.pipeline import Pipeline

PLACE = "sweep"


def build_sweep(playground: Playground, store: PictureStore, tasks: Tasks, tab: gr.Tab,
                parts: CompareParts) -> None:
    """Lay the fold out and connect it.

    Args:
        playground: what there is.
        store: where finished pictures are written.
        tasks: of the page.
        tab: the one that the fold is in.
        parts: of the tab, whose prompt, seed and pictures are the grid's too; the first pane is its
            base.
    """
    prompt, panes, seed = parts.prompt, parts.panes, parts.seed

    def offered(text: str) -> tuple[Pipeline, list[tuple[str, str]]]:
        """The generator of pane A, and what may stand along a side: its own options alone."""
        names = playground.registry.names()
        chosen = str(next(iter(read_panes(text)), {}).get("pipeline", ""))
        pipeline = playground.registry.get(chosen if chosen in names else names[0])
        titles = sweep_options(pipeline)
        return pipeline, [(say(strings.SWEEP_NONE), ""),
                          *((say(title), name) for name, title in titles.items())]

    choices = offered(str(panes.value))[1]
    with gr.Accordion(strings.SWEEP, open=False, elem_id="sweep") as fold:
        worded_html(lambda: f'<p class="hint">{escape(strings.SWEEP_INFO)}</p>')
        sides = []
        with gr.Row():
            for side, label, values_label, first, values in (
                    ("across", strings.SWEEP_X, strings.SWEEP_VALUES_X, "seed", "1..4"),
                    ("down", strings.SWEEP_Y, strings.SWEEP_VALUES_Y, "", "")):
                name = gr.Dropdown(choices, value=first, label=label, min_width=120,
                                   elem_id=f"sweep-{side}")
                text = gr.Textbox(values, label=values_label, max_lines=1, min_width=120,
                                  elem_id=f"sweep-values-{side}")
                sides += [name, text]
                on_choice(name, lambda _, name, text: proposed_values(
                    name, offered(text)[0], playground.registry.names()), [panes], [text])
        file = gr.File(label=strings.SWEEP_FILE, file_count="single", type="filepath",
                       file_types=[".txt", ".csv"], height=64, elem_id="sweep-file",
                       elem_classes="upload")
        build_word_lists(playground)
        with gr.Row(elem_id="sweep-buttons"):
            run = gr.Button(strings.SWEEP_RUN, size="sm", elem_id="sweep-run")
            # In the place of the other while a grid is drawn (style.css).
            add = gr.Button(strings.QUEUE_ADD, size="sm", elem_id="sweep-add")
            stop = gr.Button(strings.STOP, size="sm", interactive=False, elem_id="sweep-stop")
        refused = build_alert(PLACE)
        stage = gr.HTML("", elem_id="sweep-stage", **PLAIN)

    def sweep(asked: Asked) -> Generator[Updates]:
        pane = dict(next(iter(read_panes(asked.text(panes))), {}))
        said = str(pane.pop("prompt", "") or asked.text(prompt))
        x_name, x_text, y_name, y_text = map(asked.text, sides)
        planned = read_sweep(playground, asked.run.visitor, said, pane,
                             asked.values[seed], (x_name, x_text), (y_name, y_text),
                             _prompts_in(asked.text(file)), parts.pictures.read(asked.values))
        view = SweepView(planned, share_work(planned))
        requests = [batch.request for batch in view.batches]
        events = playground.backend.compare(requests, asked.run.next_jobs(len(requests)),
                                            together=1, owner=asked.run.visitor)
        asked.at_rest = lambda: {stage: render_sweep(view, running=False)}
        yield {stage: render_sweep(view, running=True)}  # checked; one that waits goes no further
        with closing(events):
            for _ in fold_sweep(view, events, playground, store):
                yield {stage: render_sweep(view, running=True)}
        asked.run.cards = [view.cards[index] for index in sorted(view.cards)]
        yield {stage: render_sweep(view, running=False)}

    def applying(text: str, *chosen: Any) -> list[Any]:
        """Where pane A has another generator, what it does not have goes."""
        there = offered(text)[1]
        known = [name for _, name in there]  # a program may send what no set can hold
        return [update for name in chosen for update in (
            gr.update(choices=there, value=name if name in known else ""),
            gr.skip() if name in known else "")]

    panes.change(applying, [panes, sides[0], sides[2]], sides, **LIVE)
    task = tasks.add(PLACE, run, stop, [stage], refused, stacked=stage, wrap=render_earlier)
    inputs = [prompt, panes, seed, file, *parts.pictures.files.values(), *sides]
    task.starts([run.click], sweep, inputs, queues=True, about=prompt)
    # Once more while an earlier press, which came too late to wait, is still being answered.
    task.starts([add.click], sweep, inputs, queues=True, about=prompt, often=True)
    task.returns([prompt, seed, *sides], [tab], [fold])


def _prompts_in(path: str) -> list[Line]:
    """The prompts of an uploaded file; none where there is no file.

    Raises:
        InvalidRequest: it holds none, too many, or is no text.
    """
    if not path:
        return []
    try:
        return read_prompts(Path(path).name, Path(path).read_bytes())
    except OSError:
        raise InvalidRequest(strings.SWEEP_FILE_GONE, field="prompt") from None

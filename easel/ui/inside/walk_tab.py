"""Walk: from one prompt or picture to another with unCLIP, as a strip and a video."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from easel.guard.turns import reading
from easel.serving.jobs import Found
from easel.ui.inside.walk import (
    WalkView,
    end_of_walk,
    keep_walk,
    render_empty,
    render_walk,
)
from easel.ui.lab.example import COLLECTION
from easel.ui.parts.controls import MAX_TYPED_CHARS
from easel.ui.parts.invitation import invitation, served
from easel.ui.parts.lines import Updates
from easel.ui.parts.page_words import fill_html, worded_html
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.prompt_note import build_note
from easel.ui.parts.streams import Throttle
from easel.ui.parts.task import Asked, Tasks, build_alert
from easel.ui.parts.theme import LIVE
from easel.ui.parts.uploads import IMAGE_SUFFIXES
from easel.ui.playground import Playground
from easel.words import strings
from pipelines.core.errors import Cancelled
from pipelines.core.events import Preview, Progress
from pipelines.core.request import fresh_seed
from pipelines.prompt_words import PromptReader
from pipelines.unclip.walk import MAX_FRAMES, MIN_FRAMES, Walk

PLACE = "walk"
FRAMES = 9
EXAMPLE = ("a-green-apple.png", "a-blue-umbrella.png")


@dataclass
class WalkParts:
    """The components of the tab."""

    start: gr.Textbox
    start_picture: gr.File
    end: gr.Textbox
    end_picture: gr.File
    frames: gr.Slider
    seed: gr.Textbox
    go: gr.Button
    stop: gr.Button
    example: gr.Button
    refused: gr.HTML
    stage: gr.HTML

    def asked(self) -> list[gr.components.Component]:
        """What a person fills in."""
        return [self.start, self.start_picture, self.end, self.end_picture, self.frames, self.seed]

    def plan(self, values: Mapping[Any, Any]) -> Walk:
        """The walk that was asked for.

        Raises:
            InvalidRequest: one sentence about the first fault.
            InvalidImage: an end is not a picture that Easel reads.
            Busy: it brings one, and the visitor's are being read already, or so many others'.
        """
        seed = str(values[self.seed] or "").strip()
        number = fresh_seed()
        if seed:
            whole = seed.isascii() and seed.isdigit() and len(seed) < 20
            number = int(seed) if whole else -1  # refused below
        pictures = {"start": values[self.start_picture], "end": values[self.end_picture]}
        with reading.turn_for(pictures):
            return Walk.checked(
                end_of_walk(values[self.start] or "", pictures["start"], "start"),
                end_of_walk(values[self.end] or "", pictures["end"], "end"),
                values[self.frames], number)


def build_walk(playground: Playground, store: PictureStore, tasks: Tasks,
               tabs: Sequence[gr.Tab]) -> None:
    """Lay the tab out and connect it.

    Args:
        playground: what there is.
        store: where the files are written.
        tasks: of the page.
        tabs: the one that is under construction, after those that it is in.
    """
    with gr.Column(elem_id="walk-desk"):
        with gr.Column(elem_id="walk-ask"):
            reader = playground.reader
            start, start_picture = _build_end(reader, "start", strings.WALK_FROM,
                                              strings.WALK_FIRST)
            end, end_picture = _build_end(reader, "end", strings.WALK_TO, strings.WALK_LAST)
            frames = gr.Slider(MIN_FRAMES, MAX_FRAMES, value=FRAMES, step=1, buttons=[],
                               label=strings.WALK_FRAMES, info=strings.WALK_FRAMES_INFO,
                               elem_id="walk-frames")
            seed = gr.Textbox(label=strings.SEED_LABEL, info=strings.WALK_SEED_INFO, max_lines=1,
                              placeholder=strings.SEED_PLACEHOLDER, elem_id="walk-seed")
            with gr.Row(elem_id="walk-buttons"):
                go = gr.Button(strings.WALK, variant="primary", size="lg", elem_id="walk-run")
                stop = gr.Button(strings.STOP, size="lg", interactive=False, elem_id="walk-stop")
            example = gr.Button(strings.WALK_EXAMPLE, elem_id="walk-example",
                                elem_classes="offstage")
            refused = build_alert(PLACE)
        stage = worded_html(lambda: render_empty(FRAMES), elem_id="walk-stage")
        worded_html(lambda: f'<p class="hint">{escape(strings.WALK_INFO)}</p>',
                    elem_id="walk-info")
    parts = WalkParts(start, start_picture, end, end_picture, frames, seed, go, stop, example,
                      refused, stage)
    _connect(playground, store, parts, tasks, tabs)


def _build_end(reader: PromptReader | None, name: str, label: str, prompt: str,
               ) -> tuple[gr.Textbox, gr.File]:
    with gr.Column(elem_classes="walk-end"):
        text = gr.Textbox(prompt, label=label, lines=1, max_lines=4, elem_id=f"walk-{name}",
                          max_length=MAX_TYPED_CHARS)
        build_note(reader, text, f"walk-{name}-note")
        picture = gr.File(label=strings.WALK_PICTURE, file_count="single", type="filepath",
                          file_types=IMAGE_SUFFIXES, height=64, elem_id=f"walk-{name}-picture",
                          elem_classes="upload")
    return text, picture


def _connect(playground: Playground, store: PictureStore, parts: WalkParts, tasks: Tasks,
             tabs: Sequence[gr.Tab]) -> None:
    def walk(asked: Asked) -> Generator[Updates]:
        plan, run = parts.plan(asked.values), asked.run
        view, throttle, message = WalkView(plan), Throttle(), ""
        asked.at_rest = lambda: {parts.stage: render_empty(plan.frames)}
        yield {parts.stage: render_walk(view)}
        try:
            with closing(playground.backend.walk(plan, run.next_job(), run.visitor)) as events:
                for event in events:
                    if isinstance(event, Found):
                        view.files = keep_walk(store, plan, event.value)
                        continue
                    view.take(event)
                    # The first step is shown at once: after the loading it may be a long one.
                    begun = isinstance(event, Progress) and bool(message) and not event.message
                    message = event.message if isinstance(event, Progress) else message
                    if throttle.due() or begun or isinstance(event, Preview):
                        throttle.shown()
                        yield {parts.stage: render_walk(view)}
        except Cancelled:
            view.stopped = True
        yield {parts.stage: render_walk(view)}

    task = tasks.add(PLACE, parts.go, parts.stop, [parts.stage], parts.refused)
    task.starts([parts.go.click, parts.start.submit, parts.end.submit], walk, parts.asked())
    task.returns(parts.asked(), tabs)
    ends = served(parts.stage, [COLLECTION / name for name in EXAMPLE])
    fill_html(parts.stage, lambda: render_empty(FRAMES) + invitation(
        strings.WALK_EXAMPLE, ends, str(parts.example.elem_id)))
    filled = parts.example.click(lambda: (*ends, FRAMES), None, [
        parts.start_picture, parts.end_picture, parts.frames], **LIVE)
    task.starts([filled.then], walk, parts.asked())

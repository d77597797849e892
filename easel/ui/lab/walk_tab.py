"""Walk: from one prompt or picture to another with unCLIP, as a strip and a video."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from easel.ui.lab.walk import (
    WalkView,
    end_of_walk,
    keep_walk,
    render_alert,
    render_empty,
    render_walk,
)
from easel.ui.parts.controls import IMAGE_SUFFIXES
from easel.ui.parts.live import WINDOW_JS
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.runs import Run
from easel.ui.parts.task import REDRAW_EVERY_S, said_whole
from easel.ui.parts.theme import LIVE
from easel.ui.parts.visitors import visitor_of
from easel.ui.playground import Playground
from easel.ui.words import strings
from easel.ui.words.page_words import worded_html
from pipelines.core.errors import Cancelled, EaselError
from pipelines.core.events import Preview, Progress
from pipelines.core.request import MAX_PROMPT_CHARS, SEED_COUNT
from pipelines.unclip.walk import MAX_FRAMES, MIN_FRAMES, Walk

logger = logging.getLogger(__name__)
PLACE = "walk"
FRAMES = 9
BUSY = (gr.update(interactive=False), gr.update(interactive=True))
IDLE = (gr.update(interactive=True), gr.update(interactive=False))


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
    stage: gr.HTML

    def asked(self) -> list[gr.components.Component]:
        """What a person fills in."""
        return [self.start, self.start_picture, self.end, self.end_picture, self.frames, self.seed]

    def shown(self) -> list[gr.components.Component]:
        """What changes while it runs."""
        return [self.stage, self.go, self.stop]

    def plan(self, values: Mapping[Any, Any]) -> Walk:
        """The walk that was asked for.

        Raises:
            InvalidRequest: one sentence about the first fault.
            InvalidImage: an end is not a picture that Easel reads.
        """
        seed = str(values[self.seed] or "").strip()
        number = secrets.randbelow(SEED_COUNT)
        if seed:
            whole = seed.isascii() and seed.isdigit() and len(seed) < 20
            number = int(seed) if whole else -1  # refused below
        return Walk.checked(
            end_of_walk(values[self.start] or "", values[self.start_picture], "start"),
            end_of_walk(values[self.end] or "", values[self.end_picture], "end"),
            values[self.frames], number)


def build_walk(playground: Playground, store: PictureStore, page: gr.Blocks,
               tabs: Sequence[gr.Tab]) -> None:
    """Lay the tab out and connect it.

    Args:
        playground: what there is.
        store: where the files are written.
        page: which finds a running walk again when it is opened again.
        tabs: the one that is under construction, after those that it is in.
    """
    with gr.Column(elem_id="walk-desk"):
        with gr.Column(elem_id="walk-ask"):
            start, start_picture = _build_end("start", strings.WALK_FROM, strings.WALK_FIRST)
            end, end_picture = _build_end("end", strings.WALK_TO, strings.WALK_LAST)
            frames = gr.Slider(MIN_FRAMES, MAX_FRAMES, value=FRAMES, step=1, buttons=[],
                               label=strings.WALK_FRAMES, info=strings.WALK_FRAMES_INFO,
                               elem_id="walk-frames")
            seed = gr.Textbox(label=strings.SEED_LABEL, info=strings.WALK_SEED_INFO, max_lines=1,
                              placeholder=strings.SEED_PLACEHOLDER, elem_id="walk-seed")
            with gr.Row(elem_id="walk-buttons"):
                go = gr.Button(strings.WALK, variant="primary", size="lg", elem_id="walk-run")
                stop = gr.Button(strings.STOP, size="lg", interactive=False, elem_id="walk-stop")
        stage = worded_html(lambda: render_empty(FRAMES), elem_id="walk-stage")
        worded_html(lambda: f'<p class="hint">{escape(strings.WALK_INFO)}</p>',
                    elem_id="walk-info")
    parts = WalkParts(start, start_picture, end, end_picture, frames, seed, go, stop, stage)
    _connect(playground, store, parts)
    _connect_return(playground, parts, page, tabs)


def _build_end(name: str, label: str, prompt: str) -> tuple[gr.Textbox, gr.File]:
    with gr.Column(elem_classes="walk-end"):
        text = gr.Textbox(prompt, label=label, lines=1, max_lines=4, elem_id=f"walk-{name}",
                          max_length=MAX_PROMPT_CHARS)
        picture = gr.File(label=strings.WALK_PICTURE, file_count="single", type="filepath",
                          file_types=IMAGE_SUFFIXES, height=64, elem_id=f"walk-{name}-picture",
                          elem_classes="upload")
    return text, picture


def _connect(playground: Playground, store: PictureStore, parts: WalkParts) -> None:
    def draw(plan: Walk, run: Run) -> Iterator[tuple[Any, ...]]:
        view, shown_s = WalkView(plan), 0.0
        yield (render_walk(view), *BUSY)
        message = ""
        try:
            with closing(playground.backend.walk(plan, run.next_job(), run.visitor)) as events:
                for event in events:
                    if not isinstance(event, Progress | Preview):
                        view.files = keep_walk(store, plan, event)
                        continue
                    view.take(event)
                    if run.stopped:  # before there was a job that could be
                        run.stop(playground.backend)
                    late = time.monotonic() - shown_s > REDRAW_EVERY_S
                    # The first step is shown at once: after the loading it may be a long one.
                    begun = isinstance(event, Progress) and bool(message) and not event.message
                    message = event.message if isinstance(event, Progress) else message
                    if late or begun or isinstance(event, Preview):
                        shown_s = time.monotonic()
                        yield (render_walk(view), *BUSY)
        except Cancelled:
            view.stopped = True
        yield (render_walk(view), *IDLE)

    def walk(values: Mapping[Any, Any], request: gr.Request) -> Iterator[tuple[Any, ...]]:
        session = request.session_hash or ""
        try:
            plan = parts.plan(values)
            run = playground.runs.start(session, visitor_of(request), PLACE)
            live = playground.live.start(run, partial(draw, plan, run), dict(values))
            yield from said_whole(live.follow(session))
        except EaselError as error:
            yield (render_alert(str(error)), *IDLE)
        except Exception:
            logger.exception("the page failed while it walked")
            yield (render_alert(strings.UNEXPECTED), *IDLE)

    def stop_walk(request: gr.Request) -> None:
        playground.runs.stop(request.session_hash or "", PLACE)

    gr.on([parts.go.click, parts.start.submit, parts.end.submit], walk, set(parts.asked()),
          parts.shown(), show_progress="hidden", concurrency_limit=None, trigger_mode="once",
          api_visibility="private")
    parts.stop.click(stop_walk, None, None, **LIVE)


def _connect_return(playground: Playground, parts: WalkParts, page: gr.Blocks,
                    tabs: Sequence[gr.Tab]) -> None:
    """A page that is opened again finds the walk that went on when it was closed, as asked for."""
    def come_back(window: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        session, stay = request.session_hash or "", [gr.skip() for _ in parts.asked()]
        closed = [gr.skip() for _ in tabs]
        live = playground.live.adopt(session, visitor_of(request), PLACE, window)
        if live is None:
            yield (*(gr.skip() for _ in parts.shown()), *closed, *stay)
            return
        opened = [*(gr.update(selected=tab.id) for tab in tabs),
                  *(gr.update(value=live.subject[part]) for part in parts.asked())]
        try:
            for updates in said_whole(live.follow(session)):
                yield (*updates, *opened)
                opened = [*closed, *stay]
        except EaselError as error:
            yield (render_alert(str(error)), *IDLE, *opened)

    changed: list[Any] = [*parts.shown(), *(tab.parent for tab in tabs), *parts.asked()]
    page.load(come_back, gr.Textbox(visible="hidden"), changed, js=WINDOW_JS,
              show_progress="hidden", concurrency_limit=None, api_visibility="private")

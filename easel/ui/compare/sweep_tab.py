"""The fold of the Compare tab that draws a grid over two options."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from easel.compare.sweeps import Sweep, share_work, sweep_options
from easel.compare.wildcards import suggestions
from easel.ui.compare.form import read_panes
from easel.ui.compare.sweep import SweepView, fold_sweep, read_sweep, render_sweep
from easel.ui.parts.live import WINDOW_JS
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.runs import Run
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.visitors import visitor_of
from easel.ui.playground import Playground
from easel.ui.words import strings
from easel.ui.words.language import say
from easel.ui.words.page_words import worded_html
from pipelines.core.errors import EaselError

logger = logging.getLogger(__name__)
PLACE = "sweep"


def build_sweep(playground: Playground, store: PictureStore, page: gr.Blocks, tab: gr.Tab,
                prompt: gr.Textbox, panes: gr.Textbox, seed: gr.Textbox) -> None:
    """Lay the fold out and connect it.

    Args:
        playground: what there is.
        store: where finished pictures are written.
        page: which finds a running grid again when it is opened again.
        tab: the one that the fold is in.
        prompt: the tab's prompt.
        panes: the tab's panes as JSON; the first one is the grid's base.
        seed: the tab's seed.
    """
    names = {name: title for pipeline in playground.registry
             for name, title in sweep_options(pipeline).items()}
    choices = [(strings.SWEEP_NONE, ""), *((title, name) for name, title in names.items())]
    with gr.Accordion(strings.SWEEP, open=False, elem_id="sweep") as fold:
        worded_html(lambda: f'<p class="hint">{escape(strings.SWEEP_INFO)}</p>')
        sides = []
        with gr.Row():
            for label, first, values in ((strings.SWEEP_X, "seed", "1..4"),
                                         (strings.SWEEP_Y, "", "")):
                name = gr.Dropdown(choices, value=first, label=label, min_width=120,
                                   elem_id=f"sweep-{label.lower()}")
                text = gr.Textbox(values, label=f"{strings.SWEEP_VALUES}: {label.lower()}",
                                  max_lines=1, min_width=120,
                                  elem_id=f"sweep-values-{label.lower()}")
                sides += [name, text]
        with gr.Row(elem_id="sweep-buttons"):
            run = gr.Button(strings.SWEEP_RUN, size="sm", elem_id="sweep-run")
            stop = gr.Button(strings.STOP, size="sm", interactive=False, elem_id="sweep-stop")
        stage = gr.HTML("", elem_id="sweep-stage", **PLAIN)

    busy = (gr.update(interactive=False), gr.update(interactive=True))
    idle = (gr.update(interactive=True), gr.update(interactive=False))

    def draw(planned: Sweep, task: Run) -> Iterator[tuple[Any, ...]]:
        view = SweepView(planned, share_work(planned))
        requests = [batch.request for batch in view.batches]
        events = playground.backend.compare(requests, task.next_jobs(len(requests)), together=1,
                                            owner=task.visitor)
        with closing(events):
            for _ in fold_sweep(view, events, playground, store):
                if task.stopped:
                    task.stop(playground.backend)
                yield (render_sweep(view, running=True), *busy)
        task.cards = [view.cards[index] for index in sorted(view.cards)]
        yield (render_sweep(view, running=False), *idle)

    def sweep(prompt_text: str, panes_text: str, seed_text: str, x_name: str, x_text: str,
              y_name: str, y_text: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        session = request.session_hash or ""
        try:
            pane = next(iter(read_panes(panes_text)), {})
            planned = read_sweep(playground.registry, prompt_text or "", pane, seed_text,
                                 (x_name or "", x_text or ""), (y_name or "", y_text or ""))
            task = playground.runs.start(session, visitor_of(request), PLACE)
            live = playground.live.start(task, partial(draw, planned, task))
            yield from live.follow(session)
        except EaselError as error:
            yield (_alert(str(error)), *idle)
        except Exception:
            logger.exception("the page failed while it drew a grid")
            yield (_alert(strings.UNEXPECTED), *idle)

    def come_back(window: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        session = request.session_hash or ""
        live = playground.live.adopt(session, visitor_of(request), PLACE, window)
        if live is None:
            yield (gr.skip(),) * 5
            return
        opened = (gr.update(selected="compare"), gr.update(open=True))
        try:
            for updates in live.follow(session):
                yield (*opened, *updates)
                opened = (gr.skip(), gr.skip())
        except EaselError as error:
            yield (*opened, _alert(str(error)), *idle)

    def stop_sweep(request: gr.Request) -> None:
        playground.runs.stop(request.session_hash or "", PLACE)

    run.click(sweep, [prompt, panes, seed, *sides], [stage, run, stop], show_progress="hidden",
              concurrency_limit=None, trigger_mode="once", api_visibility="private")
    stop.click(stop_sweep, None, None, **LIVE)
    changed: list[Any] = [tab.parent, fold, stage, run, stop]
    page.load(come_back, gr.Textbox(visible="hidden"), changed,
              js=WINDOW_JS, show_progress="hidden", concurrency_limit=None,
              api_visibility="private")


def _alert(sentence: str) -> str:
    return f'<p class="alert" role="alert">{escape(say(sentence))}</p>'


def render_suggestions(text: str) -> str:
    """Chips that complete the prompt; page.js puts a chosen one in."""
    found = suggestions((text or "")[-100:])
    chips = "".join(f'<button type="button" class="chip" data-complete="{escape(word)}">'
                    f"{escape(word)}</button>" for word in found)
    return (f'<div class="suggestions" role="group" aria-label="{escape(strings.SUGGESTIONS)}">'
            f"{chips}</div>")

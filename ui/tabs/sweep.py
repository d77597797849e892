"""The fold of the Compare tab that draws a grid over two options."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from html import escape
from typing import Any

import gradio as gr

from compare.sweeps import (
    PROMPT,
    Axis,
    Sweep,
    expand_matrix,
    parse_axis,
    plan_sweep,
    share_work,
    sweep_options,
)
from compare.wildcards import suggestions, wildcard_words
from pipelines.errors import EaselError, InvalidRequest
from pipelines.registry import Registry
from pipelines.request import SEED_COUNT
from ui import strings
from ui.compare_form import read_panes
from ui.pictures import PictureStore
from ui.playground import Playground
from ui.sweep_view import SweepView, fold_sweep, render_sweep
from ui.theme import LIVE, PLAIN
from ui.visitors import visitor_of

logger = logging.getLogger(__name__)
PLACE = "sweep"


def build_sweep(playground: Playground, store: PictureStore, prompt: gr.Textbox,
                panes: gr.Textbox, seed: gr.Textbox) -> None:
    """Lay the fold out and connect it.

    Args:
        playground: what there is.
        store: where finished pictures are written.
        prompt: the tab's prompt.
        panes: the tab's panes as JSON; the first one is the grid's base.
        seed: the tab's seed.
    """
    names = {name: title for pipeline in playground.registry
             for name, title in sweep_options(pipeline).items()}
    choices = [(strings.SWEEP_NONE, ""), *((title, name) for name, title in names.items())]
    with gr.Accordion(strings.SWEEP, open=False, elem_id="sweep"):
        gr.HTML(f'<p class="hint">{escape(strings.SWEEP_INFO)}</p>', **PLAIN)
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

    def sweep(prompt_text: str, panes_text: str, seed_text: str, x_name: str, x_text: str,
              y_name: str, y_text: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        visitor = visitor_of(request)
        task = playground.runs.start(request.session_hash or "", visitor, PLACE)
        busy = (gr.update(interactive=False), gr.update(interactive=True))
        try:
            planned = _plan(playground.registry, prompt_text or "", read_panes(panes_text)[:1],
                            seed_text, (x_name or "", x_text or ""), (y_name or "", y_text or ""))
            view = SweepView(planned, share_work(planned))
            requests = [batch.request for batch in view.batches]
            events = playground.backend.compare(requests, task.next_jobs(len(requests)),
                                                together=1, owner=visitor)
            with closing(events):
                for _ in fold_sweep(view, events, playground, store):
                    if task.stopped:
                        task.stop(playground.backend)
                    yield (render_sweep(view, running=True), *busy)
                    busy = (gr.skip(), gr.skip())
            yield render_sweep(view, running=False), gr.skip(), gr.skip()
        except EaselError as error:
            yield _alert(str(error)), gr.skip(), gr.skip()
        except Exception:
            logger.exception("the page failed while it drew a grid")
            yield _alert(strings.UNEXPECTED), gr.skip(), gr.skip()
        finally:
            playground.runs.end(task)
        yield gr.skip(), gr.update(interactive=True), gr.update(interactive=False)

    def stop_sweep(request: gr.Request) -> None:
        playground.runs.stop(request.session_hash or "", PLACE)

    run.click(sweep, [prompt, panes, seed, *sides], [stage, run, stop], show_progress="hidden",
              concurrency_limit=None, trigger_mode="once", api_visibility="private")
    stop.click(stop_sweep, None, None, **LIVE)


def _alert(sentence: str) -> str:
    return f'<p class="alert" role="alert">{escape(sentence)}</p>'


def _plan(registry: Registry, prompt: str, panes: list[dict[str, Any]], seed: str,
          across: tuple[str, str], down: tuple[str, str]) -> Sweep:
    """A sweep from what the page says.

    Raises:
        InvalidRequest: one sentence about the first fault.
    """
    pane: Mapping[str, Any] = panes[0] if panes else {}
    pipeline = registry.get(str(pane.get("pipeline", "")))
    given = pane.get("seed") or seed or secrets.randbelow(SEED_COUNT)
    try:
        base_seed: Any = int(given)
    except ValueError:
        base_seed = given  # refused by the request, in its own words
    x, y = parse_axis(*across, pipeline, prompt), parse_axis(*down, pipeline, prompt)
    if len(expand_matrix(prompt)) > 1 and PROMPT not in (x.name, y.name):
        matrix = parse_axis(PROMPT, "", pipeline, prompt)
        if not x.name:
            x = matrix
        elif not y.name:
            y = matrix
        else:
            raise InvalidRequest(strings.SWEEP_AXES_FULL, "axis")
    base = {"pipeline": pipeline.name, "prompt": prompt, "seed": base_seed,
            "options": pane.get("options") or {}}
    return plan_sweep(registry, base, x or Axis(), y or Axis(), wildcard_words())


def render_suggestions(text: str) -> str:
    """Chips that complete the prompt; page.js puts a chosen one in."""
    found = suggestions((text or "")[-100:])
    chips = "".join(f'<button type="button" class="chip" data-complete="{escape(word)}">'
                    f"{escape(word)}</button>" for word in found)
    return (f'<div class="suggestions" role="group" aria-label="{escape(strings.SUGGESTIONS)}">'
            f"{chips}</div>")

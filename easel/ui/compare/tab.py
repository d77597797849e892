"""Compare: one prompt, two to four panes, all drawing at the same time; then a vote."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any

import gradio as gr

from easel.compare.plan import MAX_PANES, plan_comparison
from easel.ui.compare.fold import cast_vote, fold_events, start_comparison
from easel.ui.compare.form import default_panes, panes_of, read_panes, render_forms
from easel.ui.compare.leaderboard import build_leaderboard, build_open
from easel.ui.compare.parts import CompareParts
from easel.ui.compare.render import (
    CHOICES,
    failed_view,
    first_view,
    next_view,
    over_view,
    vote_label,
)
from easel.ui.compare.state import Comparison
from easel.ui.compare.sweep_tab import build_sweep, render_suggestions
from easel.ui.parts.controls import IMAGE_SUFFIXES, read_upload
from easel.ui.parts.live import WINDOW_JS
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.runs import Run
from easel.ui.parts.task import REDRAW_EVERY_S
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.parts.visitors import visitor_of
from easel.ui.playground import Playground
from easel.ui.words import strings
from easel.ui.words.page_words import worded_html
from pipelines.core.errors import EaselError
from pipelines.core.request import MAX_PROMPT_CHARS

logger = logging.getLogger(__name__)
PLACE = "compare"


def build_compare(playground: Playground, store: PictureStore, page: gr.Blocks, tab: gr.Tab,
                  ) -> None:
    """Lay the tab out and connect it; ``tab`` is the one that is built in, of that page."""
    parts = _build_ask(playground)
    with gr.Row(elem_id="panes"):
        for index in range(MAX_PANES):
            with gr.Column(visible=False, min_width=160, elem_classes="pane-column") as column:
                parts.stages.append(gr.HTML("", **PLAIN))
                parts.stops.append(gr.Button(strings.STOP_PANE.format("ABCD"[index]), size="sm",
                                             elem_classes="stop-pane", visible=False))
            parts.columns.append(column)
    with gr.Row(visible=False, elem_id="vote") as parts.vote_row:
        worded_html(lambda: f"<p>{strings.VOTE_LABEL}</p>", elem_classes="vote-label")
        for choice in CHOICES:
            parts.votes.append(gr.Button(vote_label(choice, MAX_PANES, str(choice)), size="sm",
                                         min_width=0, elem_id=f"vote-{choice}"))
    parts.outcome = gr.HTML("", elem_id="outcome", **PLAIN)
    parts.save = gr.DownloadButton(strings.SAVE_COMPARISON, size="sm", visible=False,
                                   elem_id="compare-save")
    _connect_run(playground, store, parts)
    _connect_return(playground, store, parts, page, tab)
    votes = _connect_votes(playground, store, parts)
    build_open(playground, store, parts)
    build_sweep(playground, store, page, tab, parts.prompt, parts.panes, parts.seed)
    build_leaderboard(playground, votes)


def _build_ask(playground: Playground) -> CompareParts:
    pipelines = list(playground.registry)
    with gr.Column(elem_id="compare-ask"):
        with gr.Row(elem_id="compare-line", equal_height=False):
            prompt = gr.Textbox(value=strings.FIRST_PROMPT, label=strings.PROMPT_LABEL, lines=1,
                                max_lines=4, max_length=MAX_PROMPT_CHARS, scale=4,
                                elem_id="compare-prompt",
                                placeholder=strings.PROMPT_PLACEHOLDER)
            run = gr.Button(strings.COMPARE, variant="primary", size="lg", scale=0,
                            min_width=120, elem_id="compare-run")
            stop = gr.Button(strings.STOP, size="lg", interactive=False, scale=0, min_width=88,
                             elem_id="compare-stop")
        note = gr.HTML("", elem_id="compare-note", **PLAIN)
        prompt.change(render_suggestions, prompt, note, **LIVE)
        forms = worded_html(lambda: render_forms(pipelines), elem_id="compare-forms")
        # Written by page.js from the forms.
        panes = gr.Textbox(json.dumps(default_panes(pipelines)), elem_id="compare-panes",
                           elem_classes="offstage", container=False, show_label=False)
        blind = gr.Checkbox(label=strings.BLIND_LABEL, info=strings.BLIND_INFO, container=False,
                            elem_id="compare-blind")
        with gr.Accordion(strings.COMPARE_SETTINGS, open=False, elem_id="compare-settings"), \
                gr.Row():
            seed = gr.Textbox(label=strings.SEED_LABEL, info=strings.COMPARE_SEED_INFO,
                              max_lines=1, placeholder=strings.SEED_PLACEHOLDER,
                              elem_id="compare-seed")
            budget = gr.Textbox(label=strings.BUDGET_LABEL, info=strings.BUDGET_INFO,
                                max_lines=1, elem_id="compare-budget")
            init_image = gr.File(label=strings.INIT_IMAGE_LABEL, file_count="single", height=64,
                                 file_types=IMAGE_SUFFIXES, type="filepath",
                                 elem_classes="upload")
    alert = worded_html(lambda: f'<p class="hint">{strings.COMPARE_EMPTY}</p>',
                        elem_id="compare-alert")
    return CompareParts(prompt, forms, panes, run, stop, blind, seed, budget, init_image, alert,
                        gr.State(""))


def _connect_run(playground: Playground, store: PictureStore, parts: CompareParts) -> None:
    def compare(values: Mapping[Any, Any], request: gr.Request) -> Iterator[tuple[Any, ...]]:
        session, visitor = request.session_hash or "", visitor_of(request)
        try:
            uploaded = values[parts.init_image]
            plan = plan_comparison(
                playground.registry, values[parts.prompt] or "", read_panes(values[parts.panes]),
                values[parts.seed] or None, values[parts.budget],
                read_upload(uploaded) if uploaded else None)
            comparison = start_comparison(playground, plan, session, bool(values[parts.blind]))
            playground.comparisons.put(comparison)
            run = playground.runs.start(session, visitor, PLACE)
            live = playground.live.start(
                run, partial(_draw, playground, store, comparison, run), comparison)
            yield from live.follow(session)
        except EaselError as error:
            yield failed_view(str(error))
        except Exception:
            logger.exception("the page failed while it compared")
            yield failed_view(strings.UNEXPECTED)

    inputs = {parts.prompt, parts.panes, parts.blind, parts.seed, parts.budget, parts.init_image}
    gr.on([parts.run.click, parts.prompt.submit], compare, inputs, parts.shown(),
          show_progress="hidden", concurrency_limit=None, trigger_mode="once",
          api_visibility="private")

    def stop_all(request: gr.Request) -> None:
        playground.runs.stop(request.session_hash or "", PLACE)

    parts.stop.click(stop_all, None, None, **LIVE)
    for place, button in enumerate(parts.stops):
        def stop_one(comparison_id: str, request: gr.Request, place: int = place) -> None:
            session = request.session_hash or ""
            comparison = playground.comparisons.get(comparison_id, session)
            playground.runs.stop_pane(session, PLACE, comparison.order[place])

        button.click(stop_one, parts.comparison_id, None, **LIVE)


def _draw(playground: Playground, store: PictureStore, comparison: Comparison, run: Run,
          ) -> Iterator[tuple[Any, ...]]:
    """Run a comparison to its end; yields updates of ``CompareParts.shown``."""
    plan = comparison.plan
    yield first_view(comparison)
    events = playground.backend.compare(plan.requests, run.next_jobs(len(plan.requests)),
                                        plan.budget_s, owner=run.visitor)
    with closing(events):
        for changed in fold_events(comparison, events, playground, store, REDRAW_EVERY_S):
            if run.stopped:  # again: Stop may have come before the backend knew them
                run.stop(playground.backend)
            yield next_view(comparison, changed)
    if not comparison.hidden:  # names would tell blind panes apart
        run.cards = comparison.cards()
    yield over_view(comparison, store)


def _connect_return(playground: Playground, store: PictureStore, parts: CompareParts,
                    page: gr.Blocks, tab: gr.Tab) -> None:
    """A page that is opened again finds the comparison that ran when it was closed."""
    def come_back(window: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        session = request.session_hash or ""
        stay = (gr.skip(),) * 6
        live = playground.live.adopt(session, visitor_of(request), PLACE, window)
        if live is None:
            yield (*stay, *[gr.skip()] * len(parts.shown()))
            return
        comparison: Comparison = live.subject
        comparison.session = session
        panes = panes_of(comparison)
        asked = (gr.update(selected=PLACE), comparison.prompt,
                 render_forms(playground.registry, panes), json.dumps(panes),
                 str(comparison.plan.budget_s or ""), comparison.blind)
        try:
            if live.finished and live.error is None:  # perhaps with a vote since then
                yield (*asked, *over_view(comparison, store))
                return
            for updates in live.follow(session):
                yield (*asked, *updates)
                asked = stay
        except EaselError as error:
            yield (*asked, *failed_view(str(error)))

    changed: list[Any] = [tab.parent, parts.prompt, parts.forms, parts.panes, parts.budget,
                          parts.blind, *parts.shown()]
    page.load(come_back, gr.Textbox(visible="hidden"), changed, js=WINDOW_JS,
              show_progress="hidden", concurrency_limit=None, api_visibility="private")


def _connect_votes(playground: Playground, store: PictureStore, parts: CompareParts,
                   ) -> list[Any]:
    def handler(choice: int | str) -> Callable[[str, gr.Request], tuple[Any, ...]]:
        def vote(comparison_id: str, request: gr.Request) -> tuple[Any, ...]:
            try:
                comparison = playground.comparisons.get(comparison_id,
                                                        request.session_hash or "")
                cast_vote(playground, comparison, choice, visitor_of(request))
                playground.runs.remember(comparison.session, comparison.cards())
            except EaselError as error:
                return failed_view(str(error))
            return over_view(comparison, store)

        return vote

    return [button.click(handler(choice), parts.comparison_id, parts.shown(), queue=False,
                         show_progress="hidden", api_visibility="private", trigger_mode="once")
            for choice, button in zip(CHOICES, parts.votes, strict=True)]

"""Compare: one prompt, two to four panes, all drawing at the same time; then a vote."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import gradio as gr

from easel.compare.plan import MAX_PANES, plan_comparison
from easel.guard.turns import reading
from easel.guard.visitors import session_of, visitor_of
from easel.ui.compare.fold import cast_vote, fold_events, start_comparison
from easel.ui.compare.form import default_panes, read_panes, render_forms
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
from easel.ui.compare.sweep_tab import build_sweep
from easel.ui.compare.word_lists import own_names
from easel.ui.parts.controls import MAX_TYPED_CHARS
from easel.ui.parts.errors import shows_errors_by
from easel.ui.parts.lines import Updates
from easel.ui.parts.live_run import LiveRun
from easel.ui.parts.option_form import filled_in
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.picture_inputs import build_picture_inputs, build_shown, connect_shown
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.prompt_note import build_note
from easel.ui.parts.task import Asked, Tasks
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.playground import Playground
from easel.words import strings
from pipelines.core.sentences import Sentence

PLACE = "compare"


def build_compare(playground: Playground, store: PictureStore, tasks: Tasks, tab: gr.Tab) -> None:
    """Lay the tab out and connect it; ``tab`` is the one that is built in."""
    parts = _build_ask(playground)
    parts.outcome = gr.HTML("", elem_id="outcome", **PLAIN)
    with gr.Row(elem_id="panes"):
        for index in range(MAX_PANES):
            with gr.Column(visible=False, min_width=160, elem_classes="pane-column") as column:
                parts.stages.append(gr.HTML("", **PLAIN))
                parts.stops.append(gr.Button(Sentence(strings.STOP_PANE, "ABCD"[index]), size="sm",
                                             elem_classes="stop-pane", visible=False))
            parts.columns.append(column)
    with gr.Row(visible=False, elem_id="vote") as parts.vote_row:
        parts.vote_label = gr.HTML("", elem_classes="vote-label", **PLAIN)
        for choice in CHOICES:
            parts.votes.append(gr.Button(vote_label(choice, MAX_PANES, str(choice)), size="sm",
                                         min_width=0, elem_id=f"vote-{choice}"))
    parts.save = gr.DownloadButton(strings.SAVE_COMPARISON, size="sm", visible=False,
                                   elem_id="compare-save")
    _build_settings(parts)
    _connect_run(playground, store, parts, tasks, tab)
    votes = _connect_votes(playground, store, parts)
    build_open(playground, store, parts)
    build_sweep(playground, store, tasks, tab, parts)
    build_leaderboard(playground, votes)


def _build_ask(playground: Playground) -> CompareParts:
    pipelines = list(playground.registry)
    with gr.Column(elem_id="compare-ask"):
        with gr.Row(elem_id="compare-line", equal_height=False):
            prompt = gr.Textbox(value=strings.FIRST_PROMPT, label=strings.PROMPT_LABEL, lines=1,
                                max_lines=4, max_length=MAX_TYPED_CHARS, scale=4,
                                elem_id="compare-prompt",
                                placeholder=strings.PROMPT_PLACEHOLDER)
            run = gr.Button(strings.COMPARE, variant="primary", size="lg", scale=0,
                            min_width=120, elem_id="compare-run")
            stop = gr.Button(strings.STOP, size="lg", interactive=False, scale=0, min_width=88,
                             elem_id="compare-stop")
        build_note(playground.reader, prompt, "compare-note",
                   wildcards=lambda request: own_names(playground, request))
        forms = worded_html(lambda: render_forms(pipelines), elem_id="compare-forms")
        # Written by page.js from the forms.
        panes = gr.Textbox(json.dumps(default_panes(pipelines)), elem_id="compare-panes",
                           elem_classes="offstage", container=False, show_label=False)
        shown = build_shown("compare-given")
        blind = gr.Checkbox(label=strings.BLIND_LABEL, info=strings.BLIND_INFO, container=False,
                            elem_id="compare-blind")
    alert = worded_html(lambda: f'<p class="hint">{strings.COMPARE_EMPTY}</p>',
                        elem_id="compare-alert")
    example = gr.Button(strings.COMPARE_EXAMPLE, elem_id="compare-example", elem_classes="offstage")
    seed, budget = (
        gr.Textbox(label=strings.SEED_LABEL, info=strings.COMPARE_SEED_INFO, max_lines=1,
                   placeholder=strings.SEED_PLACEHOLDER, elem_id="compare-seed", render=False),
        gr.Textbox(label=strings.BUDGET_LABEL, info=strings.BUDGET_INFO, max_lines=1,
                   elem_id="compare-budget", render=False))
    offered = [pipeline.accepts() for pipeline in (*pipelines, *playground.registry.waiting())]
    pictures = build_picture_inputs("", {name: any(each[name] for each in offered)
                                         for name in offered[0]}, render=False)
    connect_shown([pictures], shown, [run.click, prompt.submit])
    return CompareParts(prompt, forms, panes, run, stop, blind, seed, budget, pictures, alert,
                        example, gr.State(""))


def _build_settings(parts: CompareParts) -> None:
    """The fold of what all panes share; below the pictures, which belong on the first screen."""
    with gr.Accordion(strings.COMPARE_SETTINGS, open=False, elem_id="compare-settings"), gr.Row():
        for component in (parts.seed, parts.budget, *parts.pictures.files.values()):
            component.render()


def _connect_run(playground: Playground, store: PictureStore, parts: CompareParts, tasks: Tasks,
                 tab: gr.Tab) -> None:
    def compare(asked: Asked) -> Generator[Updates]:
        """Run a comparison to its end."""
        values, run = asked.values, asked.run
        pictures = parts.pictures.read(values)
        with reading.turn_for(pictures):
            plan = plan_comparison(
                playground.registry, values[parts.prompt] or "", read_panes(values[parts.panes]),
                values[parts.seed] or None, values[parts.budget], pictures)
        comparison = start_comparison(playground, plan, run.session, bool(values[parts.blind]))
        playground.comparisons.put(comparison, run.visitor)
        asked.about = comparison
        yield first_view(parts, comparison)
        events = playground.backend.compare(plan.requests, run.next_jobs(len(plan.requests)),
                                            plan.budget_s, owner=run.visitor)
        with closing(events):
            for changed in fold_events(comparison, events, playground, store):
                yield next_view(parts, comparison, changed)
        if not comparison.hidden:  # names would tell blind panes apart
            run.cards = comparison.cards()
        yield over_view(parts, comparison, store)

    def found(live: LiveRun) -> Updates:
        comparison: Comparison = live.subject.about
        comparison.session = live.session
        # As they were asked for, without the seeds that were drawn for them.
        panes = read_panes(live.subject.text(parts.panes))
        updates: Updates = {parts.forms: filled_in(render_forms(playground.registry, panes))}
        if live.finished and comparison.is_over():  # perhaps with a vote since then
            updates |= over_view(parts, comparison, store)
        return updates

    task = tasks.add(PLACE, parts.run, parts.stop, parts.shown(), parts.alert,
                     idle={stop: gr.update(visible=False) for stop in parts.stops})
    task.starts([parts.run.click, parts.prompt.submit], compare, [
        parts.prompt, parts.panes, parts.blind, parts.seed, parts.budget,
        *parts.pictures.files.values()])
    task.returns([parts.prompt, parts.panes, parts.seed, parts.budget, parts.blind], [tab],
                 more=[parts.forms], found=found)
    for place, button in enumerate(parts.stops):
        def stop_one(comparison_id: str, request: gr.Request, place: int = place) -> None:
            session, visitor = session_of(request), visitor_of(request)
            comparison = playground.comparisons.get(comparison_id, session, visitor)
            playground.runs.stop_pane(session, visitor, PLACE, comparison.order[place])

        button.click(stop_one, parts.comparison_id, None, **LIVE)


def _connect_votes(playground: Playground, store: PictureStore, parts: CompareParts,
                   ) -> list[Any]:
    def handler(choice: int | str) -> Callable[[str, gr.Request], Updates]:
        @shows_errors_by(lambda sentence: failed_view(parts, sentence))
        def vote(comparison_id: str, request: gr.Request) -> Updates:
            visitor = visitor_of(request)
            comparison = playground.comparisons.get(comparison_id, session_of(request), visitor)
            cast_vote(playground, comparison, choice, visitor)
            playground.runs.remember(comparison.session, visitor, comparison.cards())
            return over_view(parts, comparison, store)

        return vote

    return [button.click(handler(choice), parts.comparison_id, parts.shown(), queue=False,
                         show_progress="hidden", api_visibility="private", trigger_mode="once")
            for choice, button in zip(CHOICES, parts.votes, strict=True)]

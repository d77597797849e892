"""The page: its head and foot, and the tabs between them."""

from __future__ import annotations

import gradio as gr

from easel.guard.call_net import answer_every_call
from easel.guard.text_door import refuse_unwritable
from easel.ui.blocks import PageBlocks
from easel.ui.compare.api import add_bundle_endpoints, add_compare_endpoints
from easel.ui.compare.sweep_api import add_sweep_endpoint
from easel.ui.compare.tab import build_compare
from easel.ui.generate.api import add_endpoints
from easel.ui.generate.drawable import render_drawable_line
from easel.ui.generate.paused_api import add_paused_endpoints
from easel.ui.generate.tab import build_generate
from easel.ui.history.api import add_history_endpoints
from easel.ui.history.tab import build_history
from easel.ui.inside.api import add_inside_endpoints
from easel.ui.inside.tab import build_inside
from easel.ui.inside.walk import add_walk_endpoint
from easel.ui.lab.api import add_lab_endpoints
from easel.ui.lab.lab import Lab
from easel.ui.lab.tab import build_lab
from easel.ui.models.api import add_models_endpoint
from easel.ui.models.fetch import Fetch, build_fetch
from easel.ui.models.tab import build_models
from easel.ui.parts.late import connect_waiting, show_settled
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.task import Tasks
from easel.ui.parts.theme import PLAIN
from easel.ui.playground import Playground
from easel.ui.queue.api import add_queue_endpoints
from easel.ui.rerank.api import add_rerank_endpoint
from easel.ui.rerank.tab import build_rerank
from easel.words import strings

# Files are kept for a day after they were made, and looked through every hour.
DELETE_CACHE_S = (3600, 86400)


def build_page(playground: Playground) -> gr.Blocks:
    """The whole page with its event handlers and API endpoints, ready to launch."""
    with PageBlocks(title=strings.TITLE, analytics_enabled=False, delete_cache=DELETE_CACHE_S,
                    fill_width=True) as page:
        line = "" if playground.reader is None else render_drawable_line
        worded_html(lambda: f"<h1>{strings.TITLE}</h1><p>{strings.TAGLINE}</p>"
                            f"{line() if line else ''}{_tools()}", elem_id="masthead")
        if playground.settings.classroom and playground.history is not None:
            worded_html(_class_note, elem_id="class-note")
        stage = gr.HTML("", elem_id="stage", render=False, **PLAIN)
        store = PictureStore(stage)
        add_endpoints(playground, store)  # first, so that they get the names
        add_queue_endpoints(playground)
        add_compare_endpoints(playground, store)
        add_bundle_endpoints(playground, store)
        add_sweep_endpoint(playground, store)
        add_rerank_endpoint(playground)
        lab = Lab(playground)
        add_lab_endpoints(lab)
        add_walk_endpoint(playground, store)
        add_inside_endpoints(lab, store)
        add_paused_endpoints(playground, store)
        if playground.history is not None:
            add_history_endpoints(playground.history)
        if playground.models is not None:
            add_models_endpoint(playground.models)
        tasks = Tasks(playground.live)
        fetch = None
        if playground.models is not None:
            fetch = build_fetch(playground.models, playground.admins, page)
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            _add_tabs(playground, page, tasks, store, stage, lab, fetch)
        tasks.come_back(page)
        show_settled(page)
        worded_html(lambda: f'<span>{strings.FOOTER}</span><button data-api>API</button>',
                    elem_id="colophon")
        page.unload(playground.live.on_unload)
    refuse_unwritable(page)
    answer_every_call(page)
    return page


def _tools() -> str:
    """What a projector needs: an address of what is seen, and the page without its forms."""
    return ('<p class="tools">'
            f'<button type="button" data-link title="{strings.LINK_TITLE}">{strings.LINK}</button>'
            f'<button type="button" data-present aria-pressed="false" '
            f'title="{strings.PRESENT_TITLE}">{strings.PRESENT}</button></p>')


def _class_note() -> str:
    """Whoever draws where all see it is told so, and where."""
    link = f'<a href="wall" target="_blank" rel="noopener">{strings.WALL_LINK}</a>'
    return f'<p role="note">{strings.CLASS_NOTE.format(link)}</p>'


def _add_tabs(playground: Playground, page: gr.Blocks, tasks: Tasks, store: PictureStore,
              stage: gr.HTML, lab: Lab, fetch: Fetch | None) -> None:
    with gr.Tab(strings.TAB_GENERATE, id="generate") as tab:
        inputs = build_generate(playground, page, tasks, store, stage)
        connect_waiting(playground.registry, inputs.controls, page, tab)
    with gr.Tab(strings.TAB_COMPARE, id="compare") as tab:
        build_compare(playground, store, tasks, tab)
    with gr.Tab(strings.TAB_RERANK, id="rerank") as tab:
        rerank = build_rerank(playground, store, tasks, tab, fetch)
    with gr.Tab(strings.TAB_LAB, id="lab") as tab:
        build_lab(lab, playground, tasks, tab, fetch)
    with gr.Tab(strings.TAB_INSIDE, id="inside") as tab:
        build_inside(lab, store, tasks, tab)
    if playground.history is not None:
        with gr.Tab(strings.TAB_HISTORY, id="history") as tab:
            build_history(playground, playground.history, inputs, tab, rerank)
    if playground.models is not None:
        with gr.Tab(strings.TAB_MODELS, id="models") as tab:
            build_models(playground.models, tab, playground.admins, playground.history,
                         playground.registry, playground.backend.runners)

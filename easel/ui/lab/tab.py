"""Lab: what else CLIP can do than put pictures in order, each part in a tab of its own."""

from __future__ import annotations

from typing import Any

import gradio as gr

from easel.ui.lab.classify import build_classify
from easel.ui.lab.explain import build_map, build_matrix
from easel.ui.lab.lab import Lab
from easel.ui.lab.search import build_search
from easel.ui.models.fetch import Fetch, is_away, render_missing
from easel.ui.parts.suited import build_wish
from easel.ui.parts.task import Tasks
from easel.ui.parts.theme import LIVE, PLAIN
from easel.ui.playground import Playground
from easel.words import strings
from easel.words.language import say
from pipelines.suited import BY_PICTURES


def build_lab(lab: Lab, playground: Playground, tasks: Tasks, tab: gr.Tab,
              fetch: Fetch | None = None) -> None:
    """Lay the tab out and connect it.

    Args:
        lab: what it shows.
        playground: what there is.
        tasks: of the page.
        tab: the one that is built in.
        fetch: downloads what is chosen and not here; None where nothing can be.
    """
    with gr.Column(elem_id="lab"):
        clip = gr.Dropdown([(strings.BY_PICTURES, BY_PICTURES), *lab.clips], value=BY_PICTURES,
                           label=strings.LAB_CLIP, filterable=False,
                           info=strings.LAB_CLIP_INFO, elem_id="lab-clip")
        away = gr.HTML("", elem_id="lab-clip-away", **PLAIN)
        build_wish("lab", clip)
        if fetch is not None:
            _connect_fetch(lab, playground, clip, away, fetch)
        with gr.Tabs(elem_classes="lab-parts", overflow_behavior="wrap"):
            with gr.Tab(strings.LAB_CLASSIFY, id="classify") as part:
                build_classify(lab, clip, tasks, (tab, part))
            with gr.Tab(strings.LAB_SEARCH, id="search") as part:
                build_search(lab, clip, tasks, (tab, part))
            with gr.Tab(strings.LAB_MATRIX, id="matrix") as part:
                build_matrix(lab, clip, tasks, (tab, part))
            with gr.Tab(strings.LAB_MAP, id="map") as part:
                build_map(lab, clip, tasks, (tab, part))


def _connect_fetch(lab: Lab, playground: Playground, clip: gr.Dropdown, away: gr.HTML,
                   fetch: Fetch) -> None:
    """Mark the CLIPs that are not here, and offer the chosen one's download under the list."""
    models = playground.models
    assert models is not None

    def mark() -> Any:
        gone = {row.id for row in models.rows() if is_away(row)}
        return gr.update(choices=[(say(strings.BY_PICTURES), BY_PICTURES), *(
            (strings.NOT_HERE.format(say(title)) if name in gone else say(title), name)
            for title, name in lab.clips)])

    def offer(request: gr.Request, chosen: str | None) -> str:
        rows = [row for row in models.rows() if row.id == chosen]
        return render_missing(rows, playground.admins.may(request))

    # Not when the tab is opened: its fields would then settle later (see easel/ui/parts/late.py).
    fetch.html.change(mark, None, clip, **LIVE)
    gr.on([clip.change, fetch.html.change], offer, clip, away, **LIVE)

"""The tab: a picture and a prompt, under them a view a model, and the path through all of them."""

from __future__ import annotations

from html import escape

import gradio as gr

from easel.ui.inside.chooser import build_chooser
from easel.ui.inside.codes import build_codes
from easel.ui.inside.complete import build_complete
from easel.ui.inside.contrast import build_contrast
from easel.ui.inside.loop import build_loop
from easel.ui.inside.mix import build_mix
from easel.ui.inside.path import build_path
from easel.ui.inside.prior import build_prior
from easel.ui.inside.realism import build_realism
from easel.ui.inside.score import build_score
from easel.ui.inside.stream import build_stream
from easel.ui.inside.walk_tab import build_walk
from easel.ui.lab.lab import Lab
from easel.ui.parts.page_words import worded_html
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.task import Tasks
from easel.words import strings


def _invitation() -> str:
    """The line that leads who is new here to the lessons (page.js)."""
    link = escape(strings.INSIDE_LESSONS.format(strings.PATH))
    return (f'<p class="hint">{escape(strings.INSIDE_NEW)} '
            f'<a href="?tab=inside.path" data-go="inside.path">{link}</a></p>')


def build_inside(lab: Lab, store: PictureStore, tasks: Tasks, tab: gr.Tab) -> None:
    """Lay the tab out and connect it.

    Args:
        lab: whose backend and CLIPs are used.
        store: where what is drawn is written.
        tasks: of the page.
        tab: the one that is built in.
    """
    with gr.Column(elem_id="inside"):
        worded_html(_invitation, elem_id="inside-new")
        chooser = build_chooser(lab.playground)
        with gr.Tabs(elem_classes="lab-parts", overflow_behavior="wrap"):
            with gr.Tab(strings.SCORE, id="score") as part:
                build_score(lab, chooser, tasks, (tab, part))
            with gr.Tab(strings.CODES, id="codes") as part:
                build_codes(lab, chooser, tasks, (tab, part))
                build_realism(lab, chooser, tasks, (tab, part))
            with gr.Tab(strings.MIX, id="mix") as part:
                build_mix(lab, chooser, tasks, (tab, part))
            with gr.Tab(strings.STREAM, id="stream") as part:
                build_stream(lab, chooser, tasks, (tab, part))
            with gr.Tab(strings.COMPLETE, id="complete") as part:
                build_complete(lab, chooser, tasks, (tab, part))
            with gr.Tab(strings.LOOP, id="loop") as part:
                build_loop(lab, chooser, tasks, (tab, part))
            with gr.Tab(strings.PRIOR, id="prior") as part:
                build_prior(lab, chooser, tasks, (tab, part))
            if "unclip" in lab.playground.registry.names():
                with gr.Tab(strings.WALK, id="walk") as part:
                    build_walk(lab.playground, store, tasks, (tab, part))
            with gr.Tab(strings.CONTRAST, id="contrast") as part:
                build_contrast(lab, chooser, tasks, (tab, part))
            with gr.Tab(strings.PATH, id="path"):
                build_path()
        chooser.connect(lab.playground, chooser.prompt)

"""Lab: what else CLIP can do than put pictures in order, each part in a tab of its own.

A walk is among them: it shows what lies between two embeddings of CLIP.
"""

from __future__ import annotations

import gradio as gr

from easel.ui.lab.classify import build_classify
from easel.ui.lab.explain import build_map, build_matrix
from easel.ui.lab.lab import Lab
from easel.ui.lab.search import build_search
from easel.ui.lab.walk_tab import build_walk
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.suited import build_wish
from easel.ui.parts.task import Tasks
from easel.ui.playground import Playground
from easel.ui.words import strings
from pipelines.suited import BY_PICTURES


def build_lab(lab: Lab, playground: Playground, store: PictureStore, tasks: Tasks,
              tab: gr.Tab) -> None:
    """Lay the tab out and connect it; ``tab`` is the one that is built in."""
    with gr.Column(elem_id="lab"):
        clip = gr.Dropdown([(strings.BY_PICTURES, BY_PICTURES), *lab.clips], value=BY_PICTURES,
                           label=strings.LAB_CLIP, filterable=False,
                           info=strings.LAB_CLIP_INFO, elem_id="lab-clip")
        build_wish("lab", clip)
        with gr.Tabs(elem_classes="lab-parts"):
            with gr.Tab(strings.LAB_CLASSIFY, id="classify") as part:
                build_classify(lab, clip, tasks, (tab, part))
            with gr.Tab(strings.LAB_SEARCH, id="search") as part:
                build_search(lab, clip, tasks, (tab, part))
            with gr.Tab(strings.LAB_MATRIX, id="matrix") as part:
                build_matrix(lab, clip, tasks, (tab, part))
            with gr.Tab(strings.LAB_MAP, id="map") as part:
                build_map(lab, clip, tasks, (tab, part))
            if "unclip" in playground.registry.names():
                with gr.Tab(strings.WALK, id="walk") as walk:
                    build_walk(playground, store, tasks, (tab, walk))

"""Lab: what else CLIP can do than put pictures in order, each part in a tab of its own."""

from __future__ import annotations

import gradio as gr

from pipelines.rerank import RANKER
from ui import strings
from ui.lab import Lab
from ui.lab_classify import build_classify
from ui.lab_explain import build_map, build_matrix
from ui.lab_search import build_search


def build_lab(lab: Lab) -> None:
    """Lay the tab out and connect it."""
    with gr.Column(elem_id="lab"):
        clip = gr.Dropdown(lab.clips, value=RANKER, label=strings.LAB_CLIP, filterable=False,
                           info=strings.LAB_CLIP_INFO, elem_id="lab-clip")
        with gr.Tabs(elem_classes="lab-parts"):
            with gr.Tab(strings.LAB_CLASSIFY):
                build_classify(lab, clip)
            with gr.Tab(strings.LAB_SEARCH):
                build_search(lab, clip)
            with gr.Tab(strings.LAB_MATRIX):
                build_matrix(lab, clip)
            with gr.Tab(strings.LAB_MAP):
                build_map(lab, clip)

"""Generators whose models are not here yet: on the page, not seen until a download has ended."""

from __future__ import annotations

from typing import Any

import gradio as gr

from easel.ui.parts.controls import PipelineControls
from easel.ui.parts.theme import LIVE
from pipelines.registry import Registry


def connect_waiting(registry: Registry, controls: list[PipelineControls], page: gr.Blocks,
                    tab: gr.Tab) -> None:
    """Show what became ready whenever the page or its first tab is opened.

    Args:
        registry: knows what is ready.
        controls: of all generators, those that wait among them.
        page: the one under construction.
        tab: where the controls are.
    """
    waiting = [group for group in controls if group.places]
    if not waiting:
        return

    def show() -> list[Any]:
        ready = registry.names()
        return [gr.Column(visible=group.pipeline.name in ready)
                for group in waiting for _ in group.places]

    places = [place for group in waiting for place in group.places]
    for listen in (page.load, tab.select):
        listen(show, None, places, **LIVE)

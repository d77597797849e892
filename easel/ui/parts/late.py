"""What is on the page and not seen yet: generators without models, and fields behind a fold.

Generators whose models are not here yet wait until a download has ended.

Folds and tabs show their fields once these keep what is typed. Gradio mounts what is in a closed
fold or in another tab when that is opened, waits for a frame or two, and then puts every
component's first value in once more: whatever was typed in between would be lost, and on a busy
machine that is half a second. So a fold or tab shows nothing until then. A mark in each tells when:
it takes another value as soon as it is there, and Gradio puts its first one back in the same pass
as everybody else's. Tabs whose selection asks the server for something have no such pass; they are
shown after some frames, which last as long as the machine is busy.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from easel.ui.parts.controls import PipelineControls
from easel.ui.parts.theme import LIVE
from pipelines.registry import Registry

# The frames are for a mark that was mounted in another way, and so has nothing else to wait for.
WAIT_JS = """
let frames = 20;
const place = element.closest(".block").parentElement;
const settled = () => place.classList.remove("settling");
place.classList.add("settling");
props.value = "settling";
watch("value", settled);
const next = () => --frames ? requestAnimationFrame(next) : settled();
next();
"""


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


def show_settled(page: gr.Blocks) -> None:
    """Put a mark in every fold and tab that starts closed; call it when all is built."""
    for block in list(page.blocks.values()):
        if isinstance(block, gr.Accordion | gr.Tab) and _starts_closed(block):
            with block:
                gr.HTML("", js_on_load=WAIT_JS, apply_default_css=False, padding=False,
                        elem_classes="settling-mark")


def _starts_closed(region: gr.Accordion | gr.Tab) -> bool:
    if isinstance(region, gr.Accordion):
        return not region.open
    return region.parent is not None and region is not region.parent.children[0]

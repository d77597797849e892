"""The page: its head and foot, and the tabs between them."""

from __future__ import annotations

import gradio as gr

from ui import strings
from ui.api import add_endpoints
from ui.pictures import PictureStore
from ui.playground import Playground
from ui.tabs.generate import build_generate, stop_session_of
from ui.theme import PLAIN

# Files are kept for a day after they were made, and looked through every hour.
DELETE_CACHE_S = (3600, 86400)


def build_page(playground: Playground) -> gr.Blocks:
    """The whole page with its event handlers and API endpoints, ready to launch."""
    with gr.Blocks(title=strings.TITLE, analytics_enabled=False, delete_cache=DELETE_CACHE_S,
                   fill_width=True) as page:
        gr.HTML(f"<h1>{strings.TITLE}</h1><p>{strings.TAGLINE}</p>", elem_id="masthead",
                **PLAIN)
        stage = gr.HTML("", elem_id="stage", render=False, **PLAIN)
        store = PictureStore(stage)
        add_endpoints(playground, store)  # first, so that they get the names
        with gr.Tabs(elem_id="tabs"):
            _add_tabs(playground, page, store, stage)
        gr.HTML(f'<span>{strings.FOOTER}</span><button data-api>API</button>', elem_id="colophon",
                **PLAIN)
        page.unload(stop_session_of(playground))
    return page


def _add_tabs(playground: Playground, page: gr.Blocks, store: PictureStore, stage: gr.HTML,
              ) -> None:
    with gr.Tab(strings.TAB_GENERATE, id="generate"):
        build_generate(playground, page, store, stage)

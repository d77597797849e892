"""What a page has seen of its runs: a mark in what it is sent, and the address where it says so.

The mark stands outside the tabs, so that it is shown whichever is open; ``page.js`` looks at it and
says what it reads there once the browser has drawn it.
"""

from __future__ import annotations

import gradio as gr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from easel.ui.parts.live import LiveRuns
from easel.ui.parts.theme import PLAIN

MAX_DIGITS = 12  # of a version, which counts what a run has shown


def build_mark() -> gr.HTML:
    """The mark of a task, to be rendered later."""
    return gr.HTML("", render=False, elem_classes="seen-mark", **PLAIN)


def hear_what_is_seen(page: gr.Blocks, live: LiveRuns) -> None:
    """Let a page's server have ``POST /seen/KEY/VERSION``, once it is started.

    Args:
        page: that is being built.
        live: its runs. The key is a secret between a run and the page that shows it.
    """
    def see(request: Request) -> Response:
        version = request.path_params["version"]
        if not (version.isdecimal() and len(version) <= MAX_DIGITS):
            return Response(status_code=404)
        # A page that says it late, of a run that another one shows by now, has done nothing wrong.
        live.see(request.path_params["key"], int(version))
        return Response(status_code=204)

    async def open_address() -> None:
        page.app.router.routes.insert(0, Route("/seen/{key}/{version}", see, methods=["POST"]))

    page.extra_startup_events.append(open_address)

"""A run on the Generate tab as updates of its stage and its buttons."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, cast

import gradio as gr

from easel.ui.generate.render import render_run
from easel.ui.parts.panel import RunView
from easel.ui.words import strings
from pipelines.core.errors import EaselError

logger = logging.getLogger(__name__)


def run_updates(start: Callable[[], Iterator[RunView]]) -> Iterator[tuple[Any, ...]]:
    """Follow a run from its first check to its end; never raises.

    Args:
        start: begins the run and yields its view again and again.

    Yields:
        Updates of stage, Generate, Pause and Stop.
    """
    buttons = gr.update(interactive=False), gr.update(interactive=True)
    pausable = False
    try:
        with closing(cast(Any, start())) as views:
            for view in views:
                pause = gr.skip()
                if view.can_pause() != pausable:
                    pausable = not pausable
                    pause = gr.update(interactive=pausable)
                yield render_run(view), buttons[0], pause, buttons[1]
                buttons = gr.skip(), gr.skip()
    except EaselError as error:
        yield render_run(RunView(alert=str(error))), gr.skip(), gr.skip(), gr.skip()
    except Exception:
        logger.exception("the page failed before a run")
        yield render_run(RunView(alert=strings.UNEXPECTED)), gr.skip(), gr.skip(), gr.skip()
    off = gr.update(interactive=False)
    yield gr.skip(), gr.update(interactive=True), off, off

"""The endpoints of the queue, which the page asks as well (page.js)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr

from easel.guard.visitors import visitor_of
from easel.ui.parts.endpoints import BOOLEAN, OBJECT, STRING, add_endpoint, json_value
from easel.ui.parts.errors import one_sentence
from easel.ui.playground import Playground
from easel.ui.queue.listing import cancel as cancel_run
from easel.ui.queue.listing import queue_of
from pipelines.core.errors import InvalidRequest


def add_queue_endpoints(playground: Playground) -> None:
    """Add ``/queue`` and ``/cancel`` to the page under construction."""
    @one_sentence
    def queue(request: gr.Request) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in queue_of(playground, visitor_of(request))]

    @one_sentence
    def cancel(request: gr.Request, run_id: Any = "") -> bool:
        if not isinstance(run_id, str):
            raise InvalidRequest("The run's id must be text.", field="id")
        cancel_run(playground, visitor_of(request), run_id)
        return True

    add_endpoint(queue, [], [json_value([], {"type": "array", "items": OBJECT},
                                        "What runs and waits: position, kinds, title, state and "
                                        "own; of your own runs id, prompt, step and total too")],
                 "What runs on the device and what waits for it, in the order in which it comes.",
                 queue=False)
    add_endpoint(cancel, [json_value("", STRING, "The id of a run of yours, of /queue")],
                 [json_value(True, BOOLEAN, "True")],
                 "Stop one of your runs, or forget it where it waits; what is finished is kept.",
                 queue=False)

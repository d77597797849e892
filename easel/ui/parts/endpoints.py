"""How a named endpoint is added to the page, and the JSON schemas of what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.components.api_component import Api

# JSON schemas; Gradio's own annotation of them is too narrow.
STRING: dict[str, Any] = {"type": "string"}
STRINGS: dict[str, Any] = {"type": "array", "items": STRING}
OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": {}}
BOOLEAN: dict[str, Any] = {"type": "boolean"}


def add_endpoint(function: Any, inputs: Sequence[gr.components.Component],
                 outputs: Sequence[gr.components.Component], description: str,
                 queue: bool = True) -> None:
    """An endpoint without a place on the page: the button that triggers it is never shown."""
    gr.Button(visible=False).click(
        function, list(inputs), list(outputs), api_name=function.__name__, queue=queue,
        api_description=description, api_visibility="public", show_progress="hidden",
        concurrency_limit=None, trigger_mode="multiple")


def json_value(value: Any, schema: dict[str, Any], label: str) -> Api:
    """A plain JSON value with its schema; what comes in is checked by our own code alone."""
    return Api(value, schema, label)

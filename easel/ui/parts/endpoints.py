"""How a named endpoint is added to the page, and the JSON schemas of what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.components.api_component import Api

from easel.ui.parts.uploads import IMAGE_SUFFIXES
from pipelines.core.request import MAX_PROMPT_CHARS, PICTURES

# JSON schemas; Gradio's own annotation of them is too narrow.
STRING: dict[str, Any] = {"type": "string"}
STRINGS: dict[str, Any] = {"type": "array", "items": STRING}
OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": {}}
BOOLEAN: dict[str, Any] = {"type": "boolean"}
INTEGER: dict[str, Any] = {"type": "integer"}
PROMPT: dict[str, Any] = {**STRING, "maxLength": MAX_PROMPT_CHARS}
_PICTURE_LABELS: dict[str, str] = dict(zip(PICTURES, (
    "Picture to start from (PNG, JPEG or WebP), or null",
    "Pictures that the result should be like, or null",
    "Mask: what of the picture to start from may change, white or transparent; or null",
), strict=True))


def add_endpoint(function: Any, inputs: Sequence[gr.components.Component],
                 outputs: Sequence[gr.components.Component], description: str,
                 queue: bool = True) -> None:
    """An endpoint without a place on the page: the button that triggers it is never shown."""
    gr.Button(visible=False).click(
        function, list(inputs), list(outputs), api_name=function.__name__, queue=queue,
        api_description=description, api_visibility="public", show_progress="hidden",
        concurrency_limit=None, trigger_mode="multiple")


def picture_file(name: str) -> gr.File:
    """A picture's file, or several, of one field of a request (``PICTURES``)."""
    several = name == "image_prompts"
    return gr.File(visible=False, file_count="multiple" if several else "single",
                   file_types=IMAGE_SUFFIXES, type="filepath", label=_PICTURE_LABELS[name])


def json_value(value: Any, schema: dict[str, Any], label: str) -> Api:
    """A plain JSON value with its schema; what comes in is checked by our own code alone."""
    return Api(value, schema, label)

"""The door by which texts come from browsers and programs: what no file can hold is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from easel.ui.words.language import language_of, say, speaking
from pipelines.core.sentences import Sentence
from pipelines.core.texts import fault_of


def refuse_unwritable(page: gr.Blocks) -> None:
    """Refuse calls whose texts hold NUL or half a character, before any handler reads them.

    JSON can escape half of a character, which no database, file or answer can hold.

    Args:
        page: whose handlers and endpoints are guarded, all of them.
    """
    process = page.process_api

    async def process_checked(*args: Any, **kwargs: Any) -> dict[str, Any]:
        given = kwargs.get("inputs", args[1] if len(args) > 1 else ())
        if (fault := first_fault(given)) is not None:
            headers = getattr(kwargs.get("request"), "headers", None)
            with speaking(language_of(headers or {})):
                raise gr.Error(say(fault), print_exception=False)
        return await process(*args, **kwargs)

    page.process_api = process_checked


def first_fault(value: Any) -> Sentence | None:
    """A sentence about the first text of a JSON value that no file can hold; None for none."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            if (fault := fault_of(each)) is not None:
                return fault
        elif isinstance(each, Mapping):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple):
            waiting += each
    return None

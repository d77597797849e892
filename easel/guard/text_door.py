"""The door by which values come from browsers and programs: what no answer can hold is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gradio as gr

from easel.words.language import language_of, say, speaking
from pipelines.core.sentences import Sentence
from pipelines.core.texts import MAX_DEPTH, fault_of, is_short

LARGE = Sentence("A number in the request is larger than any that Easel takes.")
INFINITE = Sentence("A number in the request is not finite.")
DEEP = Sentence("The request holds lists or objects that lie too deep in each other.")


def refuse_unwritable(page: gr.Blocks) -> None:
    """Refuse calls whose values no file or answer can hold, before any handler reads them.

    JSON can escape half of a character, which no database, file or answer can hold, and write
    numbers of any length; Python reads NaN and Infinity as well, which are not JSON.

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
    """A sentence about the first part of a JSON value that no answer can hold; None for none."""
    waiting = [(value, 0)]
    while waiting:
        each, depth = waiting.pop()
        if isinstance(each, str):
            if (fault := fault_of(each)) is not None:
                return fault
        elif isinstance(each, float):
            if not math.isfinite(each):
                return INFINITE
        elif isinstance(each, int):
            if not is_short(each):
                return LARGE
        elif isinstance(each, Mapping | list | tuple):
            if depth == MAX_DEPTH:
                return DEEP
            parts = [*each.keys(), *each.values()] if isinstance(each, Mapping) else each
            waiting += [(part, depth + 1) for part in parts]
    return None

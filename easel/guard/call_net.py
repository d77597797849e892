"""The net below every call: whatever happens on the way, the caller gets an answer or a sentence.

What handlers raise is caught where they are written (``easel.ui.parts.errors``); this is for what
Gradio itself raises before and after them, which it would print to stderr and answer with nothing.
"""

from __future__ import annotations

import inspect
import logging
import re
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio import queueing, routes

from easel.guard.text_door import first_fault
from easel.words import strings
from easel.words.language import language_of, say, speaking
from pipelines.core.errors import EaselError

logger = logging.getLogger(__name__)
MAX_LOGGED_CHARS = 200
MAX_SHOWN_CHARS = 40
_WRONG_FILE = re.compile(r"Invalid file type\b[^\[]{0,80}\[([^\]]*)\]")  # Gradio's words
_NO_CHOICE = re.compile(r"Value: (.{0,2000}?)(?: \(type: [^)]{0,80}\))? is not in the list of "
                        "choices:", re.DOTALL)


class _Odd(Exception):
    """Values that a function does not take."""


def _said(sentence: str, request: Any) -> gr.Error:
    """The sentence in the language of whoever asks."""
    with speaking(language_of(getattr(request, "headers", None) or {})):
        return gr.Error(say(sentence), print_exception=False)


def _unsaid(block_fn: Any, given: int) -> list[None]:
    """What a call by plain HTTP may leave out at its end: inputs whose default is None.

    So a program that was written before an endpoint took one more goes on as it is.
    """
    missing = len(block_fn.inputs) - given
    if missing <= 0 or not callable(block_fn.fn):
        return []
    last = [*inspect.signature(block_fn.fn).parameters.values()][-missing:]
    return [None] * missing if all(each.default is None for each in last) else []


def answer_every_call(page: gr.Blocks) -> None:
    """Let every call of a page's handlers and endpoints end in an answer or in one sentence.

    Args:
        page: before it is launched.
    """
    process, preprocess = page.process_api, page.preprocess_data

    async def preprocess_checked(block_fn: Any, inputs: list[Any], *args: Any,
                                 **kwargs: Any) -> list[Any]:
        try:
            if block_fn.fn is None:
                raise ValueError("it lives in the browser alone")
            return await preprocess(block_fn, [*inputs, *_unsaid(block_fn, len(inputs))], *args,
                                    **kwargs)
        except gr.Error as error:
            if (kinds := _WRONG_FILE.match(str(error.message))) is not None:
                raise EaselError("The file must be of one of these kinds: {}.",
                                 kinds[1].replace("'", "")) from None
            if (value := _NO_CHOICE.match(str(error.message))) is not None:
                raise EaselError("{!r} is none of the choices that there are.",
                                 value[1].strip("'")[:MAX_SHOWN_CHARS]) from None
            if len(str(error.message)) > MAX_LOGGED_CHARS:  # it repeats what was sent
                raise _Odd from None
            raise
        except Exception as error:  # whatever the values are, they are not the page's
            logger.info("a call of %s was refused: %s", block_fn.api_name,
                        " ".join(str(error).split())[:MAX_LOGGED_CHARS])
            raise _Odd from None

    async def process_caught(*args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            answer = await process(*args, **kwargs)
            if (fault := first_fault(answer.get("data"))) is not None:
                raise ValueError(f"an answer that JSON cannot hold: {fault}")
            return answer
        except _Odd:
            raise _said(strings.ODD_CALL, kwargs.get("request")) from None
        except gr.Error as error:
            error.print_exception = False
            raise
        except EaselError as error:
            raise _said(str(error), kwargs.get("request")) from None
        except Exception:
            logger.exception("a call failed")
            raise _said(strings.UNEXPECTED, kwargs.get("request")) from None

    page.preprocess_data = preprocess_checked
    page.process_api = process_caught


def log_in_one_way() -> None:
    """Send what Gradio and uvicorn print by themselves through the log, which writes strangers'
    texts safely; once the page is launched, since uvicorn sets up its own log with that."""
    printer: Any = SimpleNamespace(print_exc=lambda: logger.exception("Gradio reports an error"))
    queueing.traceback = routes.traceback = printer
    for name in ("uvicorn", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True

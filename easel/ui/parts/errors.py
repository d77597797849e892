"""Every failure reaches a person or a program as one sentence, never as a traceback."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import gradio as gr

from easel.ui.words import strings
from easel.ui.words.language import say
from pipelines.core.errors import EaselError

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


def one_sentence(function: Callable[P, T]) -> Callable[P, T]:
    """For endpoints: errors reach the client as one sentence, never as a traceback."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except EaselError as error:
            raise gr.Error(say(str(error)), print_exception=False) from None
        except gr.Error:
            raise
        except Exception:
            logger.exception("%s failed", function.__name__)
            raise gr.Error(strings.UNEXPECTED, print_exception=False) from None

    return guarded

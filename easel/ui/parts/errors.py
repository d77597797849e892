"""Every failure reaches a person or a program as one sentence, never as a traceback."""

from __future__ import annotations

import errno
import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from easel.guard.visitors import UnknownVisitor
from easel.history.records import HistoryError
from easel.words import strings
from easel.words.language import say
from pipelines.core.errors import EaselError

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


def streamed(function: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """As ``one_sentence``, for an endpoint that returns an iterator which is read as it comes.

    Gradio takes for a stream what is a generator function: this is the one that it sees, so that
    the endpoint itself need not be another between it and what is read.
    """
    @functools.wraps(function)
    def stream(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        with _net(function.__name__):
            yield from function(*args, **kwargs)

    return stream


def one_sentence(function: Callable[P, T]) -> Callable[P, T]:
    """For endpoints, generators among them: errors reach the client as one sentence, never as a
    traceback."""
    if inspect.isgeneratorfunction(function):
        return cast(Callable[P, T], streamed(function))

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        with _net(function.__name__):
            return function(*args, **kwargs)

    return guarded


@contextmanager
def _net(name: str) -> Iterator[None]:
    try:
        yield
    except EaselError as error:
        raise gr.Error(say(str(error)), print_exception=False) from None
    except gr.Error:
        raise
    except Exception as error:
        raise gr.Error(_said(error, name), print_exception=False) from None


@contextmanager
def caught(name: str, take: Callable[[EaselError], object]) -> Iterator[None]:
    """For work whose failure is shown beside what it has brought so far.

    Args:
        name: of the work, for the log.
        take: is given what went wrong; what nobody foresaw as a sentence that says so.
    """
    try:
        yield
    except EaselError as error:
        take(error)
    except Exception as error:
        take(EaselError(_said(error, name)))


def _said(error: Exception, name: str) -> str:
    """What is said of an error that nobody foresaw."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        logger.warning("%s failed: %s", name, error)
        return strings.DISK_FULL
    logger.exception("%s failed", name)
    return strings.UNEXPECTED


def shows_errors_by(refuse: Callable[[str], T]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """For what a press of a button does at once: errors are shown on the page.

    Args:
        refuse: what is returned in place of the outcome, made of the sentence.
    """
    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except EaselError as error:
                return refuse(str(error))
            except Exception as error:
                return refuse(_said(error, function.__name__))

        return guarded

    return decorate


def json_errors(endpoint: Callable[[Request], Response]) -> Callable[[Request], Any]:
    """For an address of its own: what is wrong is said in one sentence, in JSON.

    Another visitor's picture does not exist.
    """
    def answer(request: Request) -> Response:
        try:
            return endpoint(request)
        except UnknownVisitor as error:
            return JSONResponse({"detail": str(error)}, 401)
        except HistoryError as error:
            return JSONResponse({"detail": str(error)}, 404)
        except EaselError as error:
            return JSONResponse({"detail": str(error)}, 400)

    return answer

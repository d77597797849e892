"""Where a command runs: this machine's device, with the history that keeps what it draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import typer

from easel.garbage import without_collection
from easel.settings import load_settings

if TYPE_CHECKING:
    from easel.serving.interface import Backend


@contextmanager
def opened_backend(context: typer.Context, keeps: bool = True) -> Iterator[Backend]:
    """The backend of a command, closed at its end.

    Args:
        context: of the command, with a backend where it was handed one.
        keeps: whether it draws pictures, which the history then keeps.

    Raises:
        EaselError: a setting is not valid, or what it names is not there; before the networks'
            library is imported, which takes seconds.
    """
    with ExitStack() as stack:
        backend: Backend | None = context.obj
        if backend is None:
            settings, history = load_settings(), None
            if keeps:
                from easel.history.build import open_history

                history = stack.enter_context(closing(open_history(settings)))
            with without_collection():
                from easel.serving.build import build_backend

                backend = build_backend(settings, history=history)
        yield stack.enter_context(closing(backend))

"""The blocks of the page, of which a server is made once.

Gradio makes one when a page is begun, when it is ended, when it is given a queue and when it is
launched, each with all its routes and with the page's configuration, and serves the last alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio import blocks

_NO_SERVER = SimpleNamespace(create_app=lambda *_, **__: None)


class PageBlocks(gr.Blocks):
    """Gradio's blocks, without the servers that nobody would ever reach."""

    _unserved = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with self._no_server():
            super().__init__(*args, **kwargs)

    def __exit__(self, *args: Any) -> None:
        with self._no_server():
            super().__exit__(*args)

    def queue(self, *args: Any, **kwargs: Any) -> gr.Blocks:
        """Gradio's own, which see."""
        with self._no_server():
            return super().queue(*args, **kwargs)

    def get_config_file(self) -> Any:
        """Gradio's own, which see; empty before the launch, which reads it first."""
        return {} if self._unserved else super().get_config_file()

    @contextmanager
    def _no_server(self) -> Iterator[None]:
        made, self._unserved = blocks.App, True
        blocks.App = _NO_SERVER  # type: ignore[assignment, misc]
        try:
            yield
        finally:
            blocks.App, self._unserved = made, False  # type: ignore[misc]

"""A page of its own for a measurement, on a free port, with nothing kept afterwards."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from easel.history.build import open_history
from easel.history.recorder import Recorder
from easel.serving.backend import LocalBackend
from easel.settings import Settings
from pipelines.engine import build_cache
from pipelines.models.cache.cache import ModelCache
from pipelines.registry import Registry


@dataclass(frozen=True)
class Served:
    """A server in this process.

    Attributes:
        url: of the page, with a slash at its end.
        folder: gone when the measurement ends.
    """

    url: str
    backend: LocalBackend
    cache: ModelCache
    folder: Path


@contextmanager
def served(registry: Registry) -> Iterator[Served]:
    """The page of some generators, on the CPU."""
    from easel.launch import serve
    from easel.ui.page import build_page
    from easel.ui.playground import load_playground

    with tempfile.TemporaryDirectory(prefix="easel-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "cache")
        settings = Settings(port=_free_port(), device="cpu", data_dir=folder)
        cache = build_cache(settings)
        stack.callback(cache.close)
        history = open_history(settings)
        stack.callback(history.close)
        backend = LocalBackend(registry, cache, record=Recorder(history))
        stack.callback(backend.close)
        page = build_page(load_playground(registry, backend, history, settings))
        url = serve(page, settings, history, backend)
        stack.callback(page.close, verbose=False)
        yield Served(url, backend, cache, folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

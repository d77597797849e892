"""Easel as people meet it: the real page on the real backend."""

from __future__ import annotations

import http.client
import json
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gradio_client import Client

from easel.history.build import open_history
from easel.history.recorder import Recorder
from easel.launch import serve
from easel.serving.backend import LocalBackend
from easel.serving.build import open_paused_runs
from easel.settings import Settings
from easel.ui.page import build_page
from easel.ui.playground import Playground, load_playground
from easel.ui.wall.routes import wall_routes
from pipelines.engine import build_cache
from pipelines.models.cache.cache import ModelCache
from pipelines.pipeline import Pipeline
from pipelines.registry import Registry
from tests.watched_sketch import WatchedSketch


class App:
    """A served page, with two generators of colour fields unless others are given.

    Args:
        pipelines: the generators.
        cache: where their models come from; the embedded models where None.
        more: other settings.
    """

    def __init__(self, pipelines: Sequence[Pipeline] = (), cache: ModelCache | None = None,
                 **more: Any) -> None:
        self.sketch = WatchedSketch()
        self.etching = WatchedSketch("etching", "Etching", stoppable=False)
        registry = Registry()
        for pipeline in pipelines or (self.sketch, self.etching):
            registry.register(pipeline)
        self.data = tempfile.TemporaryDirectory(prefix="easel-", ignore_cleanup_errors=True)
        settings = Settings(port=free_port(), device="cpu", **{
            "queue_size": 1, "data_dir": Path(self.data.name), **more})
        self.cache = cache or build_cache(settings)
        self.history = open_history(settings)
        self.backend = LocalBackend(registry, self.cache, settings.queue_size,
                                    record=Recorder(self.history),
                                    paused=open_paused_runs(settings, self.history))
        self.playground: Playground = load_playground(registry, self.backend, self.history,
                                                       settings)
        self.page = build_page(self.playground)
        self.url = serve(self.page, settings, self.history, self.backend,
                         more_routes=wall_routes(self.playground))

    def close(self) -> None:
        self.page.close(verbose=False)
        self.backend.close()
        self.cache.close()
        self.history.close()
        self.data.cleanup()

    def client(self, **headers: str) -> Client:
        """A client that is patient with a busy machine: 5 s without a word are its own limit."""
        return Client(self.url, verbose=False, analytics_enabled=False, headers=headers,
                      httpx_kwargs={"timeout": 300})

    def busy(self) -> bool:
        """Whether anything runs on the device or holds a model."""
        leased = any(model.leases for model in self.cache.stats().models)
        return bool(self.sketch.running or self.etching.running or leased)

    def hang_up(self, path: str, body: Mapping[str, Any]) -> None:
        """Post something of the sketch's, and go away while it is drawn."""
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=300)
        connection.request("POST", path, json.dumps(body), {
            "content-type": "application/json", "accept": "application/json, text/event-stream"})
        end = time.monotonic() + 90
        while not self.sketch.running:
            assert time.monotonic() < end, "the run has not begun"
            time.sleep(0.02)
        connection.close()

    def wait_until_idle(self, timeout_s: float = 60.0) -> None:
        """Fail unless the device is free within the time."""
        end = time.monotonic() + timeout_s
        while self.busy():
            assert time.monotonic() < end, "the device is still busy"
            time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

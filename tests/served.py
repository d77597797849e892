"""Easel as people meet it: the real page on the real backend, with generators made for tests."""

from __future__ import annotations

import socket
import time

from gradio_client import Client

from pipelines.registry import Registry
from pipelines.settings import Settings
from serving.build import build_backend
from tests.sketch import SketchPipeline
from ui.launch import serve
from ui.page import build_page
from ui.playground import Playground, load_playground


class App:
    """A served page with two generators of colour fields."""

    def __init__(self) -> None:
        self.sketch = SketchPipeline()
        self.etching = SketchPipeline("etching", "Etching", stoppable=False)
        registry = Registry()
        for pipeline in (self.sketch, self.etching):
            registry.register(pipeline)
        settings = Settings(port=free_port(), queue_size=1, device="cpu")
        self.backend = build_backend(settings, registry)
        self.playground: Playground = load_playground(registry, self.backend, self.backend.cache)
        self.page = build_page(self.playground)
        self.url = serve(self.page, settings)

    def close(self) -> None:
        self.page.close(verbose=False)
        self.backend.close()

    def client(self) -> Client:
        return Client(self.url, verbose=False, analytics_enabled=False)

    def wait_until_idle(self, timeout_s: float = 5.0) -> None:
        """Fail unless the device is free within the time."""
        end = time.monotonic() + timeout_s
        while self.sketch.running or self.etching.running:
            assert time.monotonic() < end, "the device is still busy"
            time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

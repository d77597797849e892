"""One server for all the cases, as people meet it: page, API, history, queue, small models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from pipelines.unclip.pipeline import UnclipPipeline
from tests.served import App
from tests.small_models import small_cache
from tests.watched_sketch import WatchedSketch

Refusal = Callable[..., str]


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Gradio's cache of the server, with nobody else's files in it."""
    before, folder = os.environ.get("GRADIO_TEMP_DIR"), tmp_path_factory.mktemp("cache")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    yield folder
    del os.environ["GRADIO_TEMP_DIR"]
    if before is not None:
        os.environ["GRADIO_TEMP_DIR"] = before


@pytest.fixture(scope="session")
def app(cache_folder: Path) -> Iterator[App]:
    sketch = WatchedSketch()
    served = App([sketch, UnclipPipeline()], small_cache())
    served.sketch = sketch
    yield served
    served.close()


@pytest.fixture(scope="session")
def client(app: App) -> Client:
    return app.client()


@pytest.fixture(scope="session")
def refusal() -> Refusal:
    """Calls an endpoint that refuses, and returns the one sentence with which it does."""

    def call(client: Client, endpoint: str, *args: Any, **fields: Any) -> str:
        with pytest.raises(AppError) as caught:
            client.predict(*args, api_name=endpoint, **fields)
        sentence = str(caught.value)
        assert sentence.endswith(".")
        assert "\n" not in sentence
        assert "Traceback" not in sentence
        assert "inside Easel" not in sentence, "a sentence about what is wrong, not about Easel"
        return sentence

    return call

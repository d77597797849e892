"""Programs that hang up: the run is stopped, the device free, and the next one served."""

from __future__ import annotations

import base64
import io
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from tests.served import App

HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
PICTURE = io.BytesIO()
Image.new("RGB", (64, 64), "red").save(PICTURE, "PNG")
IMAGE = base64.b64encode(PICTURE.getvalue()).decode()
DOORS = ["/v1/images/generations", "/v1/images/edits", "/sdapi/v1/txt2img", "/sdapi/v1/img2img",
         "/mcp"]


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(queue_size=4)
    yield served
    served.close()


def body_of(path: str, **options: float) -> Mapping[str, Any]:
    """What draws a sketch by a door."""
    if path == "/mcp":
        return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "generate", "arguments": {"prompt": "a cat", "options": options}}}
    if path.startswith("/v1/"):
        return {"prompt": "a cat", "model": "sketch", "options": options,
                **({"image": IMAGE} if path.endswith("edits") else {})}
    return {"prompt": "a cat", "alwayson_scripts": {"easel": {"args": [options]}},
            **({"init_images": [IMAGE]} if path.endswith("img2img") else {})}


def draws(app: App, path: str) -> None:
    answer = httpx.post(f"{app.url.rstrip('/')}{path}", headers=HEADERS, timeout=300,
                        json=body_of(path, steps=2, pause_s=0))
    assert answer.status_code == 200, answer.text
    assert "error" not in answer.text[:30]


@pytest.mark.parametrize("path", DOORS)
def test_in_the_middle_of_a_run(app: App, path: str) -> None:
    finished = app.sketch.finished
    app.hang_up(path, body_of(path, steps=2000, pause_s=0.05))
    app.wait_until_idle(90)  # by its own pace it would take a hundred seconds
    assert app.sketch.finished == finished + 1
    draws(app, path)


@pytest.mark.parametrize("path", DOORS)
def test_in_the_middle_of_what_it_sends(app: App, path: str) -> None:
    finished = app.sketch.finished
    where, body = urlsplit(app.url), json.dumps(body_of(path, steps=2, pause_s=0)).encode()
    head = [f"POST {path} HTTP/1.1", f"host: {where.netloc}", f"content-length: {len(body)}",
            *(f"{name}: {value}" for name, value in HEADERS.items())]
    for sent in (0, len(body) // 2, len(body) - 1):
        with socket.create_connection((str(where.hostname), where.port or 80), 300) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode() + body[:sent])
    draws(app, path)
    app.wait_until_idle(90)
    assert app.sketch.finished == finished + 1, "of what did not come whole nothing was drawn"

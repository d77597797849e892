"""OpenAI's images API, by OpenAI's own client against the page's server."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import time
import warnings
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import openai
import pytest
from openai import OpenAI
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from easel.doors.bodies import Bodies
from easel.doors.openai_images import OpenAIDoor
from easel.doors.published import Published
from easel.doors.runs import DoorRuns
from easel.guard.cache_folder import CacheFolder
from easel.guard.held_bodies import HeldBodies
from easel.guard.visitors import HEADER, new_token, visitor_named
from easel.history.records import Filters
from pipelines.batching import Drawn
from pipelines.core.events import Event
from pipelines.core.metadata import read_png
from pipelines.pipeline import Preset
from tests.served import App
from tests.sketch import SIDE_PX
from tests.watched_sketch import WatchedSketch

FAST: dict[str, Any] = {"options": {"steps": 2, "pause_s": 0}}
SLOW: dict[str, Any] = {"options": {"steps": 2000, "pause_s": 0.02}}
KEY = "k" * 22


class Varying(WatchedSketch):
    """One that draws variations."""

    draws_variations = True
    presets = MappingProxyType({"draft": Preset({"steps": 1, "pause_s": 0.0}),
                                "best": Preset({"steps": 2, "pause_s": 0.0}, best_of=5)})


class Plain(WatchedSketch):
    """One whose seeds all draw alike."""

    def draw(self, request: Any, context: Any, models: Any, seeds: tuple[int, ...],
             ) -> Generator[Event, None, Drawn]:
        drawn = yield from super().draw(request, context, models, (0,))
        return replace(drawn, images=np.repeat(drawn.images, len(seeds), axis=0), seeds=seeds)


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    sketch, varying = WatchedSketch(), Varying("varying", "Varying")
    served = App([sketch, varying, Plain("plain", "Plain")], queue_size=4)
    served.sketch, served.etching = sketch, varying
    yield served
    served.close()


def client_of(app: App, key: str = "sk-anything", **headers: str) -> OpenAI:
    return OpenAI(base_url=f"{app.url.rstrip('/')}/v1", api_key=key, max_retries=0, timeout=300,
                  default_headers=headers)


@pytest.fixture(scope="module")
def client(app: App) -> OpenAI:
    return client_of(app)


def png(colour: str = "red") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (80, 60), colour).save(data, "PNG")
    return data.getvalue()


def vary(client: OpenAI, **fields: Any) -> Any:
    """OpenAI's client says that variations are a thing of the past; other programs ask for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return client.images.create_variation(image=("a.png", png()), **fields)


def pixels(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)))


def refused(call: Any, *args: Any, **kwargs: Any) -> tuple[int, dict[str, Any]]:
    """Status and error of a call that is refused, as the client reads them."""
    with pytest.raises(openai.APIStatusError) as caught:
        call(*args, **kwargs)
    body = caught.value.body
    assert isinstance(body, dict)
    assert set(body) == {"message", "type", "param", "code"}
    assert body["message"].rstrip(")").endswith((".", "y", "d")), body
    return caught.value.status_code, body


def test_models_are_the_generators(app: App, client: OpenAI) -> None:
    models = list(client.models.list())
    assert [m.id for m in models] == list(app.backend.registry.names())
    assert {(m.object, m.owned_by) for m in models} == {("model", "easel")}
    assert client.models.retrieve("sketch").id == "sketch"
    status, error = refused(client.models.retrieve, "nobody")
    assert (status, error["code"]) == (404, "model_not_found")


def test_pictures_come_as_base64_or_at_an_address_and_are_the_pages_own(app: App) -> None:
    token = new_token()
    client = client_of(app, token)
    drawn = client.images.generate(prompt="a red apple", model="sketch", n=2, size="64x64",
                                   response_format="b64_json", user="somebody",
                                   extra_body={"seed": 7, **FAST})
    assert drawn.data
    files = [base64.b64decode(each.b64_json or "") for each in drawn.data]
    assert drawn.size == "64x64"
    assert time.time() - drawn.created < 3600
    facts = [read_png(file)["easel"] for file in files]
    assert sorted(f["seed"] for f in facts) == [7, 8]
    assert {f["prompt"] for f in facts} == {"a red apple"}
    assert facts[0]["scores"]["clip"] >= facts[1]["scores"]["clip"]

    kept = app.history.page(visitor_named(token), Filters()).pictures
    assert {app.history.files.read(each.sha256) for each in kept} == set(files)
    page = app.client(**{HEADER: token})
    paths, _ = page.predict("a red apple", ["sketch"], 2, 7, {"sketch": FAST["options"]},
                                  api_name="/generate")
    assert [np.array_equal(pixels(Path(a).read_bytes()), pixels(b))
            for a, b in zip(paths, files, strict=True)] == [True, True]

    by_url = client.images.generate(prompt="a red apple", response_format="url",
                                    extra_body={"seed": 7, **FAST})
    assert by_url.data
    address = by_url.data[0].url or ""
    assert address.startswith(app.url)
    fetched = httpx.get(address, timeout=300)
    assert fetched.headers["content-type"] == "image/png"
    assert np.array_equal(pixels(fetched.content),
                          pixels(files[[f["seed"] for f in facts].index(7)]))
    name = address.rpartition("/")[2]
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / "exports"
    os.utime(folder / name, (1, time.time() - 3601))
    for wrong in (name, "x.png", "..%2F..%2Fetc%2Fpasswd"):
        answer = httpx.get(f"{address.rpartition('/')[0]}/{wrong}", timeout=300)
        assert answer.status_code == 404
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_seeds_that_drew_alike_are_said(client: OpenAI) -> None:
    fields: Any = {"prompt": "a cat", "model": "plain", "n": 2, "extra_body": {"seed": 5, **FAST}}
    drawn = client.images.generate(**fields)
    assert drawn.data
    first, second = (each.model_extra or {} for each in drawn.data)
    assert (first["seed"], second["seed"], second["equal_to_seed"]) == (5, 6, 5)
    assert "equal_to_seed" not in first
    *_, last = client.images.generate(stream=True, **fields)
    assert (last.model_extra or {})["equal_to_seed"] == 5


def test_pictures_in_the_making_are_streamed(client: OpenAI) -> None:
    events = list(client.images.generate(
        prompt="a red apple", model="sketch", stream=True, partial_images=2,
        extra_body={"seed": 3, "options": {"steps": 9, "pause_s": 0.01}}))
    partial = [e for e in events if e.type == "image_generation.partial_image"]
    assert 1 <= len(partial) <= 2, "a slow reader may miss some, never the end"
    assert [e.partial_image_index for e in partial] == list(range(len(partial)))
    done = events[-1]
    assert done.type == "image_generation.completed"
    assert done.usage.total_tokens == 0
    assert done.size == f"{SIDE_PX}x{SIDE_PX}"
    assert read_png(base64.b64decode(done.b64_json))["easel"]["seed"] == 3
    assert pixels(base64.b64decode(partial[0].b64_json)).shape == (SIDE_PX, SIDE_PX, 3)
    with pytest.raises(openai.APIError, match="went wrong"):
        list(client.images.generate(prompt="a cat", model="sketch", stream=True,
                                    extra_body={"options": {"fail": True, "pause_s": 0}}))


@pytest.mark.parametrize(("quality", "steps", "drawn"), [
    ("low", 1, None), ("high", 2, 5), ("medium", 6, None)])
def test_quality_is_a_preset(client: OpenAI, quality: Any, steps: int, drawn: int | None) -> None:
    found = client.images.generate(prompt="a cat", model="varying", n=2, quality=quality)
    assert found.data
    facts = [read_png(base64.b64decode(each.b64_json or ""))["easel"] for each in found.data]
    assert len(facts) == 2
    assert {f["options"]["steps"] for f in facts} == {steps}
    assert {f.get("best_of") for f in facts} <= {None, drawn}


def test_a_picture_is_varied_and_edited(app: App, client: OpenAI) -> None:
    varied = vary(client, n=2, size="64x64", response_format="b64_json",
                  extra_body={"options": json.dumps(FAST["options"])})
    assert varied.data
    facts = read_png(base64.b64decode(varied.data[0].b64_json or ""))["easel"]
    assert facts["pipeline"] == "varying"
    assert facts["init_image_sha256"]
    edited = client.images.edit(image=("a.png", png()), prompt="a blue apple", model="sketch")
    assert edited.data
    facts = read_png(base64.b64decode(edited.data[0].b64_json or ""))["easel"]
    assert facts["pipeline"] == "sketch"
    events = list(client.images.edit(image=[("a.png", png())], prompt="a cat", stream=True))
    assert events[-1].type == "image_edit.completed"
    data_url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    answer = httpx.post(f"{app.url.rstrip('/')}/v1/images/edits", timeout=300, json={
        "images": [{"image_url": data_url}], "prompt": "a cat", **FAST})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("fields", "param", "code"), [
    ({"model": "nobody"}, "model", "invalid_value"),
    ({"n": 0}, "n", "integer_below_min_value"), ({"n": 11}, "n", "integer_above_max_value"),
    ({"n": "two"}, "n", "invalid_type"), ({"size": "1000x1000"}, "size", "invalid_value"),
    ({"size": "64x65"}, "size", "invalid_value"), ({"prompt": " "}, "prompt", "invalid_value"),
    ({"prompt": "x" * 501}, "prompt", "string_above_max_length"),
    ({"quality": "best"}, "quality", "invalid_value"),
    ({"background": "transparent"}, "background", "invalid_value"),
    ({"extra_body": {"colour": "red"}}, "colour", "unknown_parameter"),
    ({"extra_body": {"seed": -1}}, "seed", "integer_below_min_value"),
    ({"extra_body": {"seed": True}}, "seed", "invalid_type"),
    ({"extra_body": {"options": {"steps": 0}}}, "steps", "invalid_value"),
    ({"extra_body": {"options": [1]}}, "options", "invalid_type"),
    ({"extra_body": {"stream": "perhaps"}}, "stream", "invalid_type"),
    ({"n": "2"}, "n", "invalid_type"), ({"extra_body": {"seed": "7"}}, "seed", "invalid_type"),
    ({"extra_body": {"stream": "true"}}, "stream", "invalid_type"),
    ({"extra_body": {"options": "{}"}}, "options", "invalid_type"),
    ({"output_compression": 101}, "output_compression", "integer_above_max_value"),
    ({"user": 5}, "user", "invalid_type")])
def test_bad_requests_are_refused_as_openai_does(app: App, client: OpenAI, fields: dict[str, Any],
                                                 param: str, code: str) -> None:
    finished = app.sketch.finished
    status, error = refused(client.images.generate, **{"prompt": "a cat", **fields})
    assert (status, error["param"], error["code"]) == (400, param, code)
    assert app.sketch.finished == finished
    if fields.get("size") == "1000x1000":
        assert error["message"] == ("Invalid value: '1000x1000'. Supported values are: '64x64' "
                                    "and 'auto'.")


@pytest.mark.parametrize(("path", "content", "kind", "status", "code"), [
    ("generations", b"{", "application/json", 400, None),
    ("generations", b"[]", "application/json", 400, "invalid_type"),
    ("generations", b"{}", "application/json", 400, "missing_required_parameter"),
    ("generations", b'{"prompt": NaN}', "application/json", 400, None),
    ("generations", b'{"prompt": "' + b"\\ud800" + b'"}', "application/json", 400, None),
    ("generations", b"[" * 20_000, "application/json", 400, None),
    ("generations", b"[" * 100_000, "application/json", 413, None),
    ("edits", b'{"prompt": "a", "image": "@@@"}', "application/json", 400, "invalid_base64"),
    ("edits", b'{"prompt": "a", "image": "AAAA"}', "application/json", 400, "invalid_image_file"),
    ("edits", b'{"prompt": "a", "images": [{"image_url": "http://x/y.png"}]}', "application/json",
     400, "invalid_image_url"),
    ("edits", b'{"prompt": "a"}', "application/json", 400, "missing_required_parameter"),
    ("edits", b'{"prompt": "a", "image": "AAAA", "mask": "AAAA"}', "application/json", 400,
     "unsupported_parameter"),
    ("edits", b'{"prompt": "a", "images": ["AAAA", "AAAA"]}', "application/json", 400,
     "array_above_max_length"),
    ("edits", b'{"prompt": "a", "images": []}', "application/json", 400,
     "missing_required_parameter"),
    ("variations", b"{}", "application/json", 400, None),
    ("variations", b"nothing", "multipart/form-data; boundary=x", 400, None),
    ("variations", b"nothing", "multipart/form-data", 400, None),
    ("generations", b" " * (23 * 10**6), "application/json", 413, None),
    ("nowhere", b"{}", "application/json", 404, None)])
def test_bad_bodies_are_refused(app: App, path: str, content: bytes, kind: str, status: int,
                                code: str | None) -> None:
    answer = httpx.post(f"{app.url.rstrip('/')}/v1/images/{path}", content=content, timeout=300,
                        headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


@pytest.mark.parametrize(("body", "param"), [
    (b'{"prompt": "a", "seed": 1' + b"0" * 400 + b"}", "seed"),
    (b'{"prompt": "a \\u0000"}', "prompt"), (b'{"options": {"steps": 1e999}}', "options"),
    (b'{"\\ud800": 1}', None), (b'["\\ud800"]', None),
    (b'{"' + b"x" * 65 + b'": 1e999}', None)])
def test_what_no_answer_can_hold_is_told_by_its_name(app: App, body: bytes, param: str | None,
                                                     ) -> None:
    answer = httpx.post(f"{app.url.rstrip('/')}/v1/images/generations", content=body, timeout=300)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    place = [] if param is None else [param]
    answer = httpx.post(f"{app.url.rstrip('/')}/sdapi/v1/txt2img", content=body, timeout=300)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", *place])


def test_a_model_that_draws_no_variations_and_a_mask_are_refused(client: OpenAI) -> None:
    status, error = refused(vary, client, model="sketch")
    assert (status, error["param"]) == (400, "model")
    assert error["message"] == "Invalid value: 'sketch'. Supported values are: 'varying'."
    status, error = refused(client.images.edit, image=("a.png", png()), prompt="a cat",
                            mask=("m.png", png()))
    assert (status, error["param"], error["code"]) == (400, "mask", "unsupported_parameter")


def test_a_bomb_of_pixels_is_refused(client: OpenAI) -> None:
    data = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(data, "PNG")
    status, error = refused(client.images.edit, image=("a.png", data.getvalue()), prompt="a cat")
    assert (status, error["code"]) == (400, "invalid_image_file")
    assert "megapixels" in error["message"] or "too many pixels" in error["message"]


@pytest.mark.parametrize(("headers", "status"), [
    ({"origin": "https://example.org"}, 403), ({"host": "example.org"}, 421)])
def test_other_pages_are_refused_as_on_the_page(app: App, headers: dict[str, str], status: int,
                                                ) -> None:
    said, _ = refused(client_of(app, **headers).models.list)
    assert said == status


@pytest.mark.parametrize("stream", [False, True])
def test_a_program_that_hangs_up_frees_the_device(app: App, stream: bool) -> None:
    app.hang_up("/v1/images/generations",
                {"prompt": "a cat", "model": "sketch", "stream": stream, **SLOW})
    app.wait_until_idle(90)


def test_the_limits_are_those_of_the_page(app: App) -> None:
    """Jobs of one program are counted together, and too many are refused until others end."""
    busy, end = [], time.monotonic() + 90
    where = urlsplit(app.url)
    app.backend.jobs.line.max_per_owner = 1
    try:
        connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=300)
        connection.request("POST", "/v1/images/generations", json.dumps(
            {"prompt": "a cat", "model": "sketch", **SLOW}),
            {"content-type": "application/json", "authorization": "Bearer one"})
        busy.append(connection)
        while not app.sketch.running:
            assert time.monotonic() < end, "the run has not begun"
            time.sleep(0.02)
        status, error = refused(client_of(app, "one").images.generate, prompt="a cat",
                                extra_body=FAST)
        assert (status, error["code"]) == (429, "rate_limit_exceeded")
        assert "1 job of yours" in error["message"]
        in_portuguese = client_of(app, "one", **{"Accept-Language": "pt-BR"})
        _, error = refused(in_portuguese.images.generate, prompt="a cat", extra_body=FAST)
        assert "of yours" not in error["message"]
    finally:
        app.backend.jobs.line.max_per_owner = None
        for connection in busy:
            connection.close()
        app.wait_until_idle(90)


def test_a_key_opens_the_door_where_one_is_asked_for(app: App, tmp_path: Path) -> None:
    door = OpenAIDoor(app.backend, DoorRuns(app.backend), Bodies(2**20, HeldBodies()),
                      Published(CacheFolder(tmp_path, 10**9)), (KEY, "o" * 22), 1)
    with TestClient(Starlette(routes=door.routes())) as http_client:
        none = http_client.get("/v1/models")
        assert (none.status_code, none.json()["error"]["code"]) == (401, None)
        assert none.json()["error"]["message"].startswith("You didn't provide an API key.")
        wrong = http_client.get("/v1/models", headers={"authorization": f"Bearer {KEY}x"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_api_key")
        assert KEY not in wrong.text
        for auth in (b"Basic caf\xe9", b"Basic /////w==", b"Basic ", b"Bearer \xff", b"\xe9"):
            odd = http_client.get("/v1/models", headers={b"authorization": auth})
            assert odd.status_code == 401, odd.text
        token = http_client.get("/v1/models", headers={"authorization": f"Bearer {new_token()}"})
        assert token.status_code == 401
        headers = {"authorization": f"Bearer {KEY}"}
        assert http_client.get("/v1/models", headers=headers).status_code == 200
        drawn = http_client.post("/v1/images/generations", headers=headers,
                                 json={"prompt": "by key", "model": "sketch", **FAST})
        assert drawn.status_code == 200
    kept = app.history.page(visitor_named(f"key {KEY}"), Filters()).pictures
    assert [each.facts["prompt"] for each in kept] == ["by key"]
    assert not app.history.page(visitor_named(f"key {'o' * 22}"), Filters()).pictures

"""AUTOMATIC1111's API, by the client of it that PyPI has against the page's server."""

from __future__ import annotations

import base64
import http.client
import io
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient
from webuiapi import WebUIApi, WebUIApiResult

from easel.doors import a1111_fields
from easel.doors.a1111 import CROWD, A1111Door
from easel.doors.askers import asker_of
from easel.doors.bodies import Bodies
from easel.doors.runs import DoorRuns
from easel.guard.held_bodies import HeldBodies
from easel.guard.visitors import HEADER, new_token
from pipelines.core.errors import InvalidRequest
from pipelines.core.metadata import read_png
from pipelines.registry import Registry
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.served import App
from tests.sketch import SIDE_PX

KEY = "k" * 22
RED = Image.new("RGB", (80, 60), "red")


def easel(**options: Any) -> dict[str, Any]:
    return {"easel": {"args": [{"pause_s": 0, **options}]}}


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(queue_size=4)
    yield served
    served.close()


@pytest.fixture(scope="module")
def api(app: App) -> WebUIApi:
    return WebUIApi(baseurl=f"{app.url.rstrip('/')}/sdapi/v1")


def draw(api: WebUIApi, **fields: Any) -> WebUIApiResult:
    """Pictures by the client, which has another way for programs that do not wait."""
    drawn = api.txt2img(**fields)
    assert isinstance(drawn, WebUIApiResult)
    return drawn


def address(app: App, name: str) -> str:
    return f"{app.url.rstrip('/')}/sdapi/v1/{name}"


def test_pictures_are_drawn_with_the_facts_that_clients_read(app: App, api: WebUIApi) -> None:
    drawn = draw(api, prompt="a red apple", seed=7, batch_size=2, n_iter=1, steps=3,
                 alwayson_scripts=easel(), negative_prompt="a worm")
    assert len(drawn.images) == 2
    assert [image.size for image in drawn.images] == [(SIDE_PX, SIDE_PX)] * 2
    info: dict[str, Any] = drawn.info  # type: ignore[assignment]
    assert sorted(info["all_seeds"]) == [7, 8]
    assert info["prompt"] == "a red apple"
    assert (info["width"], info["sd_model_name"]) == (SIDE_PX, "sketch")
    assert info["extra_generation_params"]["options"]["steps"] == 3
    ignored = info["extra_generation_params"]["ignored"]
    assert {"negative_prompt", "sampler_name"} <= set(ignored), "and what else that client sends"
    assert not {"prompt", "seed", "steps", "batch_size"} & set(ignored)
    assert drawn.parameters["prompt"] == "a red apple"  # type: ignore[index]
    assert drawn.image.info["parameters"] == info["infotexts"][0]
    again = draw(api, prompt="a red apple", seed=info["all_seeds"][1], steps=3,
                 alwayson_scripts=easel())
    assert np.array_equal(np.array(again.image), np.array(drawn.images[1]))
    default = draw(api, prompt="a cat", alwayson_scripts=easel(), send_images=False)
    assert default.images == []
    assert default.info["extra_generation_params"]["options"]["steps"] == 6  # type: ignore[index]


def test_a_picture_is_the_start(api: WebUIApi) -> None:
    drawn = api.img2img(images=[RED], prompt="a red apple", steps=2, alwayson_scripts=easel())
    assert isinstance(drawn, WebUIApiResult)
    data = io.BytesIO(base64.b64decode(drawn.json["images"][0]))  # type: ignore[index]
    assert read_png(data.getvalue())["easel"]["init_image_sha256"]
    assert "init_images" not in drawn.parameters
    assert "denoising_strength" in drawn.info["extra_generation_params"]["ignored"], (
        "at the default that this client sends it says nothing")


def test_models_options_and_lists(app: App, api: WebUIApi) -> None:
    assert api.util_get_model_names() == ["etching", "sketch"]
    assert api.util_get_sampler_names() == ["Automatic"]
    assert api.util_get_scheduler_names() == ["automatic"]
    assert api.get_scripts() == {"txt2img": ["easel"], "img2img": ["easel"]}
    for name in ("upscalers", "sd_vae", "loras", "hypernetworks", "face_restorers", "embeddings",
                 "prompt_styles", "latent_upscale_modes", "cmd_flags", "memory"):
        assert isinstance(getattr(api, f"get_{name}")(), list | dict)
    assert api.util_get_current_model() == "sketch"
    api.util_set_model("etching")
    try:
        assert api.util_get_current_model() == "etching"
        drawn = draw(api, prompt="a cat", steps=1, alwayson_scripts=easel())
        assert drawn.info["sd_model_name"] == "etching"  # type: ignore[index]
        chosen = draw(api, prompt="a cat", steps=1, alwayson_scripts=easel(),
                      override_settings={"sd_model_checkpoint": "sketch"})
        assert chosen.info["sd_model_name"] == "sketch"  # type: ignore[index]
        other = WebUIApi(baseurl=address(app, "").rstrip("/"))
        other.session.headers["authorization"] = "Bearer another"
        assert other.util_get_current_model() == "sketch", "each program has its own"
    finally:
        api.util_set_model("sketch")
    assert api.refresh_checkpoints() is None


def test_progress_is_told_and_interrupt_keeps_what_there_is(app: App, api: WebUIApi) -> None:
    idle = api.get_progress()
    assert (idle["progress"], idle["state"]["job_count"]) == (0, 0)
    drawn: list[Any] = []
    thread = threading.Thread(target=lambda: drawn.append(draw(
        api, prompt="a cat", steps=2000, alwayson_scripts=easel(pause_s=0.02))))
    thread.start()
    end = time.monotonic() + 90
    mine = WebUIApi(baseurl=address(app, "").rstrip("/"))
    try:
        while (now := mine.get_progress())["current_image"] is None:
            assert time.monotonic() < end, "the run says nothing"
            time.sleep(0.02)
        assert 0 < now["progress"] < 1
        assert now["state"]["job_count"] == 1
        assert now["state"]["sampling_steps"] == 2000
        picture = Image.open(io.BytesIO(base64.b64decode(now["current_image"])))
        assert picture.size == (SIDE_PX, SIDE_PX)
        stranger = httpx.get(address(app, "progress"), timeout=300,
                             headers={"authorization": "Bearer stranger"}).json()
        assert stranger["state"]["job_count"] == 0
    finally:
        assert mine.interrupt() == {}
        thread.join(90)
    assert not thread.is_alive()
    assert len(drawn[0].images) == 1
    app.wait_until_idle(90)
    mine.util_wait_for_ready(0.02)


@pytest.mark.parametrize("key", [{}, {"authorization": "Bearer mine"}], ids=["keyless", "named"])
def test_a_program_without_a_key_elsewhere_sees_and_stops_nobodys_run(app: App, key: dict[str, str],
                                                                      ) -> None:
    """Many may be behind one address; with any key it has runs of its own."""
    near = {"x-forwarded-for": "203.0.113.7"}
    where = httpx.URL(app.url)
    running = http.client.HTTPConnection(where.host, where.port, timeout=300)
    running.request("POST", "/sdapi/v1/txt2img", json.dumps({
        "prompt": "a cat", "steps": 2000, "alwayson_scripts": easel(pause_s=0.02)}),
        {"content-type": "application/json", **near, **key})
    end = time.monotonic() + 90
    while not app.sketch.running:
        assert time.monotonic() < end, "the run has not begun"
        time.sleep(0.02)
    with httpx.Client(timeout=300, headers=near) as web:
        now = web.get(address(app, "progress")).json()
        assert (now["progress"], now["state"]["job_count"], now["current_image"]) == (0, 0, None)
        assert now["textinfo"] == CROWD
        refused = web.post(address(app, "interrupt"))
        assert (refused.status_code, refused.json()["errors"]) == (403, CROWD)
        assert app.sketch.running
        if key:
            now = web.get(address(app, "progress"), headers=key).json()
            assert now["state"]["job_count"] == 1
            assert web.post(address(app, "interrupt"), headers=key).json() == {}
            assert running.getresponse().status == 200
    running.close()  # which stops the run of who cannot say which it is
    app.wait_until_idle(90)


@pytest.mark.parametrize(("client", "host", "is_crowd"), [
    ("127.0.0.1", "localhost:7860", False), ("::1", "[::1]:7860", False),
    ("127.0.0.1", "easel.example.org", True), ("203.0.113.7", "localhost", True)])
def test_who_is_one_of_many(client: str, host: str, is_crowd: bool) -> None:
    def request(**headers: str) -> Request:
        named = {"host": host, **headers}
        return Request({"type": "http", "client": (client, 1), "headers": [
            (name.encode(), value.encode()) for name, value in named.items()]})

    assert asker_of(request(), ()).is_crowd is is_crowd
    proxied = asker_of(request(**{"x-real-ip": "203.0.113.7"}), ())
    assert proxied.is_crowd
    assert proxied.visitor != asker_of(Request({
        "type": "http", "client": ("127.0.0.1", 1), "headers": []}), ()).visitor
    for more in ({"authorization": "Bearer x"}, {HEADER: new_token()}):
        assert not asker_of(request(**more), ()).is_crowd


def test_a_program_that_hangs_up_frees_the_device(app: App) -> None:
    app.hang_up("/sdapi/v1/txt2img", {
        "prompt": "a cat", "steps": 2000, "alwayson_scripts": easel(pause_s=0.05)})
    app.wait_until_idle(90)


def test_the_settings_of_a_picture_are_read(app: App, api: WebUIApi) -> None:
    drawn = draw(api, prompt="a red apple", steps=2, seed=3, alwayson_scripts=easel())
    found = httpx.post(address(app, "png-info"), timeout=300,
                       json={"image": drawn.json["images"][0]}).json()  # type: ignore[index]
    assert found["info"].startswith("a red apple\n")
    assert found["parameters"]["steps"] == "2"
    assert found["parameters"]["Seed"] == "3"
    assert set(found["items"]) == {"parameters", "easel"}
    assert api.png_info(RED).info == ""


@pytest.mark.parametrize(("path", "fields", "status", "says"), [
    ("txt2img", {"batch_size": 0}, 422, "greater than or equal to 1"),
    ("txt2img", {"n_iter": 17}, 422, "less than or equal to 16"),
    ("txt2img", {"batch_size": 16, "n_iter": 16}, 422, "between 1 and 16"),
    ("txt2img", {"seed": "x"}, 422, "valid integer"), ("txt2img", {"prompt": 5}, 422, "string"),
    ("txt2img", {"prompt": " "}, 422, "prompt is empty"),
    ("txt2img", {"width": 0}, 422, "greater than or equal to 1"),
    ("txt2img", {"steps": -1}, 422, "Steps must be"),
    ("txt2img", {"override_settings": {"sd_model_checkpoint": "nobody"}}, 404, "Model not found"),
    ("txt2img", {"alwayson_scripts": {"controlnet": {"args": []}}}, 422, "controlnet not found"),
    ("txt2img", {"alwayson_scripts": easel(colour="red")}, 422, "no option called"),
    ("img2img", {}, 404, "Init image not found"),
    ("img2img", {"init_images": ["@@@"]}, 500, "Invalid encoded image"),
    ("img2img", {"init_images": ["AAAA"]}, 500, "Invalid encoded image"),
    ("img2img", {"init_images": ["http://example.org/x.png"]}, 500, "Requests not allowed"),
    ("img2img", {"init_images": ["AAAA"], "mask": "AAAA"}, 422, "mask"),
    ("img2img", {"init_images": ["AAAA"], "denoising_strength": 0.5}, 422,
     "sketch draws by no denoising: leave denoising_strength out, or at 0.75"),
    ("img2img", {"init_images": ["AAAA"], "denoising_strength": 1.5}, 422, "from 0 to 1"),
    ("txt2img", {"denoising_strength": "much"}, 422, "valid number"),
    ("txt2img", {"script_name": "X/Y/Z plot"}, 422, "Script 'X/Y/Z plot' not found"),
    ("png-info", {"image": "@@@"}, 500, "Invalid encoded image"),
    ("options", {"sd_model_checkpoint": "nobody"}, 500, "model 'nobody' not found"),
    ("interrogate", {}, 404, "Not Found")])
def test_bad_requests_are_refused_as_the_original_does(app: App, path: str, fields: dict[str, Any],
                                                       status: int, says: str) -> None:
    finished = app.sketch.finished
    answer = httpx.post(address(app, path), json={"prompt": "a cat", **fields}, timeout=300)
    assert answer.status_code == status, answer.text
    body = answer.json()
    if status == 422 and isinstance(body["detail"], list):
        assert [set(each) for each in body["detail"]] == [{"type", "loc", "msg"}]
        assert says in body["detail"][0]["msg"]
    else:
        assert set(body) == {"error", "detail", "body", "errors"}
        assert says in body["errors"]
    assert app.sketch.finished == finished


@pytest.mark.parametrize(("path", "fields", "place", "kind"), [
    ("txt2img", {"steps": "x"}, ["steps"], "int_parsing"),
    ("txt2img", {"steps": 2.5}, ["steps"], "int_from_float"),
    ("txt2img", {"steps": True}, ["steps"], "number_type"),
    ("txt2img", {"cfg_scale": "x"}, ["cfg_scale"], "float_parsing"),
    ("txt2img", {"hr_scale": []}, ["hr_scale"], "float_type"),
    ("txt2img", {"styles": ["a", 5]}, ["styles", 1], "string_type"),
    ("txt2img", {"alwayson_scripts": []}, ["alwayson_scripts"], "dict_type"),
    ("txt2img", {"override_settings": "x"}, ["override_settings"], "dict_type"),
    ("txt2img", {"width": 0}, ["width"], "greater_than_equal"),
    ("img2img", {"init_images": "AAAA"}, ["init_images"], "list_type"),
    ("img2img", {"init_images": [None]}, ["init_images"], "string_type"),
    ("txt2img", [], [], "dict_type"), ("options", [], [], "dict_type"),
    ("txt2img", b'{"prompt"', [], "json_invalid"), ("txt2img", b"", [], "json_invalid")])
def test_a_wrong_type_is_told_where_it_stands(app: App, path: str, fields: Any, kind: str,
                                              place: list[Any]) -> None:
    """Of fields that no generator here has a use for, too."""
    sent = fields if isinstance(fields, bytes) else json.dumps(
        {"prompt": "a cat", **fields} if isinstance(fields, dict) else fields)
    answer = httpx.post(address(app, path), content=sent, timeout=300)
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["detail"]
    assert (fault["loc"], fault["type"]) == (["body", *place], kind)


def test_an_option_of_another_name_is_told_by_the_field_that_came(app: App) -> None:
    registry = Registry()
    registry.register(VQGANCLIPPipeline())
    with pytest.raises(InvalidRequest) as raised:
        a1111_fields.read_fields({"prompt": "a cat", "steps": 5000}, False, "vqgan_clip", registry)
    assert raised.value.field == "steps"


def test_the_parameters_are_the_fields_of_the_original_at_its_defaults(app: App) -> None:
    """A program may read any of them; what is none of them, a password perhaps, is not sent on."""
    drawn = httpx.post(address(app, "txt2img"), timeout=300, json={
        "prompt": "a cat", "steps": "3", "width": 64.0, "auth": "me:secret", "styles": None,
        "alwayson_scripts": easel()}).json()
    said = drawn["parameters"]
    assert {name: said[name] for name in ("steps", "width", "height", "cfg_scale", "hr_scale")} == {
        "steps": 3, "width": 64, "height": 512, "cfg_scale": 7.0, "hr_scale": 2.0}
    assert not {"auth", "init_images"} & set(said)
    info = json.loads(drawn["info"])
    assert (info["steps"], info["cfg_scale"], info["all_subseeds"]) == (3, None, [-1])
    assert {"all_negative_prompts", "subseed", "subseed_strength", "restore_faces", "sd_vae_name",
            "denoising_strength", "seed_resize_from_w", "version"} <= set(info)
    assert info["extra_generation_params"]["ignored"] == []


@pytest.mark.parametrize(("method", "path", "allowed"), [
    ("GET", "txt2img", "POST"), ("POST", "samplers", "GET"), ("DELETE", "options", "GET, POST")])
def test_a_wrong_method_is_told_as_fastapi_does(app: App, method: str, path: str, allowed: str,
                                                ) -> None:
    answer = httpx.request(method, address(app, path), timeout=300)
    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(("method", "headers", "status"), [
    ("POST", {"origin": "https://example.org"}, 403), ("GET", {"host": "example.org"}, 421),
    ("PUT", {}, 404)])
def test_what_reaches_no_answer_is_refused_in_that_form_too(app: App, method: str, status: int,
                                                            headers: dict[str, str]) -> None:
    answer = httpx.request(method, address(app, "interrogate"), headers=headers, timeout=300)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "detail", "body", "errors"}


def test_a_size_that_there_is_not_is_the_nearest_one(app: App) -> None:
    answer = httpx.post(address(app, "txt2img"), timeout=300, json={
        "prompt": "a cat", "width": 1000, "height": 1000, "alwayson_scripts": easel()}).json()
    assert f"Size: {SIDE_PX}x{SIDE_PX}" in answer["info"]


@pytest.mark.parametrize(("fields", "shape"), [
    ({"width": 768, "height": 512}, (768, 528)), ({"width": 500, "height": 800}, (512, 800)),
    ({}, (512, 512)), ({"width": 5000, "height": 5000}, (1536, 1536))])
def test_width_and_height_are_the_nearest_that_are_drawn(fields: dict[str, Any],
                                                         shape: tuple[int, int]) -> None:
    registry = Registry()
    registry.register(VQGANCLIPPipeline())
    options = a1111_fields.read_fields({"prompt": "a cat", **fields}, False, "vqgan_clip",
                                       registry).request.options
    wanted = VQGANCLIPPipeline().shapes_px()[shape]
    assert {name: getattr(options, name) for name in wanted} == wanted


def test_a_password_opens_the_door_where_one_is_asked_for(app: App) -> None:
    door = A1111Door(app.backend, DoorRuns(app.backend), Bodies(2**20, HeldBodies()), (KEY,))
    with TestClient(Starlette(routes=door.routes())) as http_client:
        for auth, says in ((None, "Not authenticated"),
                           (("easel", "wrong"), "Incorrect username or password")):
            answer = http_client.get("/sdapi/v1/options", auth=auth)  # type: ignore[arg-type]
            assert (answer.status_code, answer.json()) == (401, {
                "error": "HTTPException", "detail": says, "body": "", "errors": says})
            assert answer.headers["www-authenticate"] == "Basic"
        assert http_client.get("/sdapi/v1/options", auth=("easel", KEY)).status_code == 200

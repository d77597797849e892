"""Open WebUI and SillyTavern at the doors: the requests that they send, and what they read.

Source: open-webui/open-webui, ``backend/open_webui/routers/images.py``; SillyTavern/SillyTavern,
``src/endpoints/stable-diffusion.js`` and ``public/scripts/extensions/stable-diffusion/index.js``.
SillyTavern asks OpenAI itself for OpenAI's pictures, so that A1111's API is its way to Easel.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.served import App
from tests.sketch import SIDE_PX

EASEL = {"easel": {"args": [{"pause_s": 0}]}}
SIZE = f"{SIDE_PX}x{SIDE_PX}"
# What Open WebUI makes of its setting where there is none, an empty one or one of "name:password";
# SillyTavern's header is never left out.
AUTHORIZATIONS = ["", "Basic", "Basic " + base64.b64encode(b"me:secret").decode()]


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(queue_size=4)
    yield served
    served.close()


@pytest.fixture(params=AUTHORIZATIONS, ids=["none", "empty", "password"])
def web(app: App, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=app.url, timeout=300, headers={
            "authorization": request.param}) as found:
        yield found


def picture(text: str) -> Image.Image:
    """A picture as both read it."""
    return Image.open(io.BytesIO(base64.b64decode(text.rpartition(",")[2])))


def read(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_open_webui_chooses_a_model_and_draws_by_a1111(web: httpx.Client) -> None:
    options = read(web.get("sdapi/v1/options"))
    models = read(web.get("sdapi/v1/sd-models"))
    assert [(each["title"], each["model_name"]) for each in models] == [
        ("sketch", "sketch"), ("etching", "etching")]
    for model in ("etching", "sketch"):  # it sends all options back
        read(web.post("sdapi/v1/options", json={**options, "sd_model_checkpoint": model}))
        assert read(web.get("sdapi/v1/options"))["sd_model_checkpoint"] == model
    drawn = read(web.post("sdapi/v1/txt2img", json={
        "prompt": "a red apple", "batch_size": 2, "width": 512, "height": 512, "steps": 2,
        "negative_prompt": "a worm", "alwayson_scripts": EASEL}))
    assert [picture(each).size for each in drawn["images"]] == [(SIDE_PX, SIDE_PX)] * 2
    assert isinstance(drawn["info"], str)


@pytest.mark.parametrize("query", ["", "?api-version=2025-04-01-preview"])
def test_open_webui_draws_and_edits_by_openai(app: App, query: str) -> None:
    with httpx.Client(base_url=app.url, timeout=300,
                      headers={"authorization": "Bearer sk-any"}) as web:
        drawn = read(web.post(f"v1/images/generations{query}", json={
            "model": "sketch", "prompt": "a red apple", "n": 2, "size": SIZE,
            "response_format": "b64_json", "options": {"pause_s": 0}}))
        start = drawn["data"][0]["b64_json"]
        assert [picture(each["b64_json"]).size for each in drawn["data"]] == [
            (SIDE_PX, SIDE_PX)] * 2
        linked = read(web.post(f"v1/images/generations{query}", json={
            "model": "sketch", "prompt": "a red apple", "n": 1, "size": "auto",
            "response_format": "url", "options": {"pause_s": 0}}))
        fetched = web.get(linked["data"][0]["url"])
        assert fetched.headers["content-type"].partition("/")[0] == "image"
        for name in ("image", "image[]"):
            edited = read(web.post(f"v1/images/edits{query}", data={
                "model": "sketch", "prompt": "a green apple", "n": "1", "size": SIZE,
                "response_format": "b64_json", "options[pause_s]": "0"}, files={
                    name: ("0b5c.png", base64.b64decode(start), "image/png")}))
            assert picture(edited["data"][0]["b64_json"]).size == (SIDE_PX, SIDE_PX)


def sent_by_sillytavern(**more: Any) -> dict[str, Any]:
    """The body of its txt2img at its defaults; where it sends undefined JSON has nothing."""
    return {
        "url": "http://localhost:7860", "auth": "me:secret", "prompt": "best quality, a red apple",
        "negative_prompt": "lowres, bad anatomy", "sampler_name": "DDIM", "scheduler": "normal",
        "steps": 20, "cfg_scale": 7, "width": 512, "height": 512, "restore_faces": False,
        "enable_hr": False, "hr_upscaler": "Latent", "hr_scale": 2, "hr_additional_modules": [],
        "denoising_strength": 0.7, "hr_second_pass_steps": 0,
        "override_settings": {"CLIP_stop_at_last_layers": 1},
        "override_settings_restore_afterwards": True, "clip_skip": 1, "save_images": True,
        "send_images": True, "do_not_save_grid": False, "do_not_save_samples": False, **more}


def test_sillytavern_connects_chooses_and_draws(web: httpx.Client) -> None:
    assert web.get("sdapi/v1/options").status_code == 200
    for name in ("upscalers", "latent-upscale-modes", "samplers", "schedulers"):
        assert all(each["name"] for each in read(web.get(f"sdapi/v1/{name}")))
    for name in ("sd-vae", "sd-modules"):
        assert all(each["model_name"] for each in read(web.get(f"sdapi/v1/{name}")))
    assert [each["title"] for each in read(web.get("sdapi/v1/sd-models"))] == ["sketch", "etching"]
    read(web.post("sdapi/v1/options", json={"sd_model_checkpoint": "sketch"}))
    now = read(web.get("sdapi/v1/progress"))
    assert (now["progress"], now["state"]["job_count"]) == (0, 0), "or it waits for twenty seconds"
    assert "forge_preset" not in read(web.get("sdapi/v1/options"))
    for body in (sent_by_sillytavern(alwayson_scripts=EASEL),
                 sent_by_sillytavern(alwayson_scripts=EASEL, seed=7, enable_hr=True,
                                     override_settings={"CLIP_stop_at_last_layers": 2,
                                                        "sd_vae": "some.safetensors"})):
        drawn = read(web.post("sdapi/v1/txt2img", json=body))
        assert picture(drawn["images"][0]).size == (SIDE_PX, SIDE_PX)


def test_sillytavern_stops_a_picture(app: App, web: httpx.Client) -> None:
    """It asks for an interrupt without a body, and drops its own request at the same time."""
    app.hang_up("/sdapi/v1/txt2img", sent_by_sillytavern(
        steps=2000, alwayson_scripts={"easel": {"args": [{"pause_s": 0.02}]}}))
    assert read(web.post("sdapi/v1/interrupt")) == {}
    app.wait_until_idle(90)
    end = time.monotonic() + 90
    while read(web.get("sdapi/v1/progress"))["state"]["job_count"]:
        assert time.monotonic() < end, "the run is still told of"
        time.sleep(0.02)


def test_what_sillytavern_adds_for_faces_is_refused_as_where_it_is_not_installed(app: App) -> None:
    answer = httpx.post(f"{app.url}sdapi/v1/txt2img", timeout=300, json=sent_by_sillytavern(
        alwayson_scripts={"ADetailer": {"args": [True, True, {"ad_model": "face_yolov8n.pt"}]}}))
    assert answer.status_code == 422
    assert json.loads(answer.text)["detail"] == "always on script ADetailer not found"

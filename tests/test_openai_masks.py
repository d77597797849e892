"""Edits within a mask, by OpenAI's own client against the page's server."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai import OpenAI
from PIL import Image

from pipelines.core.metadata import read_png
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.served import App
from tests.small_models import small_cache
from tests.watched_sketch import WatchedSketch

TEAL = (0, 128, 128)
FAST = {"drawer": "pixel", "iterations": 3, "size_px": 128}


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App([WatchedSketch(), VQGANCLIPPipeline()], small_cache(), queue_size=4)
    yield served
    served.close()


@pytest.fixture(scope="module")
def client(app: App) -> OpenAI:
    return OpenAI(base_url=f"{app.url}v1", api_key="sk-anything", max_retries=0, timeout=300)


def png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def start() -> bytes:
    return png(Image.new("RGB", (128, 128), TEAL))


def left_half(transparent: bool, side_px: int = 128) -> bytes:
    """A mask whose left half may change: transparent there, as OpenAI has it, or white."""
    mask = Image.new("RGBA", (side_px, side_px), "black")
    mask.paste((0, 0, 0, 0) if transparent else "white", (0, 0, side_px // 2, side_px))
    return png(mask)


def edited(client: OpenAI, mask: Any, **fields: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """The picture (H, W, 3) and its facts."""
    drawn = client.images.edit(image=("a.png", start()), mask=mask, prompt="a red apple",
                               model="vqgan_clip",
                               extra_body={"seed": 5, "options": FAST}, **fields)
    assert drawn.data
    data = base64.b64decode(drawn.data[0].b64_json or "")
    return np.array(Image.open(io.BytesIO(data))), read_png(data)["easel"]


def changed(image: np.ndarray) -> tuple[float, float]:
    """How far the left and the right half are from the start at most; the seam is left out."""
    far = np.abs(image.astype(int) - TEAL).max(axis=2)
    width = image.shape[1]
    return far[:, :3 * width // 8].max(), far[:, 5 * width // 8:].max()


@pytest.mark.parametrize("transparent", [True, False])
def test_a_picture_changes_where_the_mask_says(client: OpenAI, transparent: bool) -> None:
    mask = left_half(transparent)
    image, facts = edited(client, ("m.png", mask))
    left, right = changed(image)
    assert left > 10
    assert right <= 2
    assert facts["init_image_sha256"]
    assert facts["mask_sha256"] == hashlib.sha256(mask).hexdigest()


def test_a_mask_may_have_another_size_and_come_in_json(app: App, client: OpenAI) -> None:
    small = left_half(True, 64)
    image, _ = edited(client, ("m.png", small))
    left, right = changed(image)
    assert left > 10
    assert right <= 2
    answer = httpx.post(f"{app.url}v1/images/edits", timeout=300, json={
        "prompt": "a red apple", "model": "vqgan_clip", "seed": 5, "options": FAST,
        "image": base64.b64encode(start()).decode(), "mask": base64.b64encode(small).decode()})
    assert answer.status_code == 200, answer.text
    data = base64.b64decode(answer.json()["data"][0]["b64_json"])
    assert np.array_equal(np.array(Image.open(io.BytesIO(data))), image)


@pytest.mark.parametrize(("mask", "fields", "param"), [
    (b"nothing", {}, "mask"), (png(Image.new("L", (128, 128), "white")), {}, "mask"),
    (png(Image.new("L", (128, 128), "black")), {}, "mask"),
    (left_half(True), {"model": "sketch"}, "mask"),
    (left_half(True), {"extra_body": {"options": {"iterations": 0}}}, "iterations"),
    (left_half(True), {"extra_body": {"options": {"colour": "red"}}}, "colour"),
    (left_half(True), {"extra_body": {"colour": {"a": "red"}}}, "colour"),
    (left_half(True), {"extra_body": {"options": {"size_px": {"a": 1}}}}, "options[size_px][a]")])
def test_a_mask_that_cannot_be_used_is_refused(client: OpenAI, mask: bytes, fields: dict[str, Any],
                                               param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(image=("a.png", start()), mask=("m.png", mask), prompt="a cat",
                           **{"model": "vqgan_clip", **fields})
    assert caught.value.param == param

"""How many read files at the same time, and that the memory comes back."""

from __future__ import annotations

import base64
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from easel.doors import in_turn
from easel.guard.turns import MAX_ALL, Turns, reading
from easel.guard.visitors import HEADER, asking, new_token, visitor_named
from easel.search import files
from easel.search.files import Decoded, PictureFile, decode
from easel.serving.jobs import Requester
from easel.serving.usage import ResidentMemory
from pipelines.core.errors import Busy
from pipelines.core.images import load_image
from pipelines.models.checkpoints.ids import RANKER
from pipelines.unclip.pipeline import UnclipPipeline
from tests.lab import write_pictures
from tests.served import App
from tests.small_models import small_cache
from tests.watched_sketch import WatchedSketch


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App([WatchedSketch(), UnclipPipeline()], small_cache())
    yield served
    served.close()


def taken(turns: Turns, held: ExitStack, visitor: str, address: str = "") -> None:
    with asking(Requester(visitor, address)):
        held.enter_context(turns.turn())


def test_one_visitor_one_address_and_all_have_their_most() -> None:
    turns = Turns(each=2, most=4)
    with ExitStack() as held:
        taken(turns, held, "a", "here")
        taken(turns, held, "a", "here")
        with pytest.raises(Busy, match=r"^Files of yours are being read 2 times"):
            taken(turns, held, "a", "there")
        taken(turns, held, "b", "here")
        with pytest.raises(Busy, match=r"^Files from your address are being read 3 times"):
            taken(turns, held, "c", "here")
        taken(turns, held, "c", "there")
        with pytest.raises(Busy, match=r"^Files of others are being read, 4 at the same time"):
            taken(turns, held, "d", "elsewhere")
    for _ in range(5):
        with ExitStack() as held:
            taken(turns, held, "d", "here")
            taken(turns, held, "d", "here")


def test_a_turn_that_fails_is_given_back() -> None:
    turns = Turns(each=1, most=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="no"), asking(Requester("a")), turns.turn():
            raise ValueError("no")


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not say how much is used")
def test_what_decoding_took_is_given_back() -> None:
    buffer = io.BytesIO()
    Image.new("L", (1500, 1500)).save(buffer, "PNG")
    turns, together = Turns(each=8, most=8), threading.Barrier(8)
    gauge = ResidentMemory()

    def read() -> None:
        with asking(Requester("a")), turns.turn():
            together.wait(60)
            pictures = [load_image(buffer.getvalue()) for _ in range(4)]
            assert len(pictures) == 4
            del pictures
            together.wait(60)

    gauge.settle()
    before = gauge.now()
    with ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(read) for _ in range(8)]:
            each.result()
        assert gauge.now() - before < 64 * 2**20


@pytest.mark.parametrize(("endpoint", "asked"), [
    ("/generate", ("a cat", ["sketch"], 1, 0, {})),
    ("/compare", ("a cat", [{"pipeline": "sketch"}] * 2, 1, None)),
    ("/sweep", ("a cat", "sketch", {"name": "seed", "values": "1"}, None, 1, None, None))])
def test_requests_that_bring_pictures_take_turns_too(app: App, tmp_path: Path, endpoint: str,
                                                     asked: tuple[Any, ...]) -> None:
    file = tmp_path / "start.png"
    Image.new("RGB", (64, 64)).save(file)
    client = app.client()
    with ExitStack() as held:
        for number in range(MAX_ALL):
            taken(reading, held, f"visitor {number}")
        with pytest.raises(AppError, match="Files of others are being read, 8 at the same time"):
            client.predict(*asked, handle_file(str(file)), api_name=endpoint)
        assert client.predict(*asked, api_name=endpoint), "who brings none waits for nobody"
    assert client.predict(*asked, handle_file(str(file)), api_name=endpoint)


@pytest.mark.parametrize("endpoint", ["/search", "/walk", "/inside_codes", "/inside_score",
                                      "/inside_stream", "/inside_mix", "/inside_complete",
                                      "/inside_patches"])
def test_a_single_picture_takes_a_turn_as_well(app: App, tmp_path: Path, endpoint: str) -> None:
    """One large picture after the other would hold up everybody's."""
    path = tmp_path / "one.png"
    Image.new("RGB", (64, 64)).save(path)
    file, client = handle_file(str(path)), app.client()
    client.predict("a cat", ["sketch"], 1, api_name="/generate")  # there is something to search
    asked = {"/search": ("history", "", "", file), "/inside_codes": (file,),
             "/inside_patches": (file,),
             "/walk": ("", "a cow", 2, 0, {"decoder_steps": 2, "prior_steps": 2}, file),
             "/inside_score": (file, "a cat"), "/inside_stream": (file, "a cat"),
             "/inside_mix": (file, file), "/inside_complete": (file, "a cat")}[endpoint]
    with ExitStack() as held:
        for number in range(MAX_ALL):
            taken(reading, held, f"visitor {number}")
        with pytest.raises(AppError, match="Files of others are being read, 8 at the same time"):
            client.predict(*asked, api_name=endpoint)
    assert client.predict(*asked, api_name=endpoint)


@pytest.mark.parametrize(("endpoint", "asked"), [
    ("/classify", {"labels": ["cat", "dog"]}), ("/text_picture_matrix", {"texts": ["a cat"]}),
    ("/index", {"place": "uploads"}), ("/search", {"place": "uploads", "text": "a cat"}),
    ("/near_duplicates", {"place": "uploads"}), ("/picture_map", {"place": "uploads"})])
def test_the_labs_pictures_take_a_turn_all_together(app: App, tmp_path: Path, endpoint: str,
                                                    asked: dict[str, Any]) -> None:
    """A hundred calls of thirty large pictures each were decoded for minutes, all at once."""
    images = [handle_file(str(path)) for path in write_pictures(tmp_path, 3)]
    client = app.client()
    with ExitStack() as held:
        for number in range(MAX_ALL):
            taken(reading, held, f"visitor {number}")
        with pytest.raises(AppError, match="Files of others are being read, 8 at the same time"):
            client.predict(images=images, api_name=endpoint, **asked)
        client.predict("a cat", ["sketch"], 1, api_name="/generate")
        assert client.predict(place="history", text="a cat", api_name="/search"), (
            "what nobody brings waits for nobody")
    assert client.predict(images=images, api_name=endpoint, **asked)


def test_pictures_are_read_no_longer_than_somebody_waits_for_them(
        app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio lets a function run to its end whose caller has gone."""
    read, gone, token = list[str](), threading.Event(), new_token()

    def held_up(file: PictureFile, side_px: int) -> Decoded:
        read.append(file.key)
        assert gone.wait(120), "the caller stays"
        return decode(file, side_px)

    monkeypatch.setattr(files, "decode", held_up)
    file = write_pictures(tmp_path, 1)[0].read_bytes()
    with httpx.Client(base_url=f"{app.url}gradio_api/", timeout=300,
                      headers={HEADER: token}) as web:
        paths = web.post("upload", files=[("files", (f"{n}.png", file)) for n in range(40)]).json()
        call = web.post("call/classify", json={"data": [
            [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths],
            ["cat", "dog"], None, RANKER, "uploads", False]}).json()["event_id"]
        with web.stream("GET", f"call/classify/{call}"):
            wait_until(lambda: bool(read))
    run, = app.playground.runs.of_visitor(visitor_named(token))
    wait_until(lambda: run.stopped)
    gone.set()
    wait_until(lambda: not app.playground.runs.of_visitor(visitor_named(token)))
    assert len(read) < len(paths)


def wait_until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("door", ["png-info", "img2img", "edits", "rerank", "generate"])
def test_programs_wait_for_a_turn_and_not_for_ever(app: App, monkeypatch: pytest.MonkeyPatch,
                                                   door: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    file = base64.b64encode(buffer.getvalue()).decode()
    tools = {"rerank": {"prompts": ["a cat"], "images": [file]},
             "generate": {"prompt": "a cat", "init_image": file, "options": {"steps": 1}}}

    def asked() -> httpx.Response:
        with httpx.Client(base_url=app.url, timeout=300) as web:
            if door == "edits":
                return web.post("v1/images/edits", data={"prompt": "a cat", "n": "1"},
                                files={"image": ("a.png", buffer.getvalue())})
            if door in tools:
                return web.post("mcp", headers={"accept": "application/json, text/event-stream"},
                                json={"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                                      "params": {"name": door, "arguments": tools[door]}})
            return web.post(f"sdapi/v1/{door}", json={"image": file, "prompt": "a cat",
                                                      "init_images": [file], "steps": 1})

    with ExitStack() as held, ThreadPoolExecutor(1) as pool:
        for number in range(MAX_ALL):
            taken(reading, held, f"visitor {number}")
        monkeypatch.setattr(in_turn, "PATIENCE_S", 0.0)
        refused = asked()
        assert "Files of others are being read, 8 at the same time" in refused.text
        assert refused.status_code in ((200,) if door in tools else (429, 503))
        monkeypatch.setattr(in_turn, "PATIENCE_S", 120.0)
        waits = pool.submit(asked)
        held.close()
        answer = waits.result(120)
    assert answer.status_code == 200, answer.text
    assert "being read" not in answer.text
    assert '"isError":true' not in answer.text.replace(" ", "")

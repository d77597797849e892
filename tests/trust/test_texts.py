"""Cases 1 to 6, 11, 37 and 45: texts of strangers, in requests, in pictures and in file names."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipelines.core.request import MAX_PROMPT_CHARS
from tests.conftest import REPOSITORY
from tests.served import App
from tests.trust.conftest import Refusal

SCRIPT = '<script>alert(1)</script><img src=x onerror="alert(1)">'


def picture(folder: Path, **texts: str) -> Any:
    facts = PngInfo()
    for name, text in texts.items():
        facts.add_text(name, text)
    path = folder / "picture.png"
    Image.new("RGB", (8, 8)).save(path, pnginfo=facts)
    return handle_file(str(path))


@pytest.mark.parametrize("prompt", ["", " \n\t "])
def test_case_1_an_empty_prompt_starts_no_job(app: App, client: Client, refusal: Refusal,
                                              prompt: str) -> None:
    finished = app.sketch.finished
    assert "empty" in refusal(client, "/generate", prompt, ["sketch"])
    assert app.sketch.finished == finished


@pytest.mark.parametrize(("prompt", "says"), [
    ("a" * 100_000, "characters"), ("a\0b", "NUL")])
def test_case_2_impossible_prompts_are_refused(client: Client, refusal: Refusal, prompt: str,
                                               says: str) -> None:
    assert says in refusal(client, "/generate", prompt, ["sketch"])


def test_case_2_no_box_for_a_prompt_cuts_in_silence(app: App) -> None:
    """A browser cuts what is longer without a word; the server refuses it in a sentence."""
    components = httpx.get(f"{app.url}config", timeout=30).json()["components"]
    boxes = {part["props"]["elem_id"]: part["props"]["max_length"] for part in components
             if part["props"].get("elem_id") in ("prompt", "compare-prompt", "walk-start",
                                                 "walk-end")}
    assert len(boxes) == 4
    assert min(boxes.values()) >= 100 * MAX_PROMPT_CHARS


@pytest.mark.parametrize("prompt", ["قطة حمراء", "a 🐈‍⬛ on a 🛋️", "猫", SCRIPT])
def test_case_2_and_3_any_writing_is_drawn_and_kept_as_it_is(client: Client, prompt: str) -> None:
    _, details = client.predict(prompt, ["sketch"], 1, 0, {"sketch": {"steps": 1}},
                                api_name="/generate")
    _, kept = client.predict(details["pictures"][0]["id"], api_name="/history_show")
    assert kept["prompt"] == prompt


def test_case_4_and_5_what_a_picture_says_comes_back_as_data(client: Client, tmp_path: Path,
                                                             ) -> None:
    file = picture(tmp_path, parameters=f"{SCRIPT}\nNegative prompt: fog\nSteps: 20, Seed: 5, "
                                        "CFG scale: 7")
    found = client.predict(file, api_name="/picture_settings")
    assert found["prompt"] == SCRIPT
    assert found["negative_prompt"] == "fog"
    assert found["seed"] == 5


@pytest.mark.parametrize("number", ["NaN", "-1", "1e9", '"many"', "[1]", "Infinity", "1e400",
                                    "1" + "0" * 5000, "true", "null"])
def test_case_6_impossible_numbers_are_refused(app: App, number: str) -> None:
    """As JSON that no client would write."""
    finished = app.sketch.finished
    body = ('{"data": ["a cat", ["sketch"], 1, 0, {"sketch": {"steps": NUMBER}}, null, null, '
            'false, null, null, null]}').replace("NUMBER", number)
    answer = httpx.post(f"{app.url}gradio_api/call/generate", content=body, timeout=10,
                        headers={"content-type": "application/json"})
    if answer.status_code == 200:
        event = answer.json()["event_id"]
        text = httpx.get(f"{app.url}gradio_api/call/generate/{event}", timeout=20).text
        assert "event: error" in text, text
        assert "inside Easel" not in text
    else:
        assert 400 <= answer.status_code < 500, answer.text
    assert app.sketch.finished == finished


def test_case_11_a_file_name_is_made_harmless(app: App) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    files = {"files": ("../../e<script>.png", buffer.getvalue())}
    answer = httpx.post(f"{app.url}gradio_api/upload", files=files)
    (path,) = answer.json()
    assert Path(path).name == "escript.png"
    assert ".." not in path


@pytest.mark.parametrize("seed", [" ", "a", "1", ",", ":", '"', "a: ", '"a', "\\", "\n"])
def test_case_37_ten_kilobytes_of_anything_are_read_at_once(app: App, client: Client,
                                                            tmp_path: Path, seed: str) -> None:
    """Seconds of this process, so that a busy machine decides nothing; it took hours."""
    run = seed * (10_000 // len(seed))
    file = picture(tmp_path, parameters=f"cat\n{run}x", prompt=json.dumps({"1": run}),
                   invokeai_metadata=json.dumps({"positive_prompt": run, "model": run}))
    start = time.process_time()
    client.predict(file, api_name="/picture_settings")
    for endpoint, args in {
            "/sweep": (run, "sketch", {"name": "seed", "values": run + " x"}, None, 1),
            "/rerank": ([file], [run]), "/classify": ([file], [run, "a"]),
            "/unknown_words": (run,), "/search": ("history", run)}.items():
        with suppress(AppError):
            client.predict(*args, api_name=endpoint)
    assert time.process_time() - start < 10


HALF = "a \ud800 cat"


def test_case_45_a_picture_whose_text_is_none_is_read_with_the_others(client: Client,
                                                                      tmp_path: Path) -> None:
    """JSON in a file may escape half a character; the rest of the batch goes on."""
    for name in ("half", "whole"):
        (tmp_path / name).mkdir()
    half, whole = (picture(tmp_path / name, easel=json.dumps({"prompt": text, "pipeline": text}))
                   for name, text in (("half", HALF), ("whole", "a cow")))
    files = [half, whole]
    assert client.predict(half, api_name="/picture_settings")["prompt"] == "a  cat"
    last = client.predict("uploads", files, api_name="/index")
    assert (last["finished"], last["done"], last["unreadable"]) == (True, 2, [])
    hits = client.predict("uploads", "a cat", images=files, api_name="/search")["hits"]
    assert {hit["prompt"] for hit in hits} == {"a  cat", "a cow"}
    found = client.predict(files, ["a cat", "a cow"], api_name="/classify")
    assert len(found["pictures"]) == 2


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"\xff\xfe.png", "\u0000a.png".encode(),
                                  b"a\xed\xa0\x80.png"])
def test_case_45_a_file_name_in_other_bytes_is_taken_or_refused(app: App, name: bytes) -> None:
    form = (b'--b\r\ncontent-disposition: form-data; name="files"; filename="' + name
            + b'"\r\n\r\na\r\n--b--\r\n')
    answer = httpx.post(f"{app.url}gradio_api/upload", content=form, timeout=30, headers={
        "content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
    if answer.status_code == 200:
        json.dumps(answer.json(), ensure_ascii=False).encode()


@pytest.mark.parametrize(("path", "headers"), [
    ("history/export?text=%ff%fe", {}), ("history/export?text=%ed%a0%80", {}),
    ("gradio_api/file=%ff", {}), ("history/%ff/picture", {}), ("%ff", {}),
    ("gradio_api/queue/data?session_hash=%ff", {}),
    ("history/export", {"x-easel-visitor": b"\xff" * 43}),
    ("", {"accept-language": b"\xff\xfe"}), ("", {"cookie": b"easel_visitor=\xff"})])
def test_case_45_addresses_and_headers_in_other_bytes(app: App, path: str, headers: Any) -> None:
    with httpx.stream("GET", f"{app.url}{path}", headers=headers, timeout=30) as answer:
        assert answer.status_code < 500


@pytest.mark.parametrize(("endpoint", "args"), [
    ("search", ["history", HALF]), ("generate", [HALF]), ("rerank", [[], [HALF]]),
    ("history_list", [{"text": HALF}])])
def test_case_45_half_a_character_in_json_is_refused(app: App, endpoint: str, args: list[Any],
                                                     ) -> None:
    call = f"{app.url}gradio_api/call/{endpoint}"
    event = httpx.post(call, content=json.dumps({"data": args}), timeout=60, headers={
        "content-type": "application/json"}).json()["event_id"]
    said = httpx.get(f"{call}/{event}", timeout=60).text
    assert "half a character, which no file can store." in said


@pytest.mark.skipif(os.name != "posix", reason="arguments are text there")
def test_case_45_an_argument_in_other_bytes_is_refused(tmp_path: Path) -> None:
    path = Path(picture(tmp_path)["path"])
    ended = subprocess.run(
        [sys.executable, "-m", "pipelines", "rerank", str(path), "--prompt", b"caf\xe9"],
        cwd=REPOSITORY, capture_output=True,
        env={**os.environ, "EASEL_DATA_DIR": str(tmp_path), "EASEL_DEVICE": "cpu"})
    assert ended.returncode == 2
    assert b"half a character, which no file can store." in ended.stderr
    assert b"Traceback" not in ended.stderr

"""The real server through its API: what is drawn, what is refused, and what is left afterwards."""

from __future__ import annotations

import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from easel.settings import Settings
from easel.ui.generate.examples import EXAMPLES
from easel.words import strings
from easel.words.strings import FIRST_PROMPT
from pipelines.core.metadata import read_png
from tests.served import App

ENDPOINTS = {"/generate", "/rerank", "/stop", "/pipelines", "/examples", "/surprise",
             "/unknown_words", "/history_list", "/history_show", "/history_export",
             "/history_delete", "/history_restore", "/history_rate", "/history_token",
             "/picture_settings", "/compare", "/vote", "/leaders",
             "/bundle_export", "/bundle_open", "/bundle_replay", "/sweep",
             "/clips", "/classify", "/index", "/search", "/near_duplicates",
             "/text_picture_matrix", "/picture_map", "/models",
             "/queue", "/cancel", "/inside_score", "/inside_codes", "/inside_code",
             "/inside_patches",
             "/inside_stream", "/inside_contrast", "/inside_replay", "/inside_loop",
             "/inside_prior", "/inside_mix", "/inside_complete"}
LONG = {"steps": 2000, "pause_s": 0.05}  # far longer than any test waits


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App()
    yield served
    served.close()


@pytest.fixture(scope="module")
def client(app: App) -> Client:
    return app.client()


def generate(client: Client, **fields: Any) -> tuple[list[str], dict[str, Any]]:
    fields = {"prompt": "a red apple", "pipelines": ["sketch"], **fields}
    return client.predict(**fields, api_name="/generate")


def refusal(client: Client, **fields: Any) -> str:
    """The sentence with which a request is refused."""
    with pytest.raises(AppError) as caught:
        generate(client, **fields)
    sentence = str(caught.value)
    assert "Traceback" not in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def test_pictures_come_ranked_with_their_metadata(client: Client) -> None:
    files, details = generate(client, num_images=3, seed=7)
    pictures = details["pictures"]
    assert len(files) == len(pictures) == 3
    scores = [picture["clip"] for picture in pictures]
    assert scores == sorted(scores, reverse=True)
    assert {picture["seed"] for picture in pictures} == {7, 8, 9}
    for file, picture in zip(files, pictures, strict=True):
        easel = read_png(Path(file).read_bytes())["easel"]
        assert easel["prompt"] == "a red apple"
        assert easel["seed"] == picture["seed"]
        assert easel["scores"]["clip"] == pytest.approx(picture["clip"])
        assert read_png(Path(file).read_bytes())["parameters"]["Prompt"] == "a red apple"


def test_a_candidate_is_drawn_again_alone(client: Client) -> None:
    files, details = generate(client, num_images=3, seed=7)
    alone, _ = generate(client, num_images=1, seed=details["pictures"][1]["seed"])
    assert np.array_equal(np.asarray(Image.open(files[1])), np.asarray(Image.open(alone[0])))


def test_lineage_is_kept_of_ones_own_pictures_alone(app: App) -> None:
    client, stranger = app.client(), app.client()
    (first,), (other,) = (generate(c, num_images=1)[1]["pictures"] for c in (client, stranger))
    files, details = generate(client, num_images=1,
                              parents=[first["id"], other["id"], "f" * 32])
    child = client.predict(details["pictures"][0]["id"], api_name="/history_show")[1]
    assert child["ancestors"] == [first["id"]]
    assert details["unknown_parents"] == [other["id"], "f" * 32], "whose they are is not said"
    assert details["message"] == strings.PARENTS_UNKNOWN
    assert read_png(Path(files[0]).read_bytes())["easel"]["parents"] == [first["id"]]
    files, details = generate(client, num_images=1, parents=[other["id"]])
    assert "parents" not in read_png(Path(files[0]).read_bytes())["easel"]
    assert details["unknown_parents"] == [other["id"]]
    _, details = generate(client, num_images=1, parents=[first["id"]])
    assert not {"unknown_parents", "message"} & details.keys()


def test_two_generators_share_one_ranking(client: Client) -> None:
    _, details = generate(client, pipelines=["sketch", "etching"], num_images=2, seed=1,
                          options={"etching": {"blur": "none"}})
    pictures = details["pictures"]
    assert [panel["phase"] for panel in details["panels"]] == ["done", "done"]
    assert {picture["pipeline"] for picture in pictures} == {"sketch", "etching"}
    scores = [picture["clip"] for picture in pictures]
    assert scores == sorted(scores, reverse=True)
    assert [picture["rank"] for picture in pictures] == [1, 2, 3, 4]


def test_progress_is_streamed(client: Client) -> None:
    job = client.submit("a cat", ["sketch"], 1, 0, {"sketch": {"steps": 5, "pause_s": 0.2}},
                        None, api_name="/generate")
    steps = [details["panels"][0]["step"] for _, details in job]
    assert steps == sorted(steps)
    assert len(set(steps)) >= 3


@pytest.mark.parametrize(("fields", "says"), [
    ({"prompt": ""}, "empty"),
    ({"prompt": "  \n "}, "empty"),
    ({"prompt": "a" * 100_000}, "characters"),
    ({"prompt": "a\0b"}, "NUL"),
    ({"prompt": 5}, "text"),
    ({"num_images": 0}, "between 1 and 16"),
    ({"num_images": 1_000_000_000}, "between 1 and 16"),
    ({"num_images": 2.5}, "whole number"),
    ({"num_images": "many"}, "whole number"),
    ({"seed": -1}, "between 0 and"),
    ({"seed": 2**32}, "between 0 and"),
    ({"options": {"sketch": {"steps": 10**9}}}, "between 1 and 2000"),
    ({"options": {"sketch": {"steps": -1}}}, "between 1 and 2000"),
    ({"options": {"sketch": {"pause_s": "NaN"}}}, "Pause"),
    ({"options": {"sketch": {"pause_s": "Infinity"}}}, "Pause"),
    ({"options": {"sketch": {"blur": "loud"}}}, "Blur"),
    ({"options": {"sketch": {"stepps": 5}}}, "no option called"),
    ({"options": {"etching": {}}}, "does not run"),
    ({"options": [1]}, "object"),
    ({"options": {"sketch": 5}}, "object"),
    ({"pipelines": []}, "tick at least one"),
    ({"pipelines": ["nobody"]}, "no generator called"),
    ({"pipelines": "sketch"}, "list"),
    ({"pipelines": ["sketch", "sketch"]}, "twice"),
    ({"parents": "0" * 32}, "Parents"),
    ({"parents": ["../" * 10]}, "Parents"),
    ({"parents": [f"{index:032x}" for index in range(9)]}, "Parents"),
])
def test_bad_requests_are_refused_in_a_sentence(app: App, client: Client, fields: dict[str, Any],
                                                says: str) -> None:
    finished = app.sketch.finished
    assert says in refusal(client, **fields)
    assert app.sketch.finished == finished, "nothing ran"


def all_inputs(options: Any, pipelines: Sequence[str] = ("sketch",)) -> list[Any]:
    """What /generate takes, whole: with fewer values nothing at all would run."""
    return ["a dog", list(pipelines), 1, 0, options, None, None, False, None, None, None]


def test_real_nan_is_refused(app: App) -> None:
    """The client cannot say NaN, a program of one's own can."""
    finished = app.sketch.finished
    body = json.dumps({"data": all_inputs({"sketch": {"pause_s": float("nan")}})})
    assert "NaN" in body
    answer = httpx.post(f"{app.url}gradio_api/call/generate", content=body, timeout=10,
                        headers={"Content-Type": "application/json"})
    if answer.status_code == 200:
        event = answer.json()["event_id"]
        text = httpx.get(f"{app.url}gradio_api/call/generate/{event}", timeout=10).text
        assert "event: error" in text
        assert "is not finite" in text
    else:
        assert 400 <= answer.status_code < 500
    app.wait_until_idle()
    assert app.sketch.finished == finished


def encoded(size: tuple[int, int], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, kind, **options)
    return buffer.getvalue()


def huge_png(side_px: int) -> bytes:
    """A black 1-bit picture of 48 KB that would fill the memory of the careless."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(side_px * (1 + side_px // 8)), 9)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
            + chunk(b"IEND", b""))


@pytest.mark.parametrize(("make", "says"), [
    (lambda: b"not a picture", "not a PNG"),
    (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not a PNG"),
    (lambda: encoded((64, 64), "PNG")[:90], "damaged"),
    (lambda: huge_png(20_000), "pixels"),
    (lambda: encoded((64, 64), "GIF"), "not a PNG"),
    (lambda: b"", "empty"),
], ids=["text", "svg", "truncated", "huge", "gif", "empty"])
def test_wrong_init_images_are_refused(client: Client, tmp_path: Path, make: Any,
                                       says: str) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(make())
    assert says in refusal(client, init_image=handle_file(str(file)))


def test_a_good_init_image_is_taken(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(encoded((64, 48), "PNG"))
    files, _ = generate(client, num_images=1, init_image=handle_file(str(file)))
    assert read_png(Path(files[0]).read_bytes())["easel"]["init_image_sha256"]


def test_a_failure_inside_says_so_and_the_next_job_works(client: Client) -> None:
    sentence = refusal(client, options={"sketch": {"fail": True}})
    assert "told to fail" not in sentence, "the cause is for the log"
    assert generate(client, num_images=1)[0]


def test_one_failing_generator_does_not_take_the_other_down(client: Client) -> None:
    _, details = generate(client, pipelines=["sketch", "etching"], num_images=1,
                          options={"sketch": {"fail": True}})
    assert [panel["phase"] for panel in details["panels"]] == ["failed", "done"]
    assert [picture["pipeline"] for picture in details["pictures"]] == ["etching"]


def start_long(client: Client, pipelines: tuple[str, ...] = ("sketch",)) -> Any:
    """A job that runs, seen to have taken a step."""
    job = client.submit("a dog", list(pipelines), 1, 0, {name: LONG for name in pipelines}, None,
                        api_name="/generate")
    end = time.monotonic() + 60
    while not any(details["panels"][0]["step"] for _, details in job.outputs()):
        assert time.monotonic() < end, "the job never began"
        time.sleep(0.02)
    return job


def test_stop_keeps_the_best_so_far_and_frees_the_device(app: App) -> None:
    client = app.client()
    job = start_long(client, ("sketch", "etching"))
    finished = app.etching.finished
    assert client.predict(api_name="/stop") == 1
    files, details = job.result(timeout=60)
    assert len(files) == 1
    assert [panel["phase"] for panel in details["panels"]] == ["stopped", "stopped"]
    app.wait_until_idle()
    assert app.etching.finished == finished, "what was next in line never began"
    assert generate(client, num_images=1)[0]


def test_stop_without_a_picture_is_said(app: App) -> None:
    client = app.client()
    job = start_long(client, ("etching",))
    client.predict(api_name="/stop")
    with pytest.raises(AppError, match="Stopped before a picture was finished"):
        job.result(timeout=60)
    app.wait_until_idle()


def test_stop_ends_only_ones_own_runs(app: App) -> None:
    mine, other = app.client(), app.client()
    job = start_long(mine)
    assert other.predict(api_name="/stop") == 0
    assert app.sketch.running == 1
    mine.predict(api_name="/stop")
    job.result(timeout=60)


def test_a_closed_tab_frees_the_device(app: App) -> None:
    session = {"session_hash": "closedtab1"}
    config = httpx.get(f"{app.url}config").json()
    index = next(d["id"] for d in config["dependencies"] if d["api_name"] == "generate")
    httpx.post(f"{app.url}gradio_api/queue/join", json={
        "data": all_inputs({"sketch": LONG}), "fn_index": index, **session}).raise_for_status()
    ran = False
    with httpx.stream("GET", f"{app.url}gradio_api/queue/data", params=session) as events:
        for line in events.iter_lines():
            ran = "process_generating" in line and bool(app.sketch.running)
            if ran:
                break
    assert ran, "there was something to free"
    app.wait_until_idle()


def test_a_full_queue_is_said(app: App) -> None:
    """One runs, one waits (``queue_size=1``), the third is told."""
    clients = [app.client() for _ in range(3)]
    running = start_long(clients[0])
    waiting = clients[1].submit("a dog", ["sketch"], 1, 0, {}, None, api_name="/generate")
    end = time.monotonic() + 60
    while not any("Waiting" in d["panels"][0]["message"] for _, d in waiting.outputs()):
        assert time.monotonic() < end, "the second job is not told that it waits"
        time.sleep(0.02)
    assert "queue is full" in refusal(clients[2])
    clients[0].predict(api_name="/stop")
    assert running.result(timeout=60)[0]
    assert waiting.result(timeout=60)[0]


def test_runs_never_overlap_on_the_device(app: App) -> None:
    jobs = [threading.Thread(target=generate, args=(app.client(),), kwargs={"num_images": 2})
            for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(20)
    assert app.sketch.most_running == 1


def test_every_endpoint_is_named_and_documented(client: Client) -> None:
    described: Any = client.view_api(return_format="dict", print_info=False)
    named = described["named_endpoints"]
    assert set(named) == ENDPOINTS
    assert all(endpoint["description"] for endpoint in named.values())
    assert [p["parameter_name"] for p in named["/generate"]["parameters"]] == [
        "prompt", "pipelines", "num_images", "seed", "options", "init_image", "best_of",
        "video", "parents", "image_prompts", "mask"]


def test_look_ups(app: App, client: Client) -> None:
    assert client.predict(api_name="/examples") == {k: list(v) for k, v in EXAMPLES.items()}
    pipelines = client.predict(api_name="/pipelines")
    assert pipelines["sketch"]["options"]["properties"]["steps"]["maximum"] == 2000
    assert app.playground.vocabulary is not None
    assert client.predict("a red zzyzx", api_name="/unknown_words") == ["zzyzx"]
    first, second = (client.predict(api_name="/surprise") for _ in range(2))
    assert isinstance(first, str)
    assert first
    assert first != second


def test_the_embedded_models_know_every_word_of_the_examples(app: App) -> None:
    vocabulary = app.playground.vocabulary
    assert vocabulary is not None
    prompts = [FIRST_PROMPT, *(p for prompts in EXAMPLES.values() for p in prompts)]
    assert {p: vocabulary.unknown_words(p) for p in prompts if vocabulary.unknown_words(p)} == {}
    assert not any(vocabulary.truncated(prompt) for prompt in prompts)


@pytest.mark.parametrize("path", ["/etc/passwd", "pyproject.toml", "app.py",
                                  "../../etc/passwd"])
def test_files_of_the_machine_are_not_served(app: App, path: str) -> None:
    assert httpx.get(f"{app.url}gradio_api/file={path}").status_code in (403, 404)


def test_an_oversize_upload_is_refused(app: App) -> None:
    too_large = b"0" * (int(Settings().max_upload) + 1000)
    answer = httpx.post(f"{app.url}gradio_api/upload", files={"files": ("a.png", too_large)},
                        timeout=30)
    assert answer.status_code == 413


def test_nothing_on_the_page_names_another_host(app: App) -> None:
    """What the browser would fetch at once; tests/test_browser.py watches it do so."""
    config = httpx.get(f"{app.url}config").json()
    assert config["analytics_enabled"] is False
    assert "fonts.googleapis" not in json.dumps(config.get("stylesheets"))

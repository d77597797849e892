"""Every address and every function, with what nobody expects and with what is somebody else's."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from PIL import Image

from easel.guard.visitors import HEADER, new_token, visitor_named
from easel.words import strings
from pipelines.core.request import PICTURES
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.served import App
from tests.small_models import small_cache
from tests.test_call_net import log
from tests.trust.writers import pause_at
from tests.watched_sketch import WatchedSketch

SECRET = "a secret cow of Anna"
FAULTS = (strings.UNEXPECTED, "inside Easel", "Traceback", '"error":null', '"error": null')
VALUES: list[Any] = ["x", 10**9, -1.5, True, [], {}, [None], [{}], {"a": None}, "../../x"]
ODD: list[Any] = ["", None, 10**400, "\ud800", "\0", [[1, 0]], [[]], "0 1" * 9999, "<b>", -0.0,
                  1e308, {"\ud800": 1}, [[[0]]] * 9, "\u202e\x1b[31m", ["a", "a"]]
# A part of an address, of which each place gets one.
PARTS = ("x", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "%ff%fe", "-1", "a" * 300, "é 𝕏")
BODIES = (b"", b"x", b"null", b"5", b"[]", b"{}", b'{"data": 5}', b'{"data": null, "fn_index": 0}',
          b'{"data": [], "fn_index": "x"}', b'{"data": [], "fn_index": [1], "session_hash": "s"}',
          b'{"data": [[[]]], "event_data": 5, "trigger_id": "x", "session_hash": "s"}',
          b'{"event_id": 5, "session_hash": "s", "fn_index": {}}', b'{"data": "\\ud800"}',
          b"[" * 5000, b"\xff\xfe", b'{"data": {"a": NaN}}')
KINDS = ("application/json", "application/json", "application/json", "text/plain",
         "multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "")
QUERIES = ("", "?session_hash=s", "?session_hash=s&session_hash=t&upload_id=%00", "?%ff=%ff&a",
           "?page=-1&size=x&format=%00&ids=x&ids=..%2f")
STREAMS = "text/event-stream"
__all__ = ["log"]


@dataclass(frozen=True)
class Anna:
    """A visitor, and the names of what is hers."""

    token: str
    owner: str
    picture: str
    comparison: str
    run: str


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    sketch = WatchedSketch()
    served = App([sketch, VQGANCLIPPipeline()], small_cache(), queue_size=20)
    served.sketch = sketch
    yield served
    served.close()


@pytest.fixture(scope="module")
def anna(app: App) -> Anna:
    token = new_token()
    client = app.client(**{HEADER: token})
    options = {"sketch": {"steps": 1}}
    _, drawn = client.predict(SECRET, ["sketch"], 1, 0, options, api_name="/generate")
    panes = [{"pipeline": "sketch", "options": {"steps": 1}}] * 2
    _, compared = client.predict(SECRET, panes, 1, api_name="/compare")
    owner = visitor_named(token)
    paused = app.backend.paused
    assert paused is not None
    return Anna(token, owner, drawn["pictures"][0]["id"], compared["comparison"],
                pause_at(paused, 3, owner, SECRET))


@pytest.mark.slow
def test_case_14_no_function_reads_what_is_anothers_file(app: App, anna: Anna, log: io.StringIO,
                                                         ) -> None:
    """Each with the file of Anna's picture, whose facts hold the secret, once and twice."""
    kept = app.history.files.local(app.history.get(anna.owner, anna.picture).sha256)
    assert kept.is_file()
    file = {"path": str(kept), "meta": {"_type": "gradio.FileData"}}
    calls = [(function, value) for function in functions(app) if function["inputs"]
             for value in (file, [file, file])]
    for where, said in answers(app, calls, "files"):
        assert SECRET not in said, where
    assert "Traceback" not in log.getvalue()
    app.wait_until_idle()


def functions(app: App) -> list[dict[str, Any]]:
    """All that the page can be asked to do."""
    config = httpx.get(f"{app.url}config", timeout=120).json()
    found = [f for f in config["dependencies"] if f["backend_fn"]]
    assert len(found) > 80
    return found


def ask(app: App, function: dict[str, Any], data: list[Any], session: str) -> str:
    """What a call of a function ends with."""
    said = json.dumps({"data": data, "fn_index": function["id"], "session_hash": session})
    body: dict[str, Any] = {"content": said, "headers": {"content-type": "application/json"},
                            "timeout": 120}
    api = f"{app.url}gradio_api/"
    if not function["queue"]:
        answer = httpx.post(f"{api}run/{function['api_name']}", **body)
        return answer.text
    httpx.post(f"{api}queue/join", **body).raise_for_status()
    with httpx.stream("GET", f"{api}queue/data", params={"session_hash": session},
                      timeout=120) as events:
        return next(line for line in events.iter_lines() if "process_completed" in line)


def answers(app: App, calls: list[tuple[dict[str, Any], Any]], session: str,
            ) -> Iterator[tuple[Any, str]]:
    """Which function was called with what, and what it ended with, several at a time.

    Args:
        calls: functions, each with the value that all of its inputs have.
    """
    return endings(app, [(function, [value] * len(function["inputs"]))
                         for function, value in calls], session)


def endings(app: App, calls: list[tuple[dict[str, Any], list[Any]]], session: str,
            ) -> Iterator[tuple[Any, str]]:
    """As ``answers``, of functions each with the values of its inputs."""
    def called(number: int) -> str:
        return ask(app, *calls[number], f"{session}{number}")

    with ThreadPoolExecutor(8) as pool:
        for call, said in zip(calls, pool.map(called, range(len(calls))), strict=True):
            where = call[0]["api_name"], call[1]
            assert not any(fault in said for fault in FAULTS), (where, said[:500])
            yield where, said


@pytest.mark.slow
def test_no_function_fails_whatever_it_is_called_with(app: App, log: io.StringIO) -> None:
    """Each with nothing, and with another kind of value, in place of all its own."""
    calls = [(function, value) for number, function in enumerate(functions(app))
             for value in (None, VALUES[number % len(VALUES)])]
    assert len(list(answers(app, calls, "any"))) == len(calls)
    assert "Traceback" not in log.getvalue()
    app.wait_until_idle()


@pytest.mark.slow
def test_no_endpoint_fails_whatever_one_of_its_arguments_is(app: App, log: io.StringIO) -> None:
    """Each with values that it takes in place of all but one, which it then looks at."""
    picture = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(picture, "PNG")
    path = httpx.post(f"{app.url}gradio_api/upload", timeout=120,
                      files={"files": ("a.png", picture.getvalue())}).json()[0]
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    told = httpx.get(f"{app.url}gradio_api/info", timeout=120).json()["named_endpoints"]
    known = {"pipelines": ["sketch"], "pipeline": "sketch", "steps": 8, "iterations": 1,
             "panes": [{"pipeline": "sketch", "options": {"steps": 1}}] * 2}
    config = httpx.get(f"{app.url}config", timeout=120).json()
    many = {each["id"] for each in config["components"]
            if each["props"].get("file_count") == "multiple"}
    calls, odd = [], itertools.cycle([*VALUES, *ODD])
    for function in functions(app):
        parameters = told.get(f"/{function['api_name']}", {}).get("parameters", ())
        usual = [known.get(each["parameter_name"], each.get("parameter_default"))
                 for each in parameters]
        for place, each in enumerate(parameters):
            if each["component"] == "File" and each["parameter_name"] not in PICTURES:
                usual[place] = [file, file] if function["inputs"][place] in many else file
        calls += [(function, [*usual[:place], next(odd), *usual[place + 1:]])
                  for place in range(len(parameters)) for _ in range(2)]
    named = {function["api_name"] for function, _ in calls}
    assert {"inside_mix", "inside_complete", "inside_stream", "compare", "classify"} <= named
    assert len(list(endings(app, calls, "one"))) == len(calls) > 250
    assert "Traceback" not in log.getvalue()
    app.wait_until_idle()


@pytest.mark.slow
def test_case_14_no_function_does_anything_to_what_is_anothers(app: App, anna: Anna,
                                                               log: io.StringIO) -> None:
    """Each with the names of all that is Anna's, as a text or in a list, in place of all inputs."""
    names = (anna.picture, anna.comparison, anna.run)
    values = [*names, [anna.picture], {"id": anna.picture, "run_id": anna.run}]
    calls = [(function, value) for function in functions(app) if function["inputs"]
             for value in values]

    for where, said in answers(app, calls, "other"):
        assert SECRET not in said, where
    assert "Traceback" not in log.getvalue()
    app.wait_until_idle()

    mine = app.client(**{HEADER: anna.token})
    _, kept = mine.predict(anna.picture, api_name="/history_show")
    assert kept["prompt"] == SECRET
    assert (kept["rating"], kept["favourite"], kept["deleted"]) == (None, False, False)
    assert [run["run_id"] for run in mine.predict(api_name="/paused_runs")] == [anna.run]
    assert not any(SECRET in vote.prompt for vote in app.playground.votes.votes(blind=None))


def addresses(app: App) -> list[tuple[str, str]]:
    """Every method and pattern of an address that the server knows, whether or not it tells."""
    found = set()
    for route in app.page.app.routes:
        for method in getattr(route, "methods", None) or ():
            found.add((method, str(getattr(route, "path", ""))))
    for path, methods in app.page.app.openapi()["paths"].items():
        found |= {(method.upper(), path) for method in methods}
    assert len(found) > 60
    return sorted(found - {(method, path) for method, path in found if method == "HEAD"})


def asked(web: httpx.Client, method: str, address: str, body: bytes, kind: str) -> httpx.Response:
    """The answer; of a stream without end its head alone."""
    headers = {"content-type": kind} if kind else {}
    with web.stream(method, address, content=body, headers=headers) as answer:
        if not answer.headers.get("content-type", "").startswith(STREAMS):
            answer.read()
        return answer


@pytest.mark.slow
def test_no_address_fails_whatever_it_is_asked_with(app: App, log: io.StringIO) -> None:
    """In an order that is always the same, so that everything odd meets everything."""
    wrong, number = [], 0
    with httpx.Client(base_url=app.url, timeout=120) as web:
        for method, pattern in addresses(app):
            places = re.findall(r"{[^}]*}", pattern)
            tries = max(len(PARTS) if places else 1,
                        len(BODIES) if method in ("POST", "PUT", "PATCH") else len(QUERIES))
            for turn in range(tries):
                address = pattern.lstrip("/")
                for place in places:
                    number += 1
                    address = address.replace(place, PARTS[number % len(PARTS)], 1)
                address += QUERIES[(number + turn) % len(QUERIES)]
                body = BODIES[turn % len(BODIES)] if method not in ("GET", "DELETE") else b""
                answer = asked(web, method, address, body, KINDS[turn % len(KINDS)])
                text = "" if STREAMS in answer.headers.get("content-type", "") else answer.text
                if answer.status_code >= 500 or any(fault in text for fault in FAULTS):
                    wrong.append((method, address, body, answer.status_code, text[:200]))
        assert web.get("healthz").json()["status"] == "ok"
    assert wrong == []
    assert "Traceback" not in log.getvalue()


def test_a_call_that_there_is_not_is_said(app: App, log: io.StringIO) -> None:
    for address in ("call/stop/nothing", "call/nothing/0"):
        answer = httpx.get(f"{app.url}gradio_api/{address}", timeout=120)
        assert "event: error" in answer.text
        assert "There is no such call" in answer.text
    assert "error    ]" not in log.getvalue()


@pytest.mark.parametrize("fields", [
    {"data": 5}, {"data": None}, {"data": {}}, {"data": "x"}, {}, {"data": [], "fn_index": 1.5},
    {"data": [], "fn_index": None}, {"data": [], "event_data": [1]}, {"data": [], "batched": 7},
    {"data": [], "trigger_id": {"a": 1}}, {"data": [None] * 200}, {"data": [{}] * 3},
    {"data": [], "simple_format": "x"}, {"data": [], "request": {"client": 5}}],
    ids=lambda fields: json.dumps(fields)[:40])
def test_no_call_fails_whatever_its_shape(app: App, log: io.StringIO, fields: dict[str, Any],
                                          ) -> None:
    with httpx.Client(base_url=f"{app.url}gradio_api/", timeout=120) as web:
        for address in ("run/stop", "api/history_show", "call/generate", "call/v2/rerank",
                        "queue/join", "run/generate"):
            answer = web.post(address, json={"session_hash": "shape", **fields})
            # Gradio answers a direct call with 500 whenever its function refuses it in a sentence.
            refused = answer.status_code == 500 and answer.json().keys() >= {"error", "duration"}
            assert refused or answer.status_code < 500, (address, answer.text[:300])
            assert not any(fault in answer.text for fault in FAULTS), (address, answer.text[:300])
    assert "Traceback" not in log.getvalue()

"""Case 24: who goes, and who never comes."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from easel.guard.visitors import HEADER, new_token, visitor_named
from easel.ui import readers
from pipelines.unclip.walk import MAX_FRAMES
from tests.served import App


def test_case_24_a_job_that_nobody_comes_to_read_ends(app: App, monkeypatch: pytest.MonkeyPatch,
                                                      ) -> None:
    monkeypatch.setattr(readers, "UNREAD_S", 1.0)
    config = httpx.get(f"{app.url}config").json()
    index = next(d["id"] for d in config["dependencies"] if d["api_name"] == "generate")
    data = ["a dog", ["sketch"], 1, 0, {"sketch": {"steps": 2000, "pause_s": 0.05}}, None, None,
            False, None, None, None]
    for session in ("never1", "never2"):
        httpx.post(f"{app.url}gradio_api/queue/join", json={
            "data": data, "fn_index": index, "session_hash": session}).raise_for_status()
    httpx.post(f"{app.url}gradio_api/call/generate", json={"data": data}).raise_for_status()
    end = time.monotonic() + 60
    while not app.sketch.running:
        assert time.monotonic() < end, "the job never began"
        time.sleep(0.02)
    while app.backend.queue() != (0, 0):
        assert time.monotonic() < end, "a job goes on"
        time.sleep(0.02)
    assert not {"never1", "never2"} & set(app.page._queue.pending_messages_per_session)


def test_case_24_a_job_that_is_read_goes_on_whatever_names_its_session(
        app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call may name a session, and is read by its own name all the same."""
    monkeypatch.setattr(readers, "UNREAD_S", 0.5)
    data = ["a dog", ["sketch"], 1, 0, {"sketch": {"steps": 60, "pause_s": 0.05}}, None, None,
            False, None, None, None]
    for session in ({"session_hash": "named"}, {}):
        call = httpx.post(f"{app.url}gradio_api/call/generate", json={"data": data, **session})
        event = call.json()["event_id"]
        said = httpx.get(f"{app.url}gradio_api/call/generate/{event}", timeout=120).text
        assert "event: complete" in said, said[-300:]
    app.wait_until_idle()


def test_case_24_a_call_that_answers_once_ends_with_its_caller_too(
        app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio ends those alone that answer bit by bit."""
    monkeypatch.setattr(readers, "LOOK_EVERY_S", 0.05)
    token = new_token()
    steps = {"decoder_steps": 64}
    with httpx.Client(base_url=f"{app.url}gradio_api/", timeout=120,
                      headers={HEADER: token}) as web:
        event = web.post("call/walk", json={"data": [
            "a cat", "a dog", MAX_FRAMES, 0, steps, None, None]}).json()["event_id"]
        end = time.monotonic() + 60
        while app.backend.queue() != (1, 0):
            assert time.monotonic() < end, "the walk never began"
            time.sleep(0.01)
        run, = app.playground.runs.of_visitor(visitor_named(token))
        with web.stream("GET", f"call/walk/{event}") as answer:
            assert answer.status_code == 200
        while app.playground.runs.of_visitor(visitor_named(token)):
            assert time.monotonic() < end, "the walk goes on"
            time.sleep(0.02)
    assert run.stopped
    app.wait_until_idle()


def test_a_new_job_of_a_session_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(readers.time, "monotonic", lambda: now[0])
    watched = readers.Readers()
    assert watched.unread({"a": False}) == []
    now[0] = readers.UNREAD_S - 0.1
    assert watched.unread({"a": True}) == [], "asked for a moment ago"
    now[0] += 1
    assert watched.unread({"a": True}) == []
    watched.begin("a")
    now[0] += 100
    assert watched.unread({"a": True}) == []
    watched.end("a")
    assert watched.unread({"a": True}) == []
    now[0] += readers.UNREAD_S + 0.1
    assert watched.unread({"a": True}) == ["a"]


def test_a_message_to_who_has_just_gone_is_no_error_of_anothers(app: App) -> None:
    """Gradio tells all who wait of each new job, in the request that brings it."""
    waits: Any = SimpleNamespace(alive=True, _id="x", session_hash="gone")
    app.page._queue.send_message(waits, cast(Any, SimpleNamespace()))


def test_who_asks_for_what_is_not_there_is_told_once_and_in_a_sentence(
        app: App, caplog: pytest.LogCaptureFixture) -> None:
    """Gradio says "404: Not Found" besides, and ends in the middle, which is an error in the log.
    """
    sentence = "There is no such call, or it was answered already."
    with httpx.Client(base_url=f"{app.url}gradio_api/", timeout=60) as web:
        for path in ("call/generate/0123", "call/v2/generate"):
            assert web.get(path).text == f'event: error\ndata: "{sentence}"\n\n'
        for name in ("", "unknown"):
            answer = web.get("queue/data", params={"session_hash": name})
            assert answer.headers["content-type"].startswith("text/event-stream")
            message = json.loads(answer.text.removeprefix("data: "))
            assert message["message"] == sentence
            assert message["session_not_found"]
        headers = {"accept-language": "pt-BR"}
        said = web.get("call/generate/0123", headers=headers).text
        assert "já foi respondida" in json.loads(said.partition("data: ")[2])
        assert web.get("queue/data").status_code == 422
    assert not [record for record in caplog.records if record.levelname == "ERROR"]

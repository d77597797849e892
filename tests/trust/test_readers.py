"""Case 24: who goes, and who never comes."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from easel.ui import readers
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

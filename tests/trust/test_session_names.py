"""Case 14: the name of a session gives nobody anything of its visitor's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from easel.guard.visitors import HEADER, new_token
from tests.served import App

LONG: dict[str, Any] = {"sketch": {"steps": 60, "pause_s": 0.05}}


@pytest.fixture(scope="module")
def generate(app: App) -> int:
    """The number of /generate among the page's functions."""
    config = httpx.get(f"{app.url}config").json()
    return next(each["id"] for each in config["dependencies"] if each["api_name"] == "generate")


@contextmanager
def somebody(app: App, token: str = "") -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{app.url}gradio_api/", timeout=120,
                      headers={HEADER: token} if token else {}) as web:
        yield web


def said(web: httpx.Client, session: str) -> list[dict[str, Any]]:
    """All that a session's reader is told until the server has no more to say."""
    found: list[dict[str, Any]] = []
    with web.stream("GET", "queue/data", params={"session_hash": session}) as answer, \
            suppress(httpx.RemoteProtocolError):  # so Gradio ends who asks for no session
        found.extend(json.loads(line[5:]) for line in answer.iter_lines()
                     if line.startswith("data:"))
    return found


def join(web: httpx.Client, function: int, session: str) -> str:
    answer = web.post("queue/join", json={
        "data": ["a dog", ["sketch"], 1, 0, LONG, None, None, False, None, None, None],
        "fn_index": function, "session_hash": session})
    return answer.raise_for_status().json()["event_id"]


def wait_until_running(app: App) -> None:
    end = time.monotonic() + 60
    while not app.sketch.running:
        assert time.monotonic() < end, "the job never began"
        time.sleep(0.02)


@pytest.mark.parametrize("stranger", ["", new_token()], ids=["nobody", "another visitor"])
def test_case_14_who_knows_the_name_of_a_session_reads_and_ends_nothing_of_it(
        app: App, generate: int, stranger: str) -> None:
    session = f"known{len(stranger)}"
    with somebody(app, new_token()) as owner, somebody(app, stranger) as other, \
            ThreadPoolExecutor(1) as pool:
        event = join(owner, generate, session)
        reader = pool.submit(said, owner, session)
        wait_until_running(app)
        assert not [each for each in said(other, session) if each.get("event_id")]
        for body in ({"event_id": "0" * 32}, {"event_id": "0" * 32, "fn_index": generate}):
            for route in ("reset", "cancel"):
                other.post(route, json={"session_hash": session, "fn_index": 0, **body})
        with other.stream("GET", f"heartbeat/{session}") as beating:
            next(beating.iter_bytes())  # and goes, which ends a session
        assert app.sketch.running == 1
        # Somebody else's call by the same name is answered to them alone.
        own = other.post("call/unknown_words", json={"data": ["cat"], "session_hash": session})
        assert "complete" in other.get(f"call/unknown_words/{own.json()['event_id']}").text
        messages = reader.result(timeout=120)
    assert {each["event_id"] for each in messages if each.get("event_id")} == {event}
    last = next(each for each in messages if each["msg"] == "process_completed")
    assert last["success"], last
    assert last["output"]["data"][1]["panels"][0]["phase"] == "done"
    app.wait_until_idle()


def test_case_14_an_own_session_is_read_stopped_and_cancelled(app: App, generate: int) -> None:
    with somebody(app, new_token()) as owner:
        join(owner, generate, "mine")
        wait_until_running(app)
        stopped = owner.post("run/stop", json={"data": [], "session_hash": "mine"})
        assert stopped.json()["data"] == [1]
        assert said(owner, "mine")[-1]["msg"] == "close_stream"
        event = join(owner, generate, "mine")
        owner.post("cancel", json={"event_id": event, "session_hash": "mine", "fn_index": generate})
        assert [each["event_id"] for each in said(owner, "mine")
                if each["msg"] == "process_completed"] == [event]
    app.wait_until_idle()


def call(web: httpx.Client, name: str, *data: Any) -> tuple[str, Any]:
    """The last event of a call as Gradio's documents show it: without a session."""
    event = web.post(f"call/{name}", json={"data": list(data)}).raise_for_status().json()
    last = web.get(f"call/{name}/{event['event_id']}").text.strip().rpartition("\n\n")[2]
    kind, _, value = last.partition("\ndata: ")
    return kind.removeprefix("event: "), json.loads(value)


def test_a_visitors_calls_without_a_session_belong_together(app: App) -> None:
    """Gradio gives each of them a session: what one compared the next could not vote on."""
    panes = [{"pipeline": "sketch", "options": {"steps": 1, "pause_s": 0}}] * 2
    with somebody(app, new_token()) as owner, somebody(app, new_token()) as other:
        kind, (_, compared) = call(owner, "compare", "a cat", panes, 1, None, None, None, None)
        assert kind == "complete"
        vote = ("vote", compared["comparison"], 0)
        kind, why = call(other, *vote)
        assert kind == "error"
        assert "no longer there" in why["error"]
        assert call(owner, *vote) == ("complete", [{"choice": 0}])
        assert call(owner, "bundle_export", compared["comparison"])[0] == "complete"
        event = owner.post("call/generate", json={"data": [
            "a dog", ["sketch"], 1, 0, LONG, None, None, False, None, None, None],
            }).json()["event_id"]
        wait_until_running(app)
        assert other.post("run/stop", json={"data": []}).json()["data"] == [0]
        assert owner.post("run/stop", json={"data": []}).json()["data"] == [1]
        assert "complete" in owner.get(f"call/generate/{event}").text
    app.wait_until_idle()

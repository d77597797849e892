"""Cases 29 and 30 over the server: a database that another program has locked, a double click."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from easel.history import late
from tests.served import App
from tests.test_app import generate

PANES = [{"pipeline": "sketch", "options": {"steps": 1}}] * 2


def draw(client: Client, prompt: str = "a cow") -> tuple[list[str], dict[str, Any]]:
    return generate(client, prompt=prompt, num_images=1, options={"sketch": {"steps": 1}})


def compared(client: Client) -> str:
    return client.predict("a cat", PANES, None, None, None, api_name="/compare")[1]["comparison"]


@contextmanager
def locked(app: App) -> Iterator[sqlite3.Connection]:
    """The database with another program's write lock on it."""
    [path] = app.playground.settings.data_dir.rglob("history.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_case_29_a_vote_waits_for_a_short_lock(app: App) -> None:
    client = app.client()
    name, before = compared(client), client.predict(api_name="/leaders")["votes"]
    with locked(app) as other:
        threading.Timer(0.5, other.rollback).start()
        assert client.predict(name, 1, api_name="/vote") == {"choice": 1}
    assert client.predict(api_name="/leaders")["votes"] == before + 1


def test_case_29_a_vote_that_meets_a_long_lock_is_told_and_can_be_cast_again(app: App) -> None:
    client = app.client()
    name, before = compared(client), client.predict(api_name="/leaders")["votes"]
    with locked(app), pytest.raises(AppError, match="in use by another program: try again"):
        client.predict(name, 0, api_name="/vote")
    assert client.predict(name, 0, api_name="/vote") == {"choice": 0}
    assert client.predict(api_name="/leaders")["votes"] == before + 1


def test_case_29_pictures_that_were_drawn_meanwhile_are_kept_afterwards(
        app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "RETRY_S", 0.2)
    client = app.client()
    draw(client, "a first cow")
    with locked(app):
        files, details = draw(client, "a second cow")
        assert len(files) == 1
        assert "kept as soon as it is free" in str(details)
        listed = client.predict(api_name="/history_list")["pictures"]
        assert [picture["prompt"] for picture in listed] == ["a first cow"]
    name = details["pictures"][0]["id"]
    until(lambda: len(client.predict(api_name="/history_list")["pictures"]) == 2)
    assert client.predict(name, api_name="/history_show")[1]["prompt"] == "a second cow"
    assert app.history.late.waiting() == []


def until(holds: Any, within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_case_30_a_double_click_on_a_vote_is_counted_once(app: App) -> None:
    client = app.client()
    name, before = compared(client), client.predict(api_name="/leaders")["votes"]
    body = {"data": [name, 1], "session_hash": client.session_hash}

    def click(_: int) -> int:
        return httpx.post(f"{app.url}gradio_api/run/vote", json=body, timeout=60).status_code

    with ThreadPoolExecutor(8) as clicks:
        statuses = list(clicks.map(click, range(8)))
    assert statuses.count(200) == 1
    assert client.predict(api_name="/leaders")["votes"] == before + 1

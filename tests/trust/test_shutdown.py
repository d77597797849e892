"""Case 33: SIGTERM, as docker, systemd and Spaces send it, while runs are on their way."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client

from pipelines.core.settings import PREFIX
from tests.conftest import PATIENCE_S, REPOSITORY
from tests.served import free_port

LONG = {"vqgan_clip": {"iterations": 1000, "num_cutouts": 4}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``python app.py`` as an operator starts it, in a process of its own, and its address."""
    port = free_port()
    more = {"PORT": str(port), "DATA_DIR": str(tmp_path), "DEVICE": "cpu", "THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=REPOSITORY, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **{PREFIX + name: value for name, value in more.items()}})
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Easel is at"):
                break
        yield process, f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait(30)


def follow(client: Client, name: str, options: dict[str, Any], told: list[Any]) -> threading.Thread:
    """Read a run to its end in a thread; what it yields, or what ends it, goes to ``told``."""
    def read() -> None:
        try:
            told.extend(client.submit("a red apple", [name], 1, 0, options, None,
                                      api_name="/generate"))
        except Exception as error:
            told.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.weights("vqgan", "clip-guide", "clip-ranker", "dalle")
def test_case_33_sigterm_pauses_what_runs_tells_who_waits_and_ends(
        server: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    process, address = server
    runs, waits = ([], [])
    clients = [Client(address, verbose=False, analytics_enabled=False) for _ in range(2)]
    readers = [follow(clients[0], "vqgan_clip", LONG, runs)]
    states = tmp_path / "history" / "paused"
    until(lambda: any(states.glob("*.safetensors")), "the run never began")
    readers.append(follow(clients[1], "dalle", {}, waits))
    until(lambda: waits, "who waits was told nothing")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    for reader in readers:
        reader.join(PATIENCE_S)
    assert "paused" in str(runs[-1]).lower()
    assert "shutting down" in str(waits[-1])
    assert [path.suffix for path in states.iterdir()] == [".safetensors"]
    assert not list(tmp_path.rglob("*-wal"))
    with sqlite3.connect(next(tmp_path.rglob("history.sqlite*"))) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        assert database.execute("select interrupted, holder from paused_runs").fetchall() == [
            (0, "")], "it is paused, and nobody has it"


def until(holds: Any, otherwise: str, within_s: float = 120) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, otherwise
        time.sleep(0.1)

"""A cluster from the command line, as a new user starts, changes and ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from easel.serving.ray.environment import ROOT
from easel.serving.ray.messages import ENDED
from tests.clusters import needs_ray
from tests.served import free_port

pytestmark = needs_ray
WAIT_S = 300.0
CORES = len(os.sched_getaffinity(0))


class Commands:
    """Commands with a data folder."""

    def __init__(self, folder: Path) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = {**own, "EASEL_DATA_DIR": str(folder), "EASEL_BACKEND": "ray"}

    def cluster(self, *arguments: str, **settings: str) -> str:
        """What ``cluster`` says; all of it, since nobody else is to say anything."""
        done = subprocess.run([sys.executable, "-m", "pipelines", "cluster", *arguments],
                              env={**self.environment, **settings}, cwd=ROOT, timeout=WAIT_S,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that draws, once it does."""
        process = subprocess.Popen([sys.executable, "-m", "pipelines", *arguments], cwd=ROOT,
                                   env=self.environment, text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT)
        assert process.stdout is not None
        while (line := process.stdout.readline()) and "Drawing" not in line:
            continue
        return process

    def page(self, port: int) -> subprocess.Popen[str]:
        """A front end, once it serves."""
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, text=True,
                                   env={**self.environment, "EASEL_PORT": str(port)},
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        while (line := process.stdout.readline()) and "Easel is at" not in line:
            continue
        return process


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    made = Commands(tmp_path / "dá ta")
    yield made
    subprocess.run([sys.executable, "-m", "pipelines", "cluster", "down"], cwd=ROOT,
                   env=made.environment, capture_output=True, check=False)


def test_a_cluster_is_started_changed_and_ended(commands: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    said = commands.cluster("up", "--runners", "2", EASEL_THREADS=str(CORES))
    assert said.startswith("1 of 2 runners draw at 127.0.0.1:")
    assert "since the cluster has room for no more now" in said
    # The second of those waits for a machine that does not come.
    assert commands.cluster("drain").startswith("Nothing runs or waits any more")
    said = commands.cluster("up", "--runners", "1", EASEL_USER_JOBS="1")
    assert said.startswith("1 runner draws at 127.0.0.1:")
    end = time.monotonic() + WAIT_S
    while len((facts := json.loads(commands.cluster("status", "--json")))["runners"]) != 1:
        assert time.monotonic() < end, "the runner before it has left"
    assert not facts["drains"], "who starts it wants it to draw"
    assert [each["draws"] for each in facts["runners"]] == [False]
    assert [facts[name] for name in ("wanted", "least", "most")] == [1, 1, 1]

    port = free_port()
    with commands.page(port) as page:
        try:
            health = httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=WAIT_S)
            assert (health.status_code, health.json()["device"]) == (200, "cpu")
            drawn = commands.begin("a red apple", "--pipeline", "vqgan_clip", "--option",
                                   "iterations=1000", "--num-images", "1", "--out", str(folder))
            assert commands.cluster("down") == "The cluster's part on this machine has ended.\n"
            said, _ = drawn.communicate(timeout=WAIT_S)
            assert "paused" in said, "nothing is lost"
            assert "Traceback" not in said
            health = httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=30.0)
            assert health.status_code == 503
            assert health.json() == {"status": "no cluster", "error": ENDED}
            page.terminate()
            said, _ = page.communicate(timeout=45.0)
        finally:
            page.kill()
    assert page.returncode == 0
    assert "Easel has shut down." in said
    assert "Traceback" not in said

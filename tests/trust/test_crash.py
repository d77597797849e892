"""Cases 27, 28 and 31: kills, a full disk, a clock that is set back; and two servers at once."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from tests.kept import new_picture, opened
from tests.served import App
from tests.small_models import small_cache
from tests.trust.conftest import Refusal
from tests.watched_sketch import WatchedSketch

KILLS, SEED = 10, 1
FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
ONE = {"sketch": {"steps": 1}}


def told(*arguments: str, **environment: str) -> Any:
    """What a module prints as its last line, as JSON; it must end well."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=REPOSITORY, text=True,
                          capture_output=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr[-4000:]
    print(done.stderr[-4000:])  # shown where what it found is not what was hoped for
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_case_27_nothing_finished_is_lost_by_kills(tmp_path: Path) -> None:
    found = told("tests.trust.kills", str(KILLS), str(SEED), str(tmp_path))
    assert found["faults"] == []
    assert found["kills"] == sum(found["kinds"].values()) == KILLS
    assert found["kinds"].keys() == {"history", "votes", "index", "paused", "downloads"}
    assert found["in_the_middle"] > 0


def test_two_servers_share_a_folder(tmp_path: Path) -> None:
    assert told("tests.trust.kills", "two", str(tmp_path)) == {"history": [], "votes": []}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") is not None and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)],
        capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def small_app(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(small_disk / "cache"))
    (small_disk / "cache").mkdir()
    sketch = WatchedSketch()
    served = App([sketch], small_cache(), data_dir=small_disk / "data")
    served.sketch = sketch
    yield served
    served.close()


def fill(disk: Path) -> Path:
    """Take all of a disk's room; returns the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return filler


def test_case_28_a_full_disk_is_told_and_reading_goes_on(small_app: App, small_disk: Path,
                                                         refusal: Refusal) -> None:
    client = small_app.client()
    _, details = client.predict("a dog", ["sketch"], 1, 0, ONE, api_name="/generate")
    name = details["pictures"][0]["id"]
    filler = fill(small_disk)
    assert "no space left" in refusal(client, "/generate", "a cat", ["sketch"], 1, 0, ONE)
    file, kept = client.predict(name, api_name="/history_show")
    assert (file, kept["prompt"]) == (None, "a dog")
    assert "disk is full" in kept["file_fault"]
    assert "no room for these files" in refusal(client, "/history_export", [name], None)
    assert client.predict(api_name="/history_list")["pictures"]
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    upload = f"{small_app.url}gradio_api/upload"
    answer = httpx.post(upload, files={"files": ("a.png", picture.getvalue())})
    assert answer.status_code == 507
    assert "no room" in answer.json()["detail"]
    assert small_app.sketch.running == 0
    filler.unlink()
    assert httpx.post(upload, files={"files": ("a.png", picture.getvalue())}).status_code == 200
    _, details = client.predict("a cat", ["sketch"], 1, 0, ONE, api_name="/generate")
    assert details["pictures"][0]["id"]
    with closing(sqlite3.connect(small_disk / "data" / "history" / "history.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
def test_case_31_a_clock_that_is_set_back_changes_no_order(tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+0")
    found = told("tests.trust.clock", str(tmp_path / "data"), str(offset),
                 LD_PRELOAD=str(FAKETIME), FAKETIME_TIMESTAMP_FILE=str(offset),
                 FAKETIME_NO_CACHE="1", FAKETIME_DONT_FAKE_MONOTONIC="1",
                 DONT_FAKE_MONOTONIC="1")
    assert found["stepped_s"] < -3000, "the clock was not set back"
    assert all(0 <= elapsed_s < 600 for elapsed_s in found["elapsed_s"])
    assert found["newest_first"] == ["after it", "before"]
    assert found["votes"] == 2
    assert not found["counted_twice"]
    assert found["paused"] == found["paused_in_order"]


def test_case_31_what_came_last_is_first_whatever_the_clock_says(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    with opened(tmp_path) as history:
        history.add("me", [new_picture("before", seed=1)])
        monkeypatch.setattr(time, "time", lambda: now() - 3600)
        history.add("me", [new_picture("after it", seed=2)])
        newest, oldest = history.page("me").pictures
    assert (newest.prompt, oldest.prompt) == ("after it", "before")
    assert newest.created_s < oldest.created_s - 3000, "the clock was not set back"

"""A Space: what starts there is a process that finds its settings and writes nowhere but its data.

The checkout, the home, the folder in which it is started and the temporary folder of a duplicate
are compared before and after, whoever of Python, libraries and compiled code would write there.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from pipelines.core.metadata import read_png
from tests.conftest import REPOSITORY
from tests.served import free_port

EMBEDDED = ("dalle", "vqgan_clip", "unclip")
OPTIONS = {"vqgan_clip": {"iterations": 2}}
FREE_TIER_BYTES = 16 * 10**9
PATIENCE_S = 300


@dataclass
class Space:
    """A server as a Space starts it."""

    process: subprocess.Popen[bytes]
    url: str
    data: Path
    others: list[Path]  # folders that are not its own
    before: dict[str, tuple[int, int]]

    def memory_bytes(self, name: str) -> int:
        """What the system says of the process's memory, ``VmRSS`` now or ``VmHWM`` at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0]) * 1024


def seen(folders: list[Path]) -> dict[str, tuple[int, int]]:
    """Every file and folder below some, with the time and size of files; of the checkout their
    names alone, since somebody may be at work there."""
    found = {}
    for folder in folders:
        timed = not folder.is_relative_to(REPOSITORY)
        for place, below, files in os.walk(folder):
            below[:] = [name for name in below if name not in (
                "__pycache__", ".git", ".venv", ".pytest_cache", ".ruff_cache", ".hypothesis")]
            for name in files:
                facts = os.stat(os.path.join(place, name), follow_symlinks=False)
                found[os.path.join(place, name)] = (
                    (facts.st_mtime_ns, facts.st_size) if timed else (0, 0))
            found[place] = (0, 0)
    return found


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    root = tmp_path_factory.mktemp("space")
    home, here, temporary, data = (root / name for name in ("home", "here", "tmp", "data"))
    for folder in (home, here, temporary):
        folder.mkdir()
    others = [home, here, temporary, *(REPOSITORY / name for name in (
        "assets", "easel", "pipelines"))]
    port = free_port()
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("EASEL_", "GRADIO_", "XDG_", "HF_"))}
    env = {**kept, "HOME": str(home), "TMPDIR": str(temporary), "EASEL_DATA_DIR": str(data),
           "EASEL_PORT": str(port), "GRADIO_SERVER_NAME": "0.0.0.0", "SPACE_ID": "someone/easel"}
    before = seen(others)
    with (root / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, str(REPOSITORY / "app.py")], cwd=here, env=env,
                                   stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                if httpx.get(f"{url}/healthz", timeout=30).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
            assert process.poll() is None, (root / "log").read_text()
            assert time.monotonic() < end, (root / "log").read_text()
        yield Space(process, url, data, others, before)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
@pytest.mark.weights("dalle", "vqgan", "upscaler", "clip-guide", "clip-ranker", "unclip-prior",
                     "unclip-decoder")
def test_a_space_draws_within_its_folder_and_its_memory(space: Space) -> None:
    with httpx.Client(base_url=space.url, timeout=PATIENCE_S) as web:
        # Whatever its address on the host is, and in a frame of that host's site.
        page = web.get("/", headers={"host": "someone-easel.hf.space", "accept": "text/html"})
        assert page.status_code == 200
        assert "https://huggingface.co" in page.headers["content-security-policy"]
        assert "x-frame-options" not in page.headers
        rest = space.memory_bytes("VmRSS")
        for name in EMBEDDED:
            drawn = web.post("/v1/images/generations", json={
                "prompt": "a red apple", "model": name, "options": OPTIONS.get(name, {})})
            assert drawn.status_code == 200, drawn.text
            png = base64.b64decode(drawn.json()["data"][0]["b64_json"])
            assert read_png(png)["easel"]["pipeline"] == name
        assert web.get("/presets/export", headers={"x-easel-visitor": "a" * 43}).status_code == 200
    assert 0 < rest < space.memory_bytes("VmHWM") < FREE_TIER_BYTES / 4
    assert (space.data / "history").is_dir()
    space.process.send_signal(signal.SIGTERM)
    assert space.process.wait(PATIENCE_S) == 0
    after = seen(space.others)
    assert {name for name in after.keys() | space.before.keys()
            if after.get(name) != space.before.get(name)} == set()

"""Case 34: hundreds of jobs of every kind, and what they leave behind."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from easel.guard.cache_folder import MAX_AGE_S, PART_S, CacheFolder
from easel.guard.made_of import NOTE
from easel.ui import readers
from pipelines.core.heap import give_back
from pipelines.unclip.pipeline import UnclipPipeline
from tests.served import App
from tests.small_models import small_cache
from tests.test_cache_folder import age
from tests.trust.test_pictures import encoded, resident_mb
from tests.watched_sketch import WatchedSketch

SETTLING, JOBS = 100, 500  # the first ones are for what settles
SKETCH = {"sketch": {"steps": 1, "pause_s": 0}}
UNCLIP = {"unclip": {"decoder_steps": 2, "prior_steps": 2}}
PANES = [{"pipeline": "sketch", "num_images": 1, "options": SKETCH["sketch"]}] * 2


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gradio's cache, and beside it what else of this process is called temporary."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return folder


@pytest.fixture
def app(cache_folder: Path) -> Iterator[App]:
    sketch = WatchedSketch()
    served = App([sketch, UnclipPipeline()], small_cache(), queue_size=20, data_dir=cache_folder
                 .with_name("data"))
    served.sketch = sketch
    yield served
    served.close()


def job(app: App, told: dict[str, Any], number: int) -> None:
    """One that draws, ranks an upload, or compares, to its end."""
    with httpx.Client(base_url=f"{app.url}gradio_api/", timeout=120) as web:
        endpoint: str
        fields: dict[str, Any]
        if number % 25 == 1:
            endpoint, fields = "compare", {"prompt": "a dog", "panes": PANES}
        elif number % 10 == 2:
            (path,) = web.post("upload", files={"files": ("a.png", encoded("PNG"))}).json()
            file = {"path": path, "meta": {"_type": "gradio.FileData"}}
            endpoint, fields = "rerank", {"images": [file], "prompts": ["a cat", "a dog"]}
        else:
            options = UNCLIP if number % 10 == 0 else SKETCH
            endpoint, fields = "generate", {
                "prompt": "a dog", "pipelines": list(options), "num_images": 2, "seed": number,
                "options": options}
        parameters = told[f"/{endpoint}"]["parameters"]
        names = [each["parameter_name"] for each in parameters]
        assert fields.keys() <= set(names), names
        data = [fields.get(name, each.get("parameter_default"))
                for name, each in zip(names, parameters, strict=True)]
        event = web.post(f"call/{endpoint}", json={"data": data}).json()["event_id"]
        answer = web.get(f"call/{endpoint}/{event}").text
        assert "event: complete" in answer, (endpoint, answer[-500:])


def held(app: App) -> dict[str, float]:
    """What the process holds once nothing runs: MB and numbers.

    Without what the allocator keeps of what was freed: after other tests that is hundreds of MB.
    """
    app.wait_until_idle()
    gc.collect()
    give_back()
    tensors = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes()
               for part in gc.get_objects() if type(part) in (torch.Tensor, torch.nn.Parameter)
               and part.device.type == "cpu"}
    cards = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
    return {"resident": resident_mb(), "device": (sum(tensors.values()) + cards) / 1e6,
            "threads": threading.active_count(), "files": len(os.listdir("/proc/self/fd"))}


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a process holds is in /proc")
def test_case_34_five_hundred_jobs_leave_nothing_behind(
        app: App, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory, the device's too, threads, open files, and files that are called temporary."""
    monkeypatch.setattr(readers, "UNREAD_S", 2.0)
    told = httpx.get(f"{app.url}gradio_api/info", timeout=60).json()["named_endpoints"]

    def some(numbers: range) -> None:
        with ThreadPoolExecutor(4) as users:
            list(users.map(partial(job, app, told), numbers))

    some(range(SETTLING))
    before = held(app)
    some(range(SETTLING, JOBS))
    after = held(app)
    assert after["resident"] - before["resident"] < 40
    assert after["device"] - before["device"] < 1
    assert after["threads"] - before["threads"] < 6
    assert after["files"] - before["files"] < 6
    queue = app.page._queue
    end = time.monotonic() + 60
    while queue.pending_messages_per_session or queue.event_ids_to_events \
            or queue.pending_event_ids_session:
        assert time.monotonic() < end, "what was told of jobs is held for ever"
        time.sleep(0.1)
    assert kept(cache_folder.with_name("temporary")) == []
    # What is left are pictures and zips that were handed out, for a day, and uploads.
    parts = [path for path in kept(cache_folder) if path.parent == cache_folder]
    assert not any(path.stat().st_size for path in parts), "of an upload"
    assert {path.suffix for path in kept(cache_folder) if path not in parts} <= {
        ".png", ".zip", ".webp", NOTE}
    for path in kept(cache_folder):
        age(path, PART_S + 60)
    CacheFolder(cache_folder, 2**40).sweep()
    assert not any(path.exists() for path in parts)
    for path in kept(cache_folder):
        age(path, MAX_AGE_S + 60)
    CacheFolder(cache_folder, 2**40).sweep()
    assert kept(cache_folder) == []

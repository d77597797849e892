"""What killed processes leave among the paused runs goes after an hour, and nothing else does."""

from __future__ import annotations

import os
import time
from pathlib import Path

from filelock import FileLock

from easel.serving.paused_runs import MAX_AGE_S, PART_S, PausedRuns

PAUSED, LIVE = "a" * 32, "b" * 32


def test_rests_of_killed_pauses_do_not_stay(tmp_path: Path) -> None:
    runs, folder = PausedRuns(tmp_path), tmp_path / "visitor"
    folder.mkdir()
    held = FileLock(folder / f"{LIVE}.safetensors.lock", thread_local=False)
    held.acquire(timeout=0)
    names = {f"{PAUSED}.safetensors", f"{LIVE}.safetensors", f"{LIVE}.safetensors.lock"}
    rests = {f".{PAUSED}.safeten.abc.part", f"{PAUSED}.safetensors.lock"}
    for name in names | rests:
        (folder / name).touch()
    for age_s, left in ((PART_S - 60, names | rests), (PART_S + 60, names)):
        for path in folder.iterdir():
            os.utime(path, (at := time.time() - age_s, at))
        assert runs.sweep() == 0
        assert {path.name for path in folder.iterdir()} == left
    for path in folder.iterdir():
        os.utime(path, (at := time.time() - MAX_AGE_S - 60, at))
    assert runs.sweep() == 1, "the one that waited for too long, and not the one under way"
    assert f"{LIVE}.safetensors" in {path.name for path in folder.iterdir()}
    held.release()

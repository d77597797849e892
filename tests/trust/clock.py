"""Runs, votes and pauses before and after the clock is set back by an hour.

``python -m tests.trust.clock FOLDER FILE`` is a process under libfaketime, which reads from the
file by how much the clock is wrong. It prints what it saw as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from easel.compare.votes import Vote, VoteError, VoteStore
from easel.history.recorder import Recorder
from easel.serving.backend import LocalBackend
from pipelines.core.events import Result
from pipelines.registry import Registry
from tests.asking import stream
from tests.kept import opened
from tests.paused_server import open_runs
from tests.small_models import small_cache
from tests.trust.writers import ME, pause_at
from tests.watched_sketch import WatchedSketch

HOUR_S = 3600


def main(folder: Path, offset: Path) -> None:
    """Do everything twice, with the hour in between, and print what came of it."""
    # Sleeping until a time is an error under libfaketime.
    time.sleep = lambda seconds: bool(threading.Event().wait(float(seconds))) and None
    registry, cache, runs = Registry(), small_cache(), open_runs(folder / "paused")
    registry.register(WatchedSketch())
    with opened(folder) as history:
        backend = LocalBackend(registry, cache, record=Recorder(history), paused=runs)
        votes = VoteStore(history.database)

        def once(name: str) -> dict[str, Any]:
            fields = {"prompt": name, "pipeline": "sketch", "seed": 1, "num_images": 1,
                      "options": {"steps": 2}}
            *_, last = stream(backend, fields, owner=ME)
            assert isinstance(last, Result)
            votes.cast(_vote(name))
            return {"elapsed_s": last.elapsed_s, "run": pause_at(runs, len(name))}

        start_s = time.time()
        first = once("before")
        offset.write_text(f"-{HOUR_S}")
        stepped_s = time.time() - start_s
        second = once("after it")
        try:
            votes.cast(_vote("before"))
            again = True
        except VoteError:
            again = False
        print(json.dumps({
            "stepped_s": stepped_s, "elapsed_s": [first["elapsed_s"], second["elapsed_s"]],
            "newest_first": [each.prompt for each in history.page(ME).pictures],
            "votes": len(votes.votes()), "counted_twice": again,
            "paused": [run.run_id for run in runs.of(ME)],
            "paused_in_order": [second["run"], first["run"]]}))
        backend.close()
    cache.close()


def _vote(name: str) -> Vote:
    return Vote(name, name, ({"pipeline": "a"}, {"pipeline": "b"}), 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

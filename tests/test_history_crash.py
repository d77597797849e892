"""``kill -9`` in the middle of writing: what was reported is there, and the database is whole."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from easel.compare.votes import VoteStore
from easel.history.records import Filters
from pipelines.core.metadata import read_png
from tests.kept import opened

# Keeps runs as a backend does, reports each picture as a page would learn of it, and never stops.
WRITER = """
import sys
from pathlib import Path
import numpy as np
from easel.compare.votes import Vote, VoteStore
from easel.history.recorder import Recorder
from pipelines.core.events import Candidate, Result
from tests.kept import make_history
history = make_history(Path(sys.argv[1]))
record, votes = Recorder(history), VoteStore(history.database)
seed = int(sys.argv[2])
while True:
    candidates = []
    for index in range(3):
        seed += 1
        image = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
        candidates.append(Candidate(image, seed, index, {"clip": 0.3}))
    facts = {"prompt": "a red apple", "pipeline": "noise", "job_id": f"job {seed}",
             "weights": {"linear/8": "ab" * 32}}
    for candidate in record(Result(tuple(candidates), 0.1, facts), "me").candidates:
        print(candidate.metadata["picture_id"], candidate.seed, flush=True)
    votes.cast(Vote(f"vote{seed}", "a red apple", ({"pipeline": "a"}, {"pipeline": "b"}), 1))
    print("vote", seed, flush=True)
"""
ROUNDS, REPORTS = 2, 12


def test_a_killed_process_loses_no_finished_picture(tmp_path: Path, repository: Path) -> None:
    reported: dict[str, int] = {}
    cast: set[str] = set()
    for round_number in range(ROUNDS):
        with subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path), str(100_000 * round_number)],
                cwd=repository, stdout=subprocess.PIPE, text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
            assert process.stdout is not None
            # At another point of its work each time: it does not wait for its reader.
            lines = [process.stdout.readline() for _ in range(REPORTS + round_number)]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
        assert process.returncode == -signal.SIGKILL
        for name, number in (line.split() for line in lines if line.endswith("\n")):
            if name == "vote":
                cast.add(f"vote{number}")
            else:
                reported[name] = int(number)
    assert len(reported) >= ROUNDS * REPORTS // 2
    assert cast

    with sqlite3.connect(tmp_path / "history.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    with opened(tmp_path) as history:
        page = history.page("me", Filters(), size=500)
        kept = {picture.id: picture for picture in page.pictures}
        assert page.total == len(kept) < 500
        assert reported.keys() <= kept.keys(), "a finished picture was lost"
        for picture in kept.values():  # also those that were kept but not reported any more
            facts = read_png(history.files.read(picture.sha256))["easel"]
            assert facts["picture_id"] == picture.id
            assert facts["seed"] == picture.seed == reported.get(picture.id, picture.seed)
        runs = [picture.facts["job_id"] for picture in kept.values()]
        assert all(runs.count(run) == 3 for run in runs), "a run is kept whole or not at all"
        votes = {vote.comparison_id: vote for vote in VoteStore(history.database).votes()}
        assert cast <= votes.keys(), "a vote that was counted was lost"
        assert all(len(vote.panes) == 2 for vote in votes.values())
        history.sweep()
        assert all(history.files.has(picture.sha256) for picture in kept.values())

"""Room for paused runs: of several that ask for the last of it at once, one gets it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from easel.history.database import Database
from easel.history.records import LOCAL
from easel.history.shelves import FolderShelf
from easel.serving.paused_rows import KIND, PausedRows, owner_key
from easel.serving.paused_runs import SHARES, PausedRuns
from pipelines.core.errors import PausedRunError
from tests.test_history_database import KINDS, postgres_server, url

__all__ = ["postgres_server", "url"]
ME = "me"


@pytest.mark.parametrize("limits", [{"max_per_owner": 1}, {"quota_bytes": 1500 * SHARES},
                                    {"quota_bytes": 1500}], ids=["most", "share", "quota"])
@pytest.mark.parametrize("url", KINDS, indirect=True)
def test_of_two_that_look_for_room_at_once_one_gets_it(url: str, tmp_path: Path,
                                                       limits: dict[str, Any]) -> None:
    class MeetingShelf(FolderShelf):
        """Where two states are written at once, each after it was seen that there is room."""

        def put(self, key: str, data: bytes) -> None:
            both.wait(120)
            super().put(key, data)

    both, shelf = Barrier(2), MeetingShelf(tmp_path / "files")
    rows = PausedRows(Database(url), shelf)
    runs = PausedRuns(rows, **limits)
    owner = LOCAL if limits.get("quota_bytes") == 1500 else ME  # who has no share

    def keep(run_id: str) -> str:
        try:
            rows.put(owner_key(owner), run_id, run_id, True, True, b"x" * 1000,
                     {"saved_s": time.time(), "interrupted": False, "header": {}},
                     partial(runs.check_fits, owner_key(owner), 1000, True))
        except PausedRunError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        said = sorted(pool.map(keep, ("a" * 32, "b" * 32)))
    assert said[0] == ""
    assert any(part in said[1] for part in ("run of yours is paused", "of one visitor",
                                            "all the room"))
    assert len(list(shelf.old(KIND, -3600.0))) == 1
    assert rows.used(owner_key(owner), "") == (1000, 1000, 1)

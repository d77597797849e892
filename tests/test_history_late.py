"""Pictures that a database in use kept out: safe on disk, and kept by whoever comes first."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from easel.history import late
from easel.history.recorder import Recorder
from easel.history.records import HistoryError, KeptLater
from easel.history.store import History
from pipelines.core.metadata import encode_png, picture_metadata
from tests.kept import new_picture, opened
from tests.test_history_store import result


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "RETRY_S", 0.05)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    with closing(sqlite3.connect(folder / "history.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def record_while_locked(history: History, folder: Path, *seeds: int) -> KeptLater:
    with locked(folder), pytest.raises(KeptLater, match=r"kept as soon as it is free\.$") as caught:
        Recorder(history)(result(*seeds), "me")
    return caught.value


def test_what_was_drawn_while_the_database_was_in_use_is_kept_later(tmp_path: Path) -> None:
    with opened(tmp_path) as history:
        late = record_while_locked(history, tmp_path, 5, 6)
        until(lambda: history.page("me").total == 2)
        for candidate in late.result.candidates:
            facts = picture_metadata(late.result, candidate)
            kept = history.get("me", facts["picture_id"])
            assert history.files.read(kept.sha256) == encode_png(candidate.image, facts)
            assert kept.facts == facts
        until(lambda: not history.late.waiting())
        assert list((tmp_path / "late").iterdir()) == []


def test_the_next_process_keeps_what_the_last_one_could_not(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as history:
        monkeypatch.setattr(late, "RETRY_S", 3600.0)
        record_while_locked(history, tmp_path, 5)
        assert len(history.late.waiting()) == 1
    monkeypatch.setattr(late, "RETRY_S", 0.05)
    with opened(tmp_path) as history:
        assert history.page("me").total == 0
        history.late.resume()
        until(lambda: history.page("me").total == 1)
        until(lambda: not history.late.waiting())


def test_they_are_kept_in_the_order_of_drawing_whatever_the_clock_says(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "RETRY_S", 3600.0)
    with opened(tmp_path) as history:
        for number in range(1, 4):
            history.late.put("me", [replace(new_picture(seed=number), id=f"{9 - number:032x}")])
            for path in (tmp_path / "late").iterdir():  # each older than the one before
                os.utime(path, (0, path.stat().st_mtime + 3600))
        assert [int(path.stem, 16) for path in history.late.waiting()] == [8, 7, 6]
    monkeypatch.setattr(late, "RETRY_S", 0.05)
    with opened(tmp_path) as history:
        history.late.resume()
        until(lambda: history.page("me").total == 3)
        assert [each.seed for each in history.page("me").pictures] == [3, 2, 1], "newest first"
        until(lambda: not history.late.waiting())


def test_what_was_kept_before_a_crash_is_not_kept_twice(tmp_path: Path) -> None:
    with opened(tmp_path) as history:
        picture = replace(new_picture(), id="a" * 32)
        history.add("me", [picture])
        history.late.put("me", [picture])
        until(lambda: not history.late.waiting())
        assert history.page("me").total == 1


def test_where_not_even_the_folder_takes_them_it_is_said(tmp_path: Path) -> None:
    with opened(tmp_path) as history:
        (tmp_path / "late").write_bytes(b"in the way")
        with locked(tmp_path), pytest.raises(HistoryError, match="try again in a moment"):
            Recorder(history)(result(5), "me")

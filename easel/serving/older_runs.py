"""Paused runs that older versions kept as files, in a folder for each visitor, are taken in.

Such a version may still be running: what it has locked is left alone until it has ended.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from easel.history.records import HistoryError
from easel.serving.kept_run import facts_of
from easel.serving.paused_rows import PausedRows
from pipelines.core.errors import PausedRunError
from pipelines.saved_run import SUFFIX, SavedRun

logger = logging.getLogger(__name__)
PART_S = 3600.0  # older than any writing that still goes on
RUN_ID = re.compile(r"[0-9a-f]{32}")


def take_in(folder: Path, rows: PausedRows) -> None:
    """Make rows of the files of a folder, and remove them, and what killed processes left there.

    A process that is killed in between leaves a file whose row is there, which the next one
    removes. What cannot be taken in now stays, and the log says so.

    Args:
        folder: with a folder for each visitor, called by ``owner_key``; need not be there.
        rows: of all runs.
    """
    for path in sorted(folder.glob("*/*")):
        try:
            if path.suffix == SUFFIX and all(map(RUN_ID.fullmatch, (path.stem, path.parent.name))):
                _take_one(path, rows)
            elif path.stat().st_mtime < time.time() - PART_S:
                path.unlink()
        except (OSError, HistoryError) as error:
            logger.warning("a paused run of an older Easel is not taken in: %s", error)
    for each in (*folder.glob("*"), folder):
        with suppress(OSError):  # something is left in it, or it is not there
            each.rmdir()


def _take_one(path: Path, rows: PausedRows) -> None:
    lock = FileLock(f"{path}.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:  # it is under way
        return
    try:
        with suppress(FileNotFoundError):  # another process was faster
            data, saved_s = path.read_bytes(), path.stat().st_mtime
            owner = path.parent.name
            try:
                run = SavedRun.decode(data)
                facts = {**facts_of(run, run.paused, run.saved_s), "number": run.number}
            except PausedRunError as error:
                facts = {"saved_s": saved_s, "interrupted": False, "frame": None, "number": 0,
                         "header": {"fault": str(error)}}
            rows.add(path.stem, data, {**facts, "owner": owner})
            path.unlink()
            logger.info("a paused run of an older Easel was taken in")
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is held, so that nobody else has it
        lock.release(force=True)

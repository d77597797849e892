"""Take out of the indexes of histories what was deleted for good; nobody may index them again."""

from __future__ import annotations

import shutil
from pathlib import Path

from easel.history.listing import all_ids
from easel.history.store import History
from easel.search.collections import history_folder, history_folders
from easel.search.database import DATABASE, SearchIndexError, only_writer
from easel.search.index import VectorIndex


def forget_purged(history: History, data_dir: Path) -> int:
    """Remove the indexes of owners without a picture, and from the others what is purged.

    Those that are being brought up to date are left to the next time, damaged ones to whoever makes
    them anew.

    Args:
        history: whose pictures count, those that can still be restored among them.
        data_dir: the data folder.

    Returns:
        How many folders and pictures were removed.

    Raises:
        HistoryError: the history cannot be read.
    """
    removed = 0
    for folder in history_folders(data_dir):
        try:
            # Looked at first, since nobody else can index meanwhile.
            if _is_clean(folder, _ids_of(history, data_dir, folder)):
                continue
            with only_writer(folder):
                ids = _ids_of(history, data_dir, folder)  # a first picture may just have been drawn
                if ids:
                    for index in _indexes(folder):
                        gone = [key for key in index.known() if key not in ids]
                        index.remove(gone)
                        removed += len(gone)
                else:
                    shutil.rmtree(folder, ignore_errors=True)
                    removed += 1
        except SearchIndexError:
            continue
    return removed


def _ids_of(history: History, data_dir: Path, folder: Path) -> set[str]:
    """What is kept of the owner of a folder; nothing where it is nobody's any more."""
    for owner in history.owners():
        if history_folder(data_dir, owner) == folder:
            return all_ids(history, owner)
    return set()


def _is_clean(folder: Path, ids: set[str]) -> bool:
    return bool(ids) and all(ids.issuperset(index.known()) for index in _indexes(folder))


def _indexes(folder: Path) -> list[VectorIndex]:
    return [VectorIndex(path.parent) for path in sorted(folder.glob(f"*/{DATABASE}"))]

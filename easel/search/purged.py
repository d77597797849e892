"""Take out of the indexes of histories what was deleted for good; nobody may index them again."""

from __future__ import annotations

import shutil
from pathlib import Path

from easel.history.listing import all_ids
from easel.history.store import History
from easel.search.collections import history_folder, history_folders
from easel.search.database import DATABASE, IndexInUse, SearchIndexError, only_writer
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
            with only_writer(folder):
                # Once nobody else indexes: a first picture may just have been drawn.
                owner = {history_folder(data_dir, name): name for name in history.owners()}.get(
                    folder)
                if owner is None:
                    shutil.rmtree(folder, ignore_errors=True)
                    removed += 1
                else:
                    removed += _forget(folder, all_ids(history, owner))
        except (IndexInUse, SearchIndexError):
            continue
    return removed


def _forget(collection: Path, ids: set[str]) -> int:
    removed = 0
    for folder in (path.parent for path in sorted(collection.glob(f"*/{DATABASE}"))):
        index = VectorIndex(folder)
        gone = [key for key in index.known() if key not in ids]
        index.remove(gone)
        removed += len(gone)
    return removed

"""Paths as an index keeps them: below the data folder relative to it, so that it may be moved."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder(index: Path) -> Path:
    """The data folder of an index, which lies in it as ``search/COLLECTION/CLIP``."""
    return index.parent.parent.parent


def kept_path(path: str | Path, root: Path) -> str | bytes:
    """What the database keeps of a path; bytes where its name is not text."""
    whole = Path(path)
    # What lies elsewhere on this machine is named by its whole path.
    text = str(whole.relative_to(root) if whole.is_relative_to(root) else whole)
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def found_path(kept: str | bytes, root: Path) -> str:
    """The path that ``kept_path`` was given, also where the data folder lies now.

    Indexes of earlier versions hold whole paths, which stay as they are.
    """
    return str(root / (os.fsdecode(kept) if isinstance(kept, bytes) else kept))

"""Which index belongs to a CLIP as it is now: found, made, replaced when allowed, or refused."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from easel.search.database import DATABASE, IndexOutdated, SearchIndexError
from easel.search.index import VERSION, VectorIndex
from pipelines.core.errors import reason
from pipelines.core.files import safe_stem


def index_folder(collection: Path, model_id: str, fingerprint: str) -> Path:
    """Where a collection keeps the index of a CLIP with certain weights."""
    return collection / f"{safe_stem(model_id)}-{safe_stem(fingerprint)[:12]}"


def outdated(collection: Path, model_id: str, fingerprint: str) -> list[Path]:
    """Folders of a collection's indexes that the same CLIP made with other weights."""
    current = index_folder(collection, model_id, fingerprint)
    stem = safe_stem(model_id)
    return [path for path in sorted(collection.glob(f"{stem}-*"))
            if path != current and len(path.name.removeprefix(f"{stem}-")) <= 12]


def find_index(collection: Path, model_id: str, fingerprint: str) -> VectorIndex | None:
    """The index of a collection by a CLIP as it is now, None where there is none yet.

    Raises:
        IndexOutdated: there is one, of other weights, of another version or damaged.
    """
    folder = index_folder(collection, model_id, fingerprint)
    if not (folder / DATABASE).exists():
        if outdated(collection, model_id, fingerprint):
            raise IndexOutdated("The index of these pictures was made with other weights of this "
                                "CLIP: allow a rebuild to make it again.")
        return None
    index = VectorIndex(folder)
    if index.version != VERSION or index.fingerprint != fingerprint:
        raise IndexOutdated("The index of these pictures was made by another version of Easel: "
                            "allow a rebuild to make it again.")
    return index


def open_index(collection: Path, model_id: str, fingerprint: str, dim: int,
               rebuild: bool = False) -> VectorIndex:
    """The index of a collection by a CLIP, a new one where there is none.

    Args:
        collection: folder of the collection's indexes.
        model_id: id of the CLIP.
        fingerprint: of its weights.
        dim: length of its features.
        rebuild: whether an index that cannot be used may be replaced. Those of other weights stay
            until ``drop_outdated``, so that nothing is lost if the new one is not finished.

    Raises:
        IndexOutdated: as ``find_index``, without ``rebuild``.
        SearchIndexError: it cannot be made.
    """
    folder = index_folder(collection, model_id, fingerprint)
    try:
        index = find_index(collection, model_id, fingerprint)
        if index is not None and index.dim == dim:
            index.check()
            return index
        if index is not None and not rebuild:
            raise IndexOutdated("The index of these pictures has vectors of another length: allow "
                                "a rebuild to make it again.")
    except SearchIndexError:
        if not rebuild:
            raise
    try:
        shutil.rmtree(folder, ignore_errors=True)
        return VectorIndex.create(folder, model_id, fingerprint, dim)
    except (OSError, sqlite3.Error) as error:
        raise SearchIndexError("The search index could not be made: {}.",
                               reason(error)) from error


def drop_outdated(collection: Path, model_id: str, fingerprint: str) -> None:
    """Remove the indexes that the same CLIP made with other weights, once a new one is whole."""
    for folder in outdated(collection, model_id, fingerprint):
        shutil.rmtree(folder, ignore_errors=True)

"""Candidates out of very many vectors: 4-bit product quantisation, scanned in registers.

The codes only propose; ``easel.search.query`` compares the proposed vectors exactly. An index by
cells or graphs would leave most vectors out, which loses the nearest ones where vectors are
spread evenly; a scan of short codes looks at all of them and is still many times faster than
floats.

Source: Jégou et al., "Product Quantization for Nearest Neighbor Search" (2011); André et al.,
"Quicker ADC: Unlocking the Hidden Potential of Product Quantization with SIMD" (2019).
"""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from easel.search.database import SearchIndexError
from easel.search.index import VectorIndex
from easel.search.snapshot import Snapshot

if TYPE_CHECKING:
    import faiss

FROM_ROWS = 100_000  # below this, comparing with every vector is fast enough
REFRESH_SHARE = 0.1  # of rows that the codes lack, from which they are brought up to date
TRAINING_ROWS = 50_000
AT_ONCE = 65_536
MAX_PARTS = 128  # of a vector, each in four bits
MIN_CANDIDATES = 1000
CANDIDATES_PER_HIT = 100


def parts_of(dim: int) -> int:
    """Into how many parts a vector is cut: at least two numbers each, and no rest."""
    return max(m for m in range(1, min(MAX_PARTS, max(1, dim // 2)) + 1) if dim % m == 0)


def codes_path(folder: Path, generation: int) -> Path:
    """The file of an index's codes."""
    return folder / f"codes-{generation}.faiss"


def build(vectors: np.ndarray) -> faiss.IndexPQFastScan:
    """Codes of vectors.

    Args:
        vectors: (R, D) float32, unit length.
    """
    import faiss

    dim = vectors.shape[1]
    index = faiss.IndexPQFastScan(dim, parts_of(dim), 4, faiss.METRIC_INNER_PRODUCT)
    picks = np.sort(np.random.default_rng(0).permutation(len(vectors))[:TRAINING_ROWS])
    index.train(np.ascontiguousarray(vectors[picks]))  # pyright: ignore[reportCallIssue]
    return _extended(index, vectors)


def _extended(index: faiss.IndexPQFastScan, vectors: np.ndarray) -> faiss.IndexPQFastScan:
    for start in range(index.ntotal, len(vectors), AT_ONCE):
        part = np.ascontiguousarray(vectors[start:start + AT_ONCE])
        index.add(part)  # pyright: ignore[reportCallIssue]
    return index


def refresh(index: VectorIndex) -> None:
    """Make or extend the codes of a large index, atomically; nothing for a small one.

    Raises:
        SearchIndexError: they cannot be written; search works without them, slower.
    """
    snapshot = index.snapshot()
    rows = len(snapshot.vectors)
    if rows < FROM_ROWS:
        return
    path = codes_path(snapshot.folder, snapshot.generation)
    codes = load(path, _stamp(path))
    if codes is not None and rows - codes.ntotal < REFRESH_SHARE * rows:
        return
    codes = build(snapshot.vectors) if codes is None else _extended(codes, snapshot.vectors)
    _write(codes, path)


def _write(codes: faiss.IndexPQFastScan, path: Path) -> None:
    import faiss

    for left in path.parent.glob(".codes*.part"):  # by a process that was killed meanwhile
        left.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(prefix=".codes", suffix=".part", dir=path.parent)
    os.close(handle)
    try:
        faiss.write_index(codes, name)
        with open(name, "rb") as file:
            os.fsync(file.fileno())
        os.replace(name, path)
    except (OSError, RuntimeError) as error:
        Path(name).unlink(missing_ok=True)
        raise SearchIndexError("The search index could not be written; what was indexed before "
                               "is kept.") from error


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4)
def load(path: Path, stamp: int) -> faiss.IndexPQFastScan | None:
    """Codes from a file, kept in memory until it changes; None where there are none."""
    if not stamp:
        return None
    import faiss

    try:
        found = faiss.read_index(str(path))
    except RuntimeError:  # cut short or of another version: search works without
        return None
    return found if isinstance(found, faiss.IndexPQFastScan) else None


def propose(snapshot: Snapshot, query: np.ndarray, limit: int) -> np.ndarray | None:
    """Rows that may be among the ``limit`` nearest ones, with all that the codes lack.

    Args:
        snapshot: of a large index.
        query: (D,) float32.
        limit: how many nearest rows are wanted.

    Returns:
        (n,) int64 rows of ``snapshot.vectors``, ascending; None where there are no codes.
    """
    path = codes_path(snapshot.folder, snapshot.generation)
    codes = load(path, _stamp(path))
    if codes is None:
        return None
    covered, rows = codes.ntotal, len(snapshot.vectors)
    wanted = min(covered, max(MIN_CANDIDATES, CANDIDATES_PER_HIT * limit))
    _, found = codes.search(query[None].astype(np.float32), wanted)  # pyright: ignore
    proposed = found[0][(found[0] >= 0) & (found[0] < rows)]
    return np.sort(np.concatenate([proposed, np.arange(min(covered, rows), rows)]))

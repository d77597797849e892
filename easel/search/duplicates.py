"""Pictures that are nearly the same: groups whose members are alike above a threshold."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from easel.search.snapshot import Snapshot
from pipelines.core.errors import InvalidRequest

BLOCK = 2048
MAX_PICTURES = 200_000  # every pair is looked at


@dataclass(frozen=True)
class DuplicatesProgress:
    """How far the comparison of all pairs is.

    Attributes:
        share: of the pairs, in [0, 1].
        groups: positions of pictures that belong together, the largest group first; empty until
            the end.
    """

    share: float
    groups: tuple[tuple[int, ...], ...] = ()


def near_duplicates(snapshot: Snapshot, threshold: float = 0.97, mask: np.ndarray | None = None,
                    ) -> Generator[DuplicatesProgress]:
    """Groups of pictures linked by pairs whose cosine similarity reaches a threshold.

    Args:
        snapshot: where to look.
        threshold: in (0, 1].
        mask: (N,) bool, which pictures count; all where None.

    Yields:
        Progress after each block of pairs; the last one has the groups.

    Raises:
        InvalidRequest: the threshold is out of range, or there are too many pictures.
    """
    if not 0 < threshold <= 1:
        raise InvalidRequest("The threshold of near-duplicates must be above 0 and at most 1.",
                             field="threshold")
    positions = np.arange(len(snapshot)) if mask is None else np.flatnonzero(mask)
    count = len(positions)
    if count > MAX_PICTURES:
        raise InvalidRequest("Near-duplicates are looked for among at most {:,} pictures: narrow "
                             "them down by date or generator.", MAX_PICTURES, field="threshold")
    groups, blocks = np.arange(count), range(0, count, BLOCK)
    pairs, seen = max(1, len(blocks) * (len(blocks) + 1) // 2), 0
    for start in blocks:
        rows = snapshot.features(positions[start:start + BLOCK])
        for other in range(start, count, BLOCK):
            columns = rows if other == start else snapshot.features(positions[other:other + BLOCK])
            # Rounding puts a picture and its copy a little below 1.
            alike = rows @ columns.T >= threshold - 1e-6
            first, second = np.nonzero(np.triu(alike, 1) if other == start else alike)
            if len(first):
                groups = _joined(groups, start + first, other + second)
            seen += 1
            yield DuplicatesProgress(seen / pairs)
    order = np.argsort(groups, kind="stable")
    members = np.split(positions[order], np.flatnonzero(np.diff(groups[order])) + 1)
    found = sorted((tuple(m.tolist()) for m in members if len(m) > 1),
                   key=lambda group: (-len(group), group))
    yield DuplicatesProgress(1.0, tuple(found))


def _joined(groups: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Groups after pairs were linked.

    Args:
        groups: (N,) int64, for each picture the first member of its group.
        first: (P,) int64, one picture of each pair.
        second: (P,) int64, the other one.

    Returns:
        (N,) int64.
    """
    # The graphs of scipy, a second to import.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known, places = np.unique(groups[np.concatenate([first, second])], return_inverse=True)
    links = coo_array((np.ones(len(first), np.float32), (places[:len(first)], places[len(first):])),
                      shape=(len(known), len(known)))
    count, parts = connected_components(links, directed=False)
    least = np.full(count, len(groups))
    np.minimum.at(least, parts, known)
    joined = np.arange(len(groups))
    joined[known] = least[parts]
    return joined[groups]

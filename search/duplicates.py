"""Pictures that are nearly the same: groups whose members are alike above a threshold."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from pipelines.errors import InvalidRequest
from search.snapshot import Snapshot

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


class _Groups:
    """Disjoint sets with path halving."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def root(self, item: int) -> int:
        parent = self.parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, first: int, second: int) -> None:
        a, b = sorted((self.root(first), self.root(second)))
        self.parent[b] = a


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
                             "threshold")
    positions = np.arange(len(snapshot)) if mask is None else np.flatnonzero(mask)
    count = len(positions)
    if count > MAX_PICTURES:
        raise InvalidRequest(f"Near-duplicates are looked for among at most {MAX_PICTURES:,} "
                             "pictures: narrow them down by date or generator.", "threshold")
    groups, blocks = _Groups(count), range(0, count, BLOCK)
    pairs, seen = max(1, len(blocks) * (len(blocks) + 1) // 2), 0
    for start in blocks:
        rows = snapshot.features(positions[start:start + BLOCK])
        for other in range(start, count, BLOCK):
            columns = rows if other == start else snapshot.features(positions[other:other + BLOCK])
            # Rounding puts a picture and its copy a little below 1.
            alike = rows @ columns.T >= threshold - 1e-6
            for a, b in zip(*np.nonzero(np.triu(alike, 1) if other == start else alike),
                            strict=True):
                groups.join(start + int(a), other + int(b))
            seen += 1
            yield DuplicatesProgress(seen / pairs)
    members: dict[int, list[int]] = {}
    for item in range(count):
        members.setdefault(groups.root(item), []).append(int(positions[item]))
    found = sorted((tuple(m) for m in members.values() if len(m) > 1),
                   key=lambda group: (-len(group), group))
    yield DuplicatesProgress(1.0, tuple(found))

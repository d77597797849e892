"""Find pictures by texts and pictures, added and subtracted, with filters and a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from easel.search import approximate
from easel.search.snapshot import Item, Snapshot
from pipelines.core.errors import InvalidRequest

MAX_LIMIT = 1000
EXACT_ROWS = approximate.FROM_ROWS


@dataclass(frozen=True)
class Filters:
    """Which pictures count at all.

    Attributes:
        since_s: made at this time or later, in seconds since 1970.
        until_s: made before this time.
        pipelines: drawn by one of these; any where empty.
    """

    since_s: float | None = None
    until_s: float | None = None
    pipelines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hit:
    """A picture that was found, with its cosine similarity to the query."""

    item: Item
    similarity: float


def combine(parts: Sequence[tuple[np.ndarray, float]]) -> np.ndarray:
    """One direction out of several: the weighted sum, made unit length.

    Ranking by it is ranking by the weighted sum of similarities.

    Args:
        parts: (D,) float32 of unit length each, and its weight, negative to subtract it.

    Returns:
        (D,) float32, unit length.

    Raises:
        InvalidRequest: nothing is asked for, or the parts cancel each other out.
    """
    if not parts:
        raise InvalidRequest("There is nothing to look for: give a text or a picture.",
                             field="text")
    total = np.sum([weight * vector for vector, weight in parts], axis=0, dtype=np.float32)
    length = float(np.linalg.norm(total))
    if length < 1e-4 * max(abs(weight) for _, weight in parts):
        raise InvalidRequest("The parts of the query cancel each other out: change one of them.",
                             field="text")
    return np.asarray(total / length, np.float32)


def allowed(snapshot: Snapshot, filters: Filters) -> np.ndarray | None:
    """(N,) bool over the pictures of a snapshot, None where all of them count."""
    masks = []
    if filters.since_s is not None:
        masks.append(snapshot.created_s >= filters.since_s)
    if filters.until_s is not None:
        masks.append(snapshot.created_s < filters.until_s)
    if filters.pipelines:
        codes = [code for code, name in enumerate(snapshot.pipeline_names)
                 if name in filters.pipelines]
        masks.append(np.isin(snapshot.pipelines, codes))
    return np.logical_and.reduce(masks) if masks else None


def nearest(snapshot: Snapshot, query: np.ndarray, limit: int, threshold: float | None = None,
            mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Positions and similarities of the pictures nearest to a direction.

    Up to ``EXACT_ROWS`` pictures every vector is compared; above, those that the codes propose.

    Args:
        snapshot: where to look.
        query: (D,) float32, unit length.
        limit: how many at most.
        threshold: least similarity; any where None.
        mask: (N,) bool, which pictures count; all where None.

    Returns:
        (n,) int64 positions, the nearest first, and (n,) float32 similarities.
    """
    positions = None if mask is None else np.flatnonzero(mask)
    count = len(snapshot) if positions is None else len(positions)
    if count >= EXACT_ROWS:
        share = count / max(1, len(snapshot))
        rows = approximate.propose(snapshot, query, round(limit / share))
        if rows is not None:
            proposed = rows if snapshot.dense else snapshot.positions_of(rows)
            positions = proposed if mask is None else proposed[mask[proposed]]
    similarities = snapshot.features(positions) @ query
    order = top(similarities, limit)
    if threshold is not None:
        order = order[similarities[order] >= threshold]
    return (order if positions is None else positions[order]), similarities[order]


def top(values: np.ndarray, limit: int) -> np.ndarray:
    """Indices of the ``limit`` highest values, highest first; of equal ones the first comes first.

    Args:
        values: (N,) float32.
    """
    if limit < len(values):
        # All that reach the last place, so that ties there are broken by position alone.
        least = np.partition(values, -limit)[-limit]
        reach = np.flatnonzero(values >= least)
    else:
        reach = np.arange(len(values))
    return reach[np.argsort(-values[reach], kind="stable")][:limit]


def search(snapshot: Snapshot, query: np.ndarray, limit: int = 24, threshold: float | None = None,
           filters: Filters | None = None) -> list[Hit]:
    """The pictures nearest to a query, with their facts.

    Args:
        snapshot: where to look.
        query: (D,) float32 of ``combine``.
        limit: 1 to ``MAX_LIMIT``.
        threshold: least similarity, in [-1, 1]; any where None.
        filters: which pictures count; all where None.

    Raises:
        InvalidRequest: a limit or threshold out of its range.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest("The number of results must be 1 to {:,}.", MAX_LIMIT, field="limit")
    if threshold is not None and not -1 <= threshold <= 1:
        raise InvalidRequest("The threshold must be between -1 and 1.", field="threshold")
    if not len(snapshot):
        return []
    picks, similarities = nearest(snapshot, query, limit, threshold,
                                  allowed(snapshot, filters or Filters()))
    return [Hit(item, float(similarity)) for item, similarity
            in zip(snapshot.items(picks.tolist()), similarities, strict=True)]

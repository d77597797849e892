"""Ask a collection: texts and pictures to a direction, a direction to pictures."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from easel.search.collections import Collection
from easel.search.database import SearchIndexError
from easel.search.index import VectorIndex
from easel.search.opening import find_index
from easel.search.query import combine
from easel.search.snapshot import Snapshot
from easel.serving.interface import Backend
from pipelines.core.errors import InvalidRequest
from pipelines.core.texts import check_text
from pipelines.models.clip_features import Features

MAX_TEXT_CHARS = 2000
SNAPSHOTS = 8


class Searcher:
    """Queries on a backend, with the snapshots in use kept open.

    Args:
        backend: where texts and pictures are embedded.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._lock = threading.Lock()
        self._snapshots: OrderedDict[Path, Snapshot] = OrderedDict()

    def features(self, model_id: str, texts: Sequence[str] = (),
                 images: Sequence[np.ndarray] = ()) -> Features:
        """Features of texts and pictures; see ``Backend.embed``.

        Raises:
            InvalidRequest: a text is too long, or holds half a character.
        """
        if any(len(text) > MAX_TEXT_CHARS for text in texts):
            raise InvalidRequest("A text has more than {:,} characters.", MAX_TEXT_CHARS,
                                 field="text")
        for text in texts:
            check_text(text, "The text", "text")
        return self.backend.embed(model_id, images, texts)

    def direction(self, model_id: str, texts: Sequence[tuple[str, float]] = (),
                  images: Sequence[tuple[np.ndarray, float]] = (),
                  ) -> tuple[Features, np.ndarray]:
        """What a query looks for.

        Args:
            model_id: id of the CLIP.
            texts: each with its weight, negative for "minus"; blank ones are left out.
            images: (H, W, 3) uint8 RGB each with its weight.

        Returns:
            The features in use, and the direction (D,) float32 of unit length.

        Raises:
            InvalidRequest: nothing is asked for, only subtracted, or it cancels itself out.
        """
        said = [(text.strip(), weight) for text, weight in texts if text.strip() and weight]
        shown = [(image, weight) for image, weight in images if weight]
        if (said or shown) and not any(weight > 0 for _, weight in [*said, *shown]):
            raise InvalidRequest("There is only something to leave out: say also what to look for.",
                                 field="text")
        if not said and not shown:
            combine([])
        found = self.features(model_id, [text for text, _ in said], [image for image, _ in shown])
        parts = [*zip(found.texts, [w for _, w in said], strict=False),
                 *zip(found.images, [w for _, w in shown], strict=False)]
        return found, combine(parts)

    def snapshot(self, collection: Collection, clip: Features) -> Snapshot:
        """A collection as it was indexed by a CLIP.

        Raises:
            IndexOutdated: the index is of other weights, of another version or damaged.
            SearchIndexError: the collection was not indexed yet.
        """
        index = find_index(collection.folder, clip.model_id, clip.fingerprint)
        if index is None:
            raise SearchIndexError("{} was not indexed with this CLIP yet: index it first.",
                                   collection.title)
        return self._opened(index)

    def _opened(self, index: VectorIndex) -> Snapshot:
        with self._lock:
            kept = self._snapshots.get(index.folder)
        if kept is None or kept.change != index.change():
            kept = index.snapshot(kept)
        with self._lock:
            self._snapshots[index.folder] = kept
            self._snapshots.move_to_end(index.folder)
            while len(self._snapshots) > SNAPSHOTS:
                self._snapshots.popitem(last=False)
        return kept

"""Bring an index up to date with its pictures: embed what is new, forget what is gone.

Each batch is committed by itself, so a run that is stopped, or whose machine fails, resumes where
it was when it is started again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from easel.search import approximate
from easel.search.database import only_writer
from easel.search.files import Decoded, PictureFile, decode_all, with_own_keys
from easel.search.index import VectorIndex
from easel.search.opening import drop_outdated, open_index
from easel.search.snapshot import Item
from easel.serving.interface import Backend
from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.sentences import Sentence, joined
from pipelines.models.clip_features import Features

BATCH_SIZE = 64
FIRST_BATCH = 8  # the device begins before the first ``BATCH_SIZE`` pictures are decoded
IN_FLIGHT = 2  # batches on their way to the device, so that it need not wait for the disk


@dataclass(frozen=True)
class UpdateProgress:
    """How far a run is.

    Attributes:
        done: files that were looked at, of those that are new or changed.
        total: how many those are.
        kept: pictures that were in the index already.
        removed: pictures that were in the index and are gone.
        unreadable: name and reason of files that could not be read, all that the index knows.
        elapsed_s: seconds since the run began.
        finished: whether this is the last word.
    """

    done: int
    total: int
    kept: int
    removed: int
    unreadable: tuple[tuple[str, str], ...]
    elapsed_s: float
    finished: bool = False

    def message(self) -> Sentence:
        """The same as a sentence."""
        rate = self.done / self.elapsed_s if self.elapsed_s > 0 else 0.0
        if not self.finished:
            parts = [Sentence("Indexing: {:,} of {:,} pictures", self.done, self.total)]
            if rate:
                parts.append(Sentence("about {:.0f} s left", (self.total - self.done) / rate))
            return joined(", ", parts, end=".")
        new, bad = max(0, self.done), len(self.unreadable)
        parts = [Sentence("The index is up to date: {:,} new", new) if new
                 else Sentence("The index is up to date: nothing new"),
                 Sentence("{:,} known already", self.kept)]
        parts += [Sentence("{:,} gone", self.removed)] if self.removed else []
        parts += [Sentence("{:,} that cannot be read", bad)] if bad else []
        return joined(", ", parts, end=".")


def update_index(collection: Path, files: Callable[[], Sequence[PictureFile]], backend: Backend,
                 model_id: str, rebuild: bool = False,
                 unwanted: Callable[[], bool] = lambda: False) -> Generator[UpdateProgress]:
    """Index the pictures of a collection.

    Args:
        collection: folder of the collection's indexes.
        files: lists the pictures as they are now; an error of its leaves the index as it was.
        backend: where pictures are embedded, each batch in turn with the other jobs.
        model_id: id of the CLIP.
        rebuild: whether an index of other weights, of another version or damaged is replaced.
        unwanted: asked after each picture whether to end there, with what is done kept.

    Yields:
        Progress after each batch; closing the generator ends the run and keeps what is done.

    Raises:
        IndexOutdated: the index would have to be replaced, without ``rebuild``.
        IndexInUse: another run indexes the collection.
        SearchIndexError: it cannot be written.
        Busy: the queue is full.
        Cancelled: it is not wanted any more.
        EaselError: the CLIP cannot be loaded, or the files cannot be listed.
    """
    started = time.monotonic()
    listed = with_own_keys(files())
    clip = backend.embed(model_id, texts=["."])
    with only_writer(collection):
        index = open_index(collection, model_id, clip.fingerprint, clip.texts.shape[1], rebuild)
        known = index.known()
        present = {file.key for file in listed}
        gone = [key for key in known if key not in present]
        fresh = [f for f in listed if known.get(f.key) != (f.size_bytes, f.mtime_ns)]
        kept = len(listed) - len(fresh)
        index.move(listed)
        done = 0

        def progress(finished: bool = False) -> UpdateProgress:
            faults = tuple(index.unreadable()) if finished else ()
            return UpdateProgress(done, len(fresh), kept, len(gone), faults,
                                  time.monotonic() - started, finished)

        yield progress()
        with closing(embed_files(fresh, backend, clip, _still_there(files, listed),
                                 unwanted)) as batches:
            for pictures, features in batches:
                _commit(index, pictures, features)
                done += len(pictures)
                yield progress()
        index.remove(gone)
        approximate.refresh(index)
        drop_outdated(collection, model_id, clip.fingerprint)
        yield progress(finished=True)


def _still_there(files: Callable[[], Sequence[PictureFile]], listed: Sequence[PictureFile],
                 ) -> Callable[[], None]:
    """Raises the listing's own error once the whole collection has vanished during a run."""
    def check() -> None:
        if listed and not files():
            raise InvalidRequest("The pictures vanished while they were indexed; what was indexed "
                                 "before is kept.", field="folder")

    return check


Batch = tuple[list[Decoded], Features | None]


def embed_files(files: Sequence[PictureFile], backend: Backend, clip: Features,
                still_there: Callable[[], None] = lambda: None,
                unwanted: Callable[[], bool] = lambda: False) -> Generator[Batch]:
    """Decode files in threads and embed them, each batch in turn with the other jobs.

    Args:
        files: the pictures.
        backend: where they are embedded.
        clip: facts of the CLIP, as ``Backend.embed`` says them.
        still_there: called after a batch without a readable picture; may raise.
        unwanted: asked after each picture, of which one may take a second: whether to end here.

    Yields:
        Decoded pictures, in order, with the features of the readable ones among them.

    Raises:
        Cancelled: they are not wanted any more.
    """
    decoded, size = decode_all(files, clip.image_size), min(FIRST_BATCH, BATCH_SIZE)
    waiting: deque[tuple[list[Decoded], Future[Features] | None]] = deque()
    with closing(decoded), ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="embed") as pool:
        try:
            while True:
                batch = []
                for picture in islice(decoded, size):
                    if unwanted():
                        raise Cancelled
                    batch.append(picture)
                size = min(2 * size, BATCH_SIZE)
                if batch:
                    squares = [p.square for p in batch if p.square is not None]
                    if not squares:
                        still_there()
                    # In the context of whoever asks, whose jobs these are.
                    waiting.append((batch, pool.submit(copy_context().run, backend.embed,
                                                       clip.model_id, squares)
                                    if squares else None))
                if waiting and (not batch or len(waiting) > IN_FLIGHT - 1):
                    pictures, future = waiting.popleft()
                    yield pictures, future.result() if future else None
                elif not batch:
                    return
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _commit(index: VectorIndex, pictures: Sequence[Decoded], features: Features | None) -> None:
    readable = [p for p in pictures if p.square is not None]
    items = [Item(p.file.key, str(p.file.path), p.file.size_bytes, p.file.mtime_ns,
                  p.file.mtime_ns / 1e9 if p.file.created_s is None else p.file.created_s,
                  p.pipeline, p.prompt) for p in readable]
    # A time that no file has makes the next run try again.
    faults = [(p.file.key, p.file.size_bytes, -1 if p.refused else p.file.mtime_ns, p.reason)
              for p in pictures if p.square is None]
    if features is not None and features.fingerprint != index.fingerprint:
        raise InvalidRequest("The CLIP was exchanged while pictures were indexed; start again.",
                             field="model")
    vectors = features.images if features is not None else np.zeros((0, index.dim), np.float32)
    index.add(items, vectors, faults)

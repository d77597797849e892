"""Models shared by all runs on one device: leased, loaded once, evicted when idle.

``with cache.lease("embedded/vqgan") as model:`` holds a model in place. However many threads ask
for a model at once, it is built once, on the cache's own thread, which also keeps two
constructions apart (libraries patch globals while they build) and outside any inference mode.

What is where is decided under a lock (``pipelines.models.cache.placement``); loads and moves
follow on that one thread in the order of the decisions, so that memory never holds more than was
decided.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from pipelines.core.amounts import megabytes
from pipelines.core.errors import Cancelled, EaselError, OutOfMemory, WeightsError
from pipelines.core.sentences import Sentence, joined
from pipelines.models.cache.loader_thread import Loader, LoaderThread
from pipelines.models.cache.placement import Entry, ModelKey, Move, Placement
from pipelines.models.cache.stats import CacheStats, stats_of
from pipelines.models.clip_features import Embeddings
from pipelines.models.offload import Footprint

logger = logging.getLogger(__name__)
POLL_S = 0.05


class ModelCache:
    """Models on one device and in host memory, under a budget of bytes each.

    Args:
        loader: builds models by id.
        device: where models are used.
        dtype: dtype of a lease that names none.
        budget_bytes: the most that models may take on the device together; None for no limit.
            Idle models leave to make room, see ``pipelines.models.cache.placement``; leased and
            pinned ones never do.
        host_budget_bytes: the most that models that left the device may take in host memory;
            0 drops them.
        reserve_bytes: memory of an accelerator that a load leaves free for activations.
        room_timeout_s: how long a lease waits for others to give room back.
        offloadable: which models may compute on the device with their weights in host memory where
            the device has no room for them, see ``pipelines.models.offload``; none by default.
        clock: seconds, to time loads with.
    """

    def __init__(self, loader: Loader, device: torch.device | str = "cpu",
                 dtype: torch.dtype = torch.float32, budget_bytes: int | None = None,
                 room_timeout_s: float = 60.0, *, host_budget_bytes: int | None = 0,
                 reserve_bytes: int = 0, clock: Callable[[], float] = time.monotonic,
                 offloadable: Callable[[str], bool] = lambda model_id: False) -> None:
        self.device, self.dtype, self.loader = torch.device(device), dtype, loader
        self._offloadable = offloadable
        self._room_timeout_s = room_timeout_s
        self._placement = Placement(budget_bytes, host_budget_bytes)
        # Reentrant, because the garbage collector may close a generator that holds a lease while
        # this very thread has the lock.
        self._changed = threading.Condition(threading.RLock())
        self._loader_thread = LoaderThread(loader, self.device, reserve_bytes, clock)
        self.embeddings = Embeddings(make_room=self.evict_idle)

    @contextmanager
    def lease(self, model_id: str, *, dtype: torch.dtype | None = None,
              cancelled: Callable[[], bool] = lambda: False) -> Iterator[Any]:
        """Hold a model in place for the length of a ``with`` block.

        Args:
            model_id: id in the catalogue.
            dtype: dtype of the parameters, the cache's own where None.
            cancelled: polled while waiting for the model.

        Yields:
            The model, shared with all other leases of the same id and dtype.

        Raises:
            Cancelled: ``cancelled`` turned true while waiting; a load that others wait for, or
                that has begun, continues.
            WeightsError: the model could not be built; the next lease tries again.
            OutOfMemory: there is no room, even with all idle models evicted.
        """
        key = self._key(model_id, dtype)
        entry, future = self._ask(key, cancelled)
        try:
            yield self._await(entry, future, cancelled)
        finally:
            with self._changed:
                entry.leases -= 1
                self._placement.touch(entry)
                self._changed.notify_all()

    def loading_message(self, model_id: str, *, dtype: torch.dtype | None = None) -> str | None:
        """What a lease would have to wait for, as a sentence; None where the model is here.

        For example "Loading the VQGAN, 12 MB, took 0.4 s last time."
        """
        key = self._key(model_id, dtype)
        with self._changed:
            entry = self._placement.entries.get(key) or Entry(key)
            if entry.place == "device" and entry.future is None:
                return None
            on_host, size_bytes = entry.place == "host", entry.size_bytes
            last_s = entry.move_s if on_host else entry.load_s
        try:
            size_bytes = size_bytes or self.loader.size_bytes(model_id, key.dtype)
            title = self.loader.title(model_id)
        except EaselError:  # the lease itself will say what is wrong
            return None
        parts = [Sentence("Moving the {} to the device" if on_host else "Loading the {}", title)]
        if size_bytes:
            parts.append(Sentence("{}", megabytes(size_bytes)))
        if last_s is not None:
            parts.append(Sentence("took {:.1f} s last time", last_s))
        return joined(", ", parts, end=".")

    def fingerprints(self, model_ids: Iterable[str]) -> dict[str, str | None]:
        """SHA-256 of the weights of each model, by id."""
        return {model_id: self.loader.fingerprint(model_id) for model_id in sorted(model_ids)}

    def fits(self, model_ids: Iterable[str]) -> bool:
        """Whether models may be here at the same time; what is not known counts nothing."""
        budget = self._placement.device_budget_bytes
        if budget is None:
            return True
        need = 0
        for model_id in set(model_ids):
            with suppress(EaselError):  # the lease itself will say what is wrong
                need += self.loader.size_bytes(model_id, self.dtype)
        return need <= budget

    def used_bytes(self) -> int:
        """Bytes of the models that are on the device or on their way there."""
        with self._changed:
            return self._placement.used_bytes("device")

    def evict_idle(self) -> int:
        """Take every idle model off the device; returns the bytes that came free there."""
        with self._changed:
            before = self._placement.used_bytes("device")
            moves = self._placement.evict(lambda: False)
            freed = before - self._placement.used_bytes("device")
            self._changed.notify_all()
        if freed:
            self._loader_thread.carry_out_now(moves)
        return freed

    def pin(self, model_id: str, pinned: bool = True, *, dtype: torch.dtype | None = None) -> None:
        """Keep a model on the device once it is there, or let it go again."""
        with self._changed:
            self._placement.entry(self._key(model_id, dtype)).pinned = pinned
            self._changed.notify_all()

    def unload(self, model_id: str) -> bool:
        """Drop a model from device and host, in every dtype, pinned or not.

        Returns:
            Whether it is gone; False where somebody uses or awaits it.
        """
        with self._changed:
            entries = [e for e in self._placement.entries.values() if e.key.model_id == model_id]
            free = [e for e in entries if not e.leases and e.future is None]
            for entry in free:
                self._placement.drop(entry)
                entry.pinned = False
            self._changed.notify_all()
        self._loader_thread.give_back()
        return len(free) == len(entries)

    def stats(self) -> CacheStats:
        """Figures of the cache and of every model that was ever asked for."""
        with self._changed:
            return stats_of(self._placement)

    def close(self) -> None:
        """Drop idle models and end the loader's thread; leases that were never given back are
        reported in the log."""
        self._loader_thread.close()
        with self._changed:
            for entry in self._placement.entries.values():
                if entry.leases:
                    logger.error("leases of %s that were never given back: %d",
                                 entry.key.model_id, entry.leases)
                else:
                    self._placement.drop(entry)
        self._loader_thread.give_back()

    # What follows runs in the asking thread.

    def _key(self, model_id: str, dtype: torch.dtype | None) -> ModelKey:
        return ModelKey(model_id, str(self.device), dtype or self.dtype)

    def _ask(self, key: ModelKey, cancelled: Callable[[], bool],
             ) -> tuple[Entry, Future[None] | None]:
        """Count a lease, and start a build where the model is neither here nor on its way.

        Returns:
            The entry, and the build to wait for, None where the model is here.
        """
        expected = None
        deadline = time.monotonic() + self._room_timeout_s
        with self._changed:
            entry = self._placement.entry(key)
            while entry.place != "device":
                if cancelled():
                    raise Cancelled
                if expected is None:
                    expected = self._expected_bytes(entry)  # the world may have changed meanwhile
                elif (moves := self._room(entry, expected,
                                          time.monotonic() > deadline)) is not None:
                    entry.misses += 1
                    return entry, self._start(entry, moves)
                else:
                    self._changed.wait(POLL_S)
            entry.hits += entry.future is None
            entry.misses += entry.future is not None
            entry.leases += 1
            return entry, entry.future

    def _room(self, entry: Entry, need: int, waited: bool) -> list[Move] | None:
        """Room on the device, or for a model that can be offloaded in host memory.

        Returns:
            What to carry out first; None to wait a little longer.
        """
        moves = self._placement.admit(entry, need)
        if moves is None and (waited or need > (self._placement.device_budget_bytes or 0)):
            if self._offloadable(entry.key.model_id):
                moves = self._placement.admit_offloaded(entry, need)
            if moves is None:
                raise self._no_room(entry.key, need)
        return moves

    def _start(self, entry: Entry, moves: list[Move]) -> Future[None]:
        try:
            entry.future = self._loader_thread.submit(self._bring, entry, moves)
        except RuntimeError:  # the executor's word for closed
            entry.leases -= 1
            self._placement.drop(entry)
            raise EaselError("Easel is shutting down and loads no more models.") from None
        return entry.future

    def _expected_bytes(self, entry: Entry) -> int:
        """Bytes to keep free for a model; reads files, so the lock is given up meanwhile."""
        if entry.load_s is not None:
            return entry.size_bytes
        self._changed.release()
        try:
            return self.loader.size_bytes(entry.key.model_id, entry.key.dtype)
        finally:
            self._changed.acquire()

    def _await(self, entry: Entry, future: Future[None] | None,
               cancelled: Callable[[], bool]) -> nn.Module:
        """The model of an entry on which this caller holds a counted lease."""
        if future is not None:
            while not wait_for([future], timeout=POLL_S).done:
                if cancelled():
                    raise Cancelled
            if error := future.exception():
                raise self._failure(entry.key, error) from error
        model = entry.model
        if model is None:
            raise RuntimeError(f"{entry.key} was evicted under a lease")
        return model

    def _failure(self, key: ModelKey, error: BaseException) -> EaselError:
        """A new exception for each waiter, since one object cannot carry several tracebacks."""
        if isinstance(error, EaselError):
            return copy.copy(error)
        return WeightsError("The model {} could not be loaded; the server's log says why.",
                            key.model_id)

    def _no_room(self, key: ModelKey, need: int) -> OutOfMemory:
        budget = self._placement.device_budget_bytes or 0
        room = max(0, budget - self._placement.held_bytes())
        return OutOfMemory("The model {} needs {}, and the budget of {} has {} that no running "
                           "job or pin holds.", key.model_id, megabytes(need), megabytes(budget),
                           megabytes(room))

    # What follows runs in the loader's thread.

    def _bring(self, entry: Entry, moves: list[Move]) -> None:
        """Put an entry's model on the device; its waiters learn the outcome from the future."""
        try:
            self._loader_thread.carry_out(moves)
            if entry.model is None:
                self._check_wanted(entry)
            self._admit(entry, *self._loader_thread.place(entry, self.evict_idle))
        except BaseException as error:
            if not isinstance(error, EaselError):
                logger.exception("building %s failed", entry.key)
            with self._changed:
                self._placement.drop(entry)
                entry.future = None
                self._changed.notify_all()
            raise

    def _check_wanted(self, entry: Entry) -> None:
        """Give up a build that waited its turn until all who asked for it had left."""
        with self._changed:
            if not entry.leases and not entry.pinned:
                self._placement.drop(entry)  # in the same breath, so that nobody joins it any more
                entry.future = None
                raise Cancelled

    def _admit(self, entry: Entry, model: nn.Module, taken: Footprint) -> None:
        """Take a model in, unless its measured size turns out not to fit."""
        self.embeddings.attach(model, entry.key, self.loader.fingerprint(entry.key.model_id))
        with self._changed:
            moves = self._placement.remeasure(entry, *taken)
            if moves is None:
                self._placement.drop(entry)
                raise self._no_room(entry.key, taken.device_bytes)
            entry.model, entry.future = model, None
            self._placement.touch(entry)
            self._changed.notify_all()
        self._loader_thread.carry_out(moves)
        logger.info("%s is on %s: %s", entry.key.model_id, self.device,
                    megabytes(taken.device_bytes))

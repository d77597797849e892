"""Models shared by all runs on one device: leased, loaded once, evicted when idle.

``with cache.lease("embedded/vqgan") as model:`` holds a model in place. However many threads ask
for a model at once, it is built once, on the cache's own thread, which also keeps two
constructions apart (libraries patch globals while they build) and outside any inference mode.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import nn

from pipelines.errors import Cancelled, EaselError, OutOfMemory, WeightsError

logger = logging.getLogger(__name__)
POLL_S = 0.05
MEMORY_ERRORS = (MemoryError, torch.OutOfMemoryError)
State = Literal["absent", "loading", "resident"]


class Loader(Protocol):
    """Where the cache gets its models from."""

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Build a model, ready to use; gradients of its parameters are off."""
        ...

    def size_bytes(self, model_id: str, dtype: torch.dtype) -> int:
        """Bytes that the model will take on the device; 0 where that is not known."""
        ...

    def title(self, model_id: str) -> str:
        """What people call the model, as in "loading the VQGAN"."""
        ...

    def fingerprint(self, model_id: str) -> str | None:
        """SHA-256 of the weights in hex, None while it is not known."""
        ...


class ModelKey(NamedTuple):
    """What makes two leases share one copy."""

    model_id: str
    device: str
    dtype: torch.dtype


@dataclass
class _Entry:
    """All that is known of one key; read and written under the cache's lock only.

    ``leases`` also counts those who wait for the load in flight, so that a model cannot be
    evicted between its arrival and its first use.
    """

    model: nn.Module | None = None
    future: Future[None] | None = None
    leases: int = 0
    size_bytes: int = 0
    last_used: int = 0
    load_s: float | None = None
    hits: int = 0
    misses: int = 0
    evictions: int = 0


@dataclass(frozen=True)
class ModelStats:
    """Figures of one model; ``load_s`` is the last load, None before the first."""

    model_id: str
    device: str
    dtype: str
    state: State
    leases: int
    size_bytes: int
    load_s: float | None
    hits: int
    misses: int
    evictions: int


@dataclass(frozen=True)
class CacheStats:
    """Figures of the cache; ``budget_bytes`` is None where there is no budget."""

    budget_bytes: int | None
    used_bytes: int
    hits: int
    misses: int
    evictions: int
    models: tuple[ModelStats, ...] = field(default=())


def measured_bytes(model: nn.Module) -> int:
    """Bytes of the parameters and buffers of a model, shared storage counted once."""
    storages = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e7 else f"{size_bytes / 1e6:.1f} MB"


class ModelCache:
    """Models on one device under a budget of bytes.

    Args:
        loader: builds models by id.
        device: where models live.
        dtype: dtype of a lease that names none.
        budget_bytes: the most that models may take together; None for no limit. Idle models
            leave, least recently used first, to make room; leased ones never do.
        room_timeout_s: how long a lease waits for others to give room back.
    """

    def __init__(self, loader: Loader, device: torch.device | str = "cpu",
                 dtype: torch.dtype = torch.float32, budget_bytes: int | None = None,
                 room_timeout_s: float = 60.0) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self._loader, self._budget, self._room_timeout_s = loader, budget_bytes, room_timeout_s
        self._entries: dict[ModelKey, _Entry] = {}
        self._changed = threading.Condition(threading.Lock())
        self._builder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model-loader")
        self._uses = 0

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
                that has begun, goes on.
            WeightsError: the model could not be built; the next lease tries again.
            OutOfMemory: there is no room, even with all idle models evicted.
        """
        key = ModelKey(model_id, str(self.device), dtype or self.dtype)
        entry, future = self._ask(key, cancelled)
        try:
            yield self._await(key, entry, future, cancelled)
        finally:
            with self._changed:
                entry.leases -= 1
                self._uses += 1
                entry.last_used = self._uses
                self._changed.notify_all()

    def loading_message(self, model_id: str, *, dtype: torch.dtype | None = None) -> str | None:
        """What a lease would have to wait for, as a sentence; None where the model is here.

        For example "Loading the VQGAN, 12 MB, took 0.4 s last time."
        """
        key = ModelKey(model_id, str(self.device), dtype or self.dtype)
        with self._changed:
            entry = self._entries.get(key)
            if entry is not None and entry.model is not None:
                return None
            size_bytes = entry.size_bytes if entry else 0
            load_s = entry.load_s if entry else None
        try:
            size_bytes = size_bytes or self._loader.size_bytes(model_id, key.dtype)
            title = self._loader.title(model_id)
        except EaselError:  # the lease itself will say what is wrong
            return None
        parts = [f"Loading the {title}", *([_megabytes(size_bytes)] if size_bytes else []),
                 *([f"took {load_s:.1f} s last time"] if load_s is not None else [])]
        return ", ".join(parts) + "."

    def fingerprints(self, model_ids: Iterable[str]) -> dict[str, str | None]:
        """SHA-256 of the weights of each model, by id."""
        return {model_id: self._loader.fingerprint(model_id) for model_id in sorted(model_ids)}

    def fits(self, model_ids: Iterable[str]) -> bool:
        """Whether models may be here at the same time; what is not known counts nothing."""
        if self._budget is None:
            return True
        need = 0
        for model_id in set(model_ids):
            with suppress(EaselError):  # the lease itself will say what is wrong
                need += self._loader.size_bytes(model_id, self.dtype)
        return need <= self._budget

    def used_bytes(self) -> int:
        """Bytes of the models that are here or on their way."""
        with self._changed:
            return self._used_bytes()

    def evict_idle(self) -> int:
        """Drop every model that nobody leases; returns the bytes that came free."""
        with self._changed:
            return self._evict_until(lambda: False)

    def stats(self) -> CacheStats:
        """Figures of the cache and of every model that was ever asked for."""
        with self._changed:
            models = tuple(
                ModelStats(key.model_id, key.device, str(key.dtype).removeprefix("torch."),
                           self._state(entry), entry.leases, entry.size_bytes, entry.load_s,
                           entry.hits, entry.misses, entry.evictions)
                for key, entry in self._entries.items())
            used_bytes = self._used_bytes()
        return CacheStats(self._budget, used_bytes, sum(m.hits for m in models),
                          sum(m.misses for m in models), sum(m.evictions for m in models), models)

    def close(self) -> None:
        """Drop idle models and end the loader's thread."""
        self._builder.shutdown(wait=True, cancel_futures=True)
        self.evict_idle()

    # What follows runs in the asking thread.

    def _ask(self, key: ModelKey, cancelled: Callable[[], bool],
             ) -> tuple[_Entry, Future[None] | None]:
        """Count a lease, and start a build where the model is neither here nor on its way.

        Returns:
            The entry, and the build to wait for, None where the model is here.
        """
        expected = None
        deadline = time.monotonic() + self._room_timeout_s
        with self._changed:
            entry = self._entries.setdefault(key, _Entry())
            while entry.model is None and entry.future is None:
                if cancelled():
                    raise Cancelled
                if expected is None:
                    expected = self._expected_bytes(key, entry)
                elif self._make_room(expected):
                    entry.size_bytes = expected
                    entry.misses += 1
                    entry.leases += 1
                    entry.future = self._builder.submit(self._build, key, entry)
                    return entry, entry.future
                elif time.monotonic() > deadline or expected > (self._budget or 0):
                    raise self._no_room(key, expected)
                else:
                    self._changed.wait(POLL_S)
            if entry.model is not None:
                entry.hits += 1
            else:
                entry.misses += 1
            entry.leases += 1
            return entry, entry.future

    def _expected_bytes(self, key: ModelKey, entry: _Entry) -> int:
        """Bytes to keep free for a model; reads files, so the lock is given up meanwhile."""
        if entry.load_s is not None:
            return entry.size_bytes
        self._changed.release()
        try:
            return self._loader.size_bytes(key.model_id, key.dtype)
        finally:
            self._changed.acquire()

    def _await(self, key: ModelKey, entry: _Entry, future: Future[None] | None,
               cancelled: Callable[[], bool]) -> nn.Module:
        """The model of an entry on which this caller holds a counted lease."""
        if future is not None:
            while not wait_for([future], timeout=POLL_S).done:
                if cancelled():
                    raise Cancelled
            if error := future.exception():
                raise self._failure(key, error) from error
        model = entry.model
        if model is None:
            raise RuntimeError(f"{key} was evicted under a lease")
        return model

    def _failure(self, key: ModelKey, error: BaseException) -> EaselError:
        """A new exception for each waiter, since one object cannot carry several tracebacks."""
        if isinstance(error, EaselError):
            return type(error)(str(error))
        return WeightsError(f"The model {key.model_id} could not be loaded; the server's log "
                            "says why.")

    def _no_room(self, key: ModelKey, need: int) -> OutOfMemory:
        budget = self._budget or 0
        return OutOfMemory(
            f"The model {key.model_id} needs {_megabytes(need)}, and the budget of "
            f"{_megabytes(budget)} has {_megabytes(max(0, budget - self._leased_bytes()))} that "
            "no running job holds.")

    # What follows runs in the loader's thread.

    def _build(self, key: ModelKey, entry: _Entry) -> None:
        """Build the model of an entry; its waiters learn the outcome from the future."""
        try:
            self._check_wanted(entry)
            model, load_s = self._timed_load(key)
            self._admit(key, entry, model, load_s)
        except BaseException as error:
            if not isinstance(error, EaselError):
                logger.exception("building %s failed", key)
            with self._changed:
                entry.future = None
                self._changed.notify_all()
            raise

    def _check_wanted(self, entry: _Entry) -> None:
        """Give up a build that waited its turn until all who asked for it had left."""
        with self._changed:
            if not entry.leases:
                entry.future = None  # in the same breath, so that nobody joins it any more
                raise Cancelled

    def _timed_load(self, key: ModelKey) -> tuple[nn.Module, float]:
        for last_try in (False, True):
            start = time.monotonic()
            try:
                model = self._loader.load(key.model_id, self.device, key.dtype)
                return model, time.monotonic() - start
            except MEMORY_ERRORS:
                if last_try or not self.evict_idle():
                    logger.exception("no memory for %s", key)
                    raise OutOfMemory(
                        f"The device has no memory left for the model {key.model_id}; stop other "
                        "jobs or choose a smaller model.") from None
        raise AssertionError("unreachable")

    def _admit(self, key: ModelKey, entry: _Entry, model: nn.Module, load_s: float) -> None:
        """Take a built model in, unless its measured size turns out not to fit."""
        size_bytes = measured_bytes(model)
        with self._changed:
            entry.size_bytes, entry.load_s = size_bytes, load_s
            if not self._make_room(0):
                raise self._no_room(key, size_bytes)
            self._uses += 1
            entry.model, entry.future, entry.last_used = model, None, self._uses
            self._changed.notify_all()
        logger.info("loaded %s: %s in %.2f s", key.model_id, _megabytes(size_bytes), load_s)

    # What follows is called with the lock held.

    @staticmethod
    def _state(entry: _Entry) -> State:
        if entry.model is not None:
            return "resident"
        return "loading" if entry.future is not None else "absent"

    def _used_bytes(self) -> int:
        """Bytes of what is here or on its way."""
        return sum(e.size_bytes for e in self._entries.values() if self._state(e) != "absent")

    def _leased_bytes(self) -> int:
        return sum(e.size_bytes for e in self._entries.values()
                   if e.leases and self._state(e) != "absent")

    def _make_room(self, need: int) -> bool:
        """Evict idle models until ``need`` more bytes fit; False where they cannot."""
        if self._budget is None:
            return True
        budget = self._budget
        if self._leased_bytes() + need > budget:
            return False  # evicting would not help, so leave the idle ones in place
        self._evict_until(lambda: self._used_bytes() + need <= budget)
        return self._used_bytes() + need <= budget

    def _evict_until(self, enough: Callable[[], bool]) -> int:
        """Drop idle models, least recently used first, until ``enough``; returns the bytes."""
        freed = 0
        idle = [e for e in self._entries.values() if e.model is not None and not e.leases]
        for entry in sorted(idle, key=lambda e: e.last_used):
            if enough():
                break
            entry.model = None
            entry.evictions += 1
            freed += entry.size_bytes
        if freed and self.device.type == "cuda":
            torch.cuda.empty_cache()
        return freed

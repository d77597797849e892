"""The one thread that builds models and moves them, and what it does there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import nn

from pipelines.core.errors import OutOfMemory
from pipelines.models.batches import MEMORY_ERRORS, is_out_of_memory
from pipelines.models.cache.memory import free_bytes
from pipelines.models.cache.placement import Entry, Move
from pipelines.models.cache.stats import measured_bytes
from pipelines.models.offload import Footprint, offload

logger = logging.getLogger(__name__)
HOST = torch.device("cpu")


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


class LoaderThread:
    """Builds and moves models, one after the other, outside any grad or inference mode.

    Args:
        loader: builds models by id.
        device: where models are used.
        reserve_bytes: memory of an accelerator that a load leaves free for activations.
        clock: seconds, to time loads with.
    """

    def __init__(self, loader: Loader, device: torch.device, reserve_bytes: int = 0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._loader, self.device = loader, device
        self._reserve_bytes, self._clock = reserve_bytes, clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model-loader")
        self._thread_id: int | None = None

    def submit(self, work: Callable[..., None], *arguments: Any) -> Future[None]:
        """Do something on the thread, after what was submitted before.

        Raises:
            RuntimeError: closed.
        """
        def run() -> None:
            self._thread_id = threading.get_ident()
            work(*arguments)

        return self._thread.submit(run)

    def close(self) -> None:
        """Wait for what runs, and take nothing more."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def carry_out(self, moves: list[Move]) -> None:
        """Move what was decided; call it on the thread."""
        for move in moves:
            move.model.to(HOST)
        moves.clear()  # with the last references to what was dropped meanwhile
        self.give_back()

    def carry_out_now(self, moves: list[Move]) -> None:
        """Move what was decided, in turn with what was decided before, and wait for it."""
        if moves and threading.get_ident() != self._thread_id:
            with suppress(RuntimeError):  # closed: whatever ran has ended
                self.submit(self.carry_out, moves).result()
                return
        self.carry_out(moves)

    def give_back(self) -> None:
        """Hand memory that torch holds and nobody uses back to the device."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def place(self, entry: Entry, evict_idle: Callable[[], int]) -> tuple[nn.Module, Footprint]:
        """Load a model from disk or move it from the host, timed; idle ones make way once.

        Args:
            entry: which; its times are noted.
            evict_idle: takes idle models off the device and says how many bytes that freed.

        Returns:
            The model, and what it takes in both memories.

        Raises:
            OutOfMemory: the device is full all the same.
        """
        key, on_host = entry.key, entry.model
        for last_try in (False, True):
            start = self._clock()
            try:
                self._check_free(entry)
                target = HOST if entry.offloaded else self.device
                model = self._loader.load(key.model_id, target, key.dtype) \
                    if on_host is None else on_host.to(target)
                taken = offload(model, self.device) if entry.offloaded else \
                    Footprint(measured_bytes(model), 0)
                setattr(entry, "load_s" if on_host is None else "move_s", self._clock() - start)
                return model, taken
            except MEMORY_ERRORS as error:
                if not is_out_of_memory(error):
                    raise
                if last_try or not evict_idle():
                    logger.exception("no memory for %s", key)
                    raise OutOfMemory("The device has no memory left for the model {}; stop other "
                                      "jobs or choose a smaller model.", key.model_id) from None
        raise AssertionError("unreachable")

    def _check_free(self, entry: Entry) -> None:
        """Where an accelerator reports how much is free, whoever holds the rest, believe it.

        Raises:
            torch.OutOfMemoryError: the model would not fit beside the reserve.
        """
        free = free_bytes(self.device)
        if free is not None and free < entry.size_bytes + self._reserve_bytes:
            raise torch.OutOfMemoryError(f"{free} bytes are free")

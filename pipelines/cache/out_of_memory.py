"""When a device runs out of memory: idle models make way, and half a batch is tried once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from pipelines.cache.mover import MEMORY_ERRORS
from pipelines.errors import OutOfMemory

logger = logging.getLogger(__name__)
T = TypeVar("T")


def in_batches(run: Callable[[Sequence[T]], Tensor], items: Sequence[T], batch_size: int,
               make_room: Callable[[], int]) -> Tensor:
    """Compute rows for items, in batches that the device can hold.

    Args:
        run: items to a tensor with a row for each; rows do not depend on one another.
        items: at least one.
        batch_size: the most at once. After the device was full once, half of it.
        make_room: takes idle models off the device.

    Returns:
        (len(items), …), the rows of all batches.

    Raises:
        OutOfMemory: half a batch is too much as well.
    """
    parts: list[Tensor] = []
    start, halved = 0, False
    while start < len(items):
        batch = items[start:start + batch_size]
        rows = _attempt(run, batch)
        if rows is not None:
            parts.append(rows)
            start += len(batch)
        elif halved or len(batch) == 1:
            raise OutOfMemory(
                f"The device has no memory left for {_count(batch)}: ask for fewer or smaller "
                "ones, or choose a smaller model.")
        else:
            freed = make_room()
            halved, batch_size = True, (len(batch) + 1) // 2
            logger.warning("out of memory at %d at once: %d bytes of idle models made way, going "
                           "on with %d", len(batch), freed, batch_size)
    return torch.cat(parts)


def _attempt(run: Callable[[Sequence[T]], Tensor], batch: Sequence[T]) -> Tensor | None:
    """The rows of a batch; None where the device was full, with nothing of the attempt held."""
    try:
        return run(batch)
    except MEMORY_ERRORS:
        return None


def _count(batch: Sequence[object]) -> str:
    return f"{len(batch)} pictures at once" if len(batch) > 1 else "a single picture"

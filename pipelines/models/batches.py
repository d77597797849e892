"""When a device runs out of memory: idle models make way, and half a batch is tried once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

import torch
from torch import Tensor

from pipelines.core.errors import OutOfMemory
from pipelines.core.sentences import Sentence

logger = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")
MEMORY_ERRORS = (MemoryError, RuntimeError)  # those among them that ``is_out_of_memory`` knows
# What torch says on devices without an error of their own: of the CPU, of oneDNN and C++ below it,
# and of MPS.
_FULL = ("DefaultCPUAllocator: ", "not enough memory: you tried to allocate", "std::bad_alloc",
         "bad allocation", "MPS backend out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, the main memory among them, is full."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _FULL)


class Batches:
    """Computes items in batches that the device can hold, and remembers how many those are.

    Args:
        size: the most items at once. After the device was full once, half of the batch that was
            too much.
        make_room: takes idle models off the device and says how many bytes that freed.

    Attributes:
        halved: whether the device was full before.
    """

    def __init__(self, size: int, make_room: Callable[[], int] = lambda: 0) -> None:
        self.size, self._make_room, self.halved = size, make_room, False

    def run(self, compute: Callable[[Sequence[T]], R], items: Sequence[T]) -> list[R]:
        """What ``compute`` makes of each batch.

        Args:
            compute: what to do with a batch; called again with a part of it where the device was
                full.
            items: at least one.

        Raises:
            OutOfMemory: half a batch is too much as well.
        """
        found: list[R] = []
        start = 0
        while start < len(items):
            batch = items[start:start + self.size]
            try:
                found.append(compute(batch))
            except MEMORY_ERRORS as error:
                if not is_out_of_memory(error):
                    raise
                full = True  # handled below, where nothing of the attempt is held any more
            else:
                full = False
                start += len(batch)
            if full:
                self.shrink(len(batch))
        return found

    def shrink(self, count: int) -> None:
        """Make room, and take half as many at once from now on.

        Args:
            count: of the batch that was too much.

        Raises:
            OutOfMemory: that was done before, or nothing can be made smaller.
        """
        if self.halved:
            give_up(count)
        freed = self._make_room()
        if count == 1 and not freed:
            give_up(count)
        self.halved, self.size = True, (count + 1) // 2
        logger.warning("out of memory at %d at once: %d bytes of idle models made way, continuing "
                       "with %d", count, freed, self.size)


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
    return torch.cat(Batches(batch_size, make_room).run(run, items))


def give_up(count: int) -> NoReturn:
    """Say that there is no memory for so many pictures.

    Raises:
        OutOfMemory: always.
    """
    pictures = Sentence("{} pictures at once", count) if count > 1 else "a single picture"
    raise OutOfMemory("The device has no memory left for {}: ask for fewer or smaller ones, or "
                      "choose a smaller model.", pictures)

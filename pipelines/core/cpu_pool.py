"""Independent pieces of work on a CPU, one core each.

torch spreads every product over all cores and lets them meet after it. Where another thread needs
a core meanwhile (decoding pictures, the page), all wait for the one that was interrupted, many
times a picture. Pieces that never meet lose only the time that the other thread took.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

PieceT = TypeVar("PieceT")
ResultT = TypeVar("ResultT")

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def on_every_core(work: Callable[[PieceT], ResultT], pieces: Sequence[PieceT]) -> list[ResultT]:
    """Results of ``work`` for each piece, in order; as many at once as torch has threads.

    Args:
        work: computes on one thread; grad mode and autocast of the caller do not reach it.
        pieces: for it.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(pieces) < 2:
        return [work(piece) for piece in pieces]
    return list(_pool(threads).map(work, pieces))


def single_core_pool(count: int, name: str) -> ThreadPoolExecutor:
    """A pool of ``count`` threads, all started, on each of which torch computes alone."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, name, initializer=_alone)
    ready = threading.Barrier(count + 1)
    for _ in range(count):  # each task waits for the others, so that each starts a thread
        pool.submit(ready.wait)
    ready.wait()
    # What a thread sets for itself is also what torch gives threads that are yet to come.
    torch.set_num_threads(before)
    return pool


def _alone() -> None:
    torch.get_num_threads()  # a thread's first look sets it to what torch gives new threads
    torch.set_num_threads(1)


def _pool(threads: int) -> ThreadPoolExecutor:
    with _lock:
        if threads not in _pools:
            _pools[threads] = single_core_pool(threads, "core")
        return _pools[threads]

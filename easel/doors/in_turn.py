"""Reading what programs send, of few at the same time: whoever sends much holds up nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from easel.doors.askers import Asker
from easel.guard.turns import reading
from easel.guard.visitors import asking
from pipelines.core.errors import Busy

P = ParamSpec("P")
T = TypeVar("T")
PATIENCE_S, LOOK_EVERY_S = 20.0, 0.05


async def in_turn(asker: Asker, brings: object, read: Callable[P, T], /, *args: P.args,
                  **fields: P.kwargs) -> T:
    """Do something with what a program sent in a thread, and in a turn where it brings pictures.

    Programs send some requests at once and expect all to be answered: unlike a page they wait for
    a turn, in the server's loop, where that holds no thread.

    Args:
        asker: who sent it.
        brings: its pictures; none where empty.
        read: what is done, with its arguments.

    Raises:
        Busy: no turn came within ``PATIENCE_S``.
    """
    if not brings:
        return await run_in_threadpool(read, *args, **fields)

    def work() -> T:
        with asking(asker.requester), reading.turn():
            return read(*args, **fields)

    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await run_in_threadpool(work)
        except Busy:
            if time.monotonic() > end_s:
                raise
        await asyncio.sleep(LOOK_EVERY_S)

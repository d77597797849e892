# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""The desk as an actor of Ray, whose questions may stay open until there is something to say."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import ray

from easel.serving.ray.desk import Desk
from easel.serving.ray.environment import code_digest
from easel.serving.ray.matching import LOOKED_AT
from easel.serving.ray.messages import Order, Outlook, Report, Terms, Ticket
from easel.serving.ray.room import room_for
from pipelines.core.errors import EaselError

NAME = "desk"
ASKED = ("join", "look", "beat", "leave", "lose", "cancel", "find", "pause", "close", "drain",
         "hold", "end", "suspend", "facts", "places", "has_room", "code")
ROOM_S = 5.0  # for so long the cluster has room for as many runners


class DeskActor:
    """Asks a ``Desk`` on the actor's one thread.

    Args:
        terms: what is said of the line and the runners.
        looked_at: see ``Desk``.
    """

    def __init__(self, terms: Terms, looked_at: int = LOOKED_AT) -> None:
        # The code of this process, wherever the desk begins anew.
        self._desk = Desk(easel=code_digest(), terms=terms, looked_at=looked_at)
        self._changed = asyncio.Event()
        self._room_s = 0.0

    async def ask(self, method: str, *args: Any) -> Any:
        """What a method of the desk says."""
        if method not in ASKED:
            raise ValueError(f"a desk has no {method}")
        found = getattr(self._desk, method)(*args)
        self._tell_all()
        return found

    async def join(self, ticket: Ticket) -> EaselError | None:
        """See ``Desk.join``."""
        return await self.ask("join", ticket)

    async def look(self, token: str, wait_s: float) -> Outlook | None:
        """How a ticket fares, as soon as it need not wait any more, or when some time is up."""
        await self._until(lambda: self._desk.is_settled(token), wait_s)
        return self._desk.look(token)

    async def ended(self, front: str, wait_s: float) -> bool:
        """Whether all of a front end is over, as soon as it is, or when some time is up."""
        await self._until(lambda: self._desk.ended(front), wait_s)
        return self._desk.ended(front)

    async def tell(self, report: Report) -> int:
        """How a runner fares; returns how many there are to be, 0 where that is not known yet."""
        await self._look_for_room()
        self._desk.report(report)
        self._tell_all()
        return self._desk.wanted()

    async def orders(self, runner: str, wait_s: float) -> tuple[Order, ...]:
        """What a runner is to do, as soon as there is something, or when some time is up."""
        await self._until(lambda: self._desk.has_orders(runner), wait_s)
        return self._desk.orders(runner)

    async def _look_for_room(self) -> None:
        """See now and then for how many runners there is room."""
        terms, now_s = self._desk.terms, time.monotonic()
        if terms is None or not terms.takes:
            self._desk.room = None
        elif now_s >= self._room_s:
            self._room_s = now_s + ROOM_S
            self._desk.room = await asyncio.to_thread(room_for, terms.takes)

    def _tell_all(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _until(self, holds: Any, wait_s: float) -> None:
        end_s = asyncio.get_running_loop().time() + wait_s
        while not holds() and (left_s := end_s - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.wait_for(self._changed.wait(), left_s)
            except TimeoutError:
                return


def find_desk(app: str) -> Any:
    """The desk of an application.

    Raises:
        ValueError: there is none.
    """
    return ray.get_actor(NAME, namespace=app)


def start_desk(app: str, terms: Terms, looked_at: int = LOOKED_AT) -> Any:
    """The desk of an application, which begins where there is none.

    It stays when whoever began it ends, and begins anew when it is lost; what it was asked
    meanwhile is asked again by those who asked: Ray would bring it questions of jobs that are over.
    """
    return ray.remote(DeskActor).options(
        name=NAME, namespace=app, lifetime="detached", get_if_exists=True, num_cpus=0,
        max_restarts=-1, max_task_retries=0, max_concurrency=10_000).remote(terms, looked_at)

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""A runner: a replica of Ray Serve around a local backend, for one device."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError

from easel.serving.backend import LocalBackend
from easel.serving.jobs import RunEvent
from easel.serving.ray.desk_actor import find_desk
from easel.serving.ray.environment import code_digest
from easel.serving.ray.fleet import RunnerModels
from easel.serving.ray.messages import OTHER_EASEL, Kept, Terms, Work
from easel.serving.ray.policy import WANTED
from easel.serving.ray.station import Station
from pipelines.core.errors import EaselError
from pipelines.models.cache.inventory import Act

logger = logging.getLogger(__name__)
REPORT_EVERY_S = 1.0
ORDERS_S = 5.0  # that the desk keeps a question for orders open
ANSWER_S = 15.0
DESK_S = 60.0  # that a runner which begins waits for one that begins anew
AGAIN_S = 0.2  # after a desk that did not answer
MISROUTED = "misrouted"  # the answer to work that is another runner's


class Runner:
    """Draws what front ends bring, one ticket of the desk at a time.

    Args:
        app: name of the application, whose desk it reports to.
        make: makes its backend; a function that every process can import.
        offline: no models may be downloaded.
        terms: what was said of the line and the runners.

    Raises:
        EaselError: the desk runs other code.
    """

    def __init__(self, app: str, make: Callable[[], LocalBackend], offline: bool = False,
                 terms: Terms | None = None) -> None:
        self._name = serve.get_replica_context().replica_id.unique_id
        self._desk: Any = find_desk(app)
        self._wanted = 0
        self._news, self._over = threading.Event(), threading.Event()
        self._check_code()
        self._station = Station(self._name, make(), self._news.set, code_digest(), offline, terms)
        for work in (self._tell, self._listen):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    async def run(self, work: Work, runner: str) -> AsyncGenerator[RunEvent | Kept | str]:
        """Do some work and yield what its jobs say; ``MISROUTED`` where another was meant.

        Only an asynchronous method hears that its reader has gone.
        """
        if runner != self._name:
            yield MISROUTED
            return
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()

        def say(each: Any) -> None:
            with suppress(RuntimeError):  # the replica ends
                loop.call_soon_threadsafe(queue.put_nowait, each)

        def pump() -> None:
            try:
                for each in self._station.events(work):
                    say(each)
            finally:
                say(None)

        threading.Thread(target=pump, name="work", daemon=True).start()
        over = False
        try:
            while (each := await queue.get()) is not None:
                yield each
            over = True
        finally:
            if not over:
                self._station.abandon(work.token)

    async def models(self, act: Act | None, model_id: str, only: frozenset[str] | None,
                     ) -> RunnerModels:
        """What it has of each model, after something was done with one; see ``Station.models``.

        Args:
            only: runners that are to do it; None for all.
        """
        mine = act if only is None or self._name in only else None
        return await asyncio.to_thread(self._station.models, mine, model_id)

    def record_autoscaling_stats(self) -> dict[str, int]:
        """What Serve's policy is told: how many runners the desk wants."""
        wanted = self._wanted
        return {WANTED: wanted} if wanted else {}

    def __del__(self) -> None:
        """Serve's own way of telling a replica that it ends, once nothing runs any more."""
        with suppress(AttributeError):
            self._over.set()
            self._station.backend.close()

    def _check_code(self) -> None:
        """Refuse to draw for a desk of other code.

        Raises:
            EaselError: so it is.
        """
        end_s = time.monotonic() + DESK_S
        while True:
            try:
                code = ray.get(self._desk.ask.remote("code"), timeout=ANSWER_S)
                break
            except RayError:  # it begins anew
                if time.monotonic() > end_s:
                    raise
                time.sleep(AGAIN_S)
        if code != code_digest():
            raise EaselError(OTHER_EASEL, socket.gethostname())

    def _tell(self) -> None:
        while not self._over.is_set():
            self._news.clear()
            try:
                wanted: Any = ray.get(self._desk.tell.remote(self._station.report()),
                                      timeout=ANSWER_S)
                self._wanted = int(wanted) or self._wanted  # one that begins anew knows it not yet
            except RayError:  # it begins anew
                self._over.wait(AGAIN_S)
                continue
            self._news.wait(REPORT_EVERY_S)

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                orders = ray.get(self._desk.orders.remote(self._name, ORDERS_S), timeout=ANSWER_S)
            except RayError:
                self._over.wait(AGAIN_S)
                continue
            for order in orders:
                try:
                    self._station.obey(order)
                except Exception:
                    logger.exception("an order could not be followed: %s", order)

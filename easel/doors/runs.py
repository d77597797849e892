"""Runs that programs ask for: read in threads, told to the loop, stopped when nobody listens."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from starlette.requests import Request

from easel.doors.askers import Asker
from easel.guard.visitors import asking
from easel.serving.interface import Backend
from easel.serving.session_runs import Run, SessionRuns
from pipelines.core.errors import Busy
from pipelines.core.events import Event, Preview, Progress

logger = logging.getLogger(__name__)
MAX_RUNS = 64  # a waiting program's run rests in a thread
PLACE = "door"
T = TypeVar("T")
TOO_MANY = "Too many programs wait: try again in a minute."


class HungUp(Exception):
    """Whoever asked is gone."""


@dataclass(eq=False)
class Followed:
    """A run in progress.

    Attributes:
        run: what Stop acts on.
        progress: the last that it said.
        preview: its last one.
    """

    run: Run
    progress: Progress = field(default_factory=Progress)
    preview: Preview | None = None

    def take(self, event: object) -> None:
        """Note how far it is."""
        if isinstance(event, Progress):
            self.progress = event
        elif isinstance(event, Preview):
            self.preview = event


class _Mailbox:
    """What a thread says to the loop; a newer preview replaces one that was not read yet."""

    def __init__(self) -> None:
        self._loop, self._ready = asyncio.get_running_loop(), asyncio.Event()
        self._lock = threading.Lock()
        self._said: list[object] = []

    def post(self, said: object) -> None:
        """Say something; the last word is None, or the error that ended it."""
        with self._lock:
            if isinstance(said, Preview):
                self._said = [each for each in self._said if not isinstance(each, Preview)]
            self._said.append(said)
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._ready.set)

    async def take(self) -> list[object]:
        """Wait for what has been said since the last call."""
        await self._ready.wait()
        with self._lock:
            self._ready.clear()
            said, self._said = self._said, []
        return said


class DoorRuns:
    """The runs of all programs.

    Args:
        backend: where they run.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._runs = SessionRuns(backend)
        self._threads = ThreadPoolExecutor(MAX_RUNS, thread_name_prefix="door")
        self._followed: dict[str, list[Followed]] = {}  # by visitor; of the loop's thread alone

    def now(self, visitor: str) -> Followed | None:
        """The run of a visitor that began last, of those in progress."""
        runs = self._followed.get(visitor)
        return runs[-1] if runs else None

    def stop(self, visitor: str) -> int:
        """Stop a visitor's runs within a step; what is finished by then is kept."""
        return self._runs.stop(visitor, visitor)

    async def call(self, asker: Asker, work: Callable[[Run], T]) -> T:
        """Do something for a program in a thread; it is stopped where whoever waits is cancelled.

        Raises:
            Busy: too many programs wait.
            EaselError: what went wrong.
        """
        found: list[T] = []

        def start(run: Run) -> Generator[Event, None, None]:
            found.append(work(run))
            yield from ()

        async with aclosing(self.follow(None, asker, start)) as events:
            async for _ in events:
                pass
        return found[0]

    async def follow(self, request: Request | None, asker: Asker,
                     start: Callable[[Run], Generator[Event, None, None]],
                     ) -> AsyncGenerator[Event, None]:
        """Run something and yield its events; it is stopped where the program hangs up.

        Args:
            request: its body was read already; None where whoever reads the events is cancelled
                when the program hangs up.
            asker: who sent it.
            start: begins the run; its generator is read in a thread.

        Raises:
            HungUp: the program is gone.
            Busy: too many programs wait.
            EaselError: what ended the run.
        """
        if sum(map(len, self._followed.values())) >= MAX_RUNS:
            raise Busy(TOO_MANY)
        run = self._runs.start(asker.visitor, asker.visitor, PLACE)
        followed, mailbox = Followed(run), _Mailbox()
        self._followed.setdefault(asker.visitor, []).append(followed)
        self._threads.submit(_read, mailbox, asker, run, start)
        gone = asyncio.ensure_future(_gone(request) if request else asyncio.Event().wait())
        ended = False
        try:
            while not ended:
                taken = asyncio.ensure_future(mailbox.take())
                await asyncio.wait((taken, gone), return_when=asyncio.FIRST_COMPLETED)
                if not taken.done():
                    taken.cancel()
                    raise HungUp
                for said in taken.result():
                    ended = said is None or isinstance(said, Exception)
                    if isinstance(said, Exception):
                        raise said
                    followed.take(said)
                    if said is not None:
                        yield said  # type: ignore[misc]
        finally:
            gone.cancel()
            if not ended:
                logger.info("a program hung up: its run is stopped")
                run.stop()
            self._runs.end(run)
            self._followed[asker.visitor].remove(followed)
            if not self._followed[asker.visitor]:
                del self._followed[asker.visitor]


def _read(mailbox: _Mailbox, asker: Asker, run: Run,
          start: Callable[[Run], Generator[Event, None, None]]) -> None:
    """Read a run to its end in a thread; what it says once it is stopped is read by nobody."""
    try:
        with asking(asker.requester), closing(start(run)) as events:
            for event in events:
                mailbox.post(event)
        mailbox.post(None)
    except Exception as error:
        mailbox.post(error)


async def _gone(request: Request) -> bool:
    """Ends when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return True

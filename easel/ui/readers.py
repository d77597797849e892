"""Ends jobs that nobody reads: a program may ask Gradio's queue for one and never come for it.

Gradio notices a reader that goes; one that never came it does not, and keeps the messages of such
sessions for ever.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import gradio as gr
from gradio.context import LocalContext
from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from easel.guard.error_net import NO_CALL
from easel.words.language import language_of, say, speaking

logger = logging.getLogger(__name__)
UNREAD_S = 15.0  # a reader has this long to come, or to come back
LOOK_EVERY_S = 1.0
QUEUE = "/gradio_api/queue/data"
CALL = "/gradio_api/call/"


class Readers:
    """Who reads which session's messages.

    One object serves a page: as middleware's argument it notes readers, and once the page is
    served, ends what is unread.
    """

    def __init__(self) -> None:
        self._reading: dict[str, int] = {}
        # Of sessions without a reader: since when, and whether they had jobs then.
        self._since_s: dict[tuple[str, bool], float] = {}
        # Calls that somebody's going ends, and how; by what Gradio knows them by.
        self.calls: dict[int, tuple[Any, Callable[[], object]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._page: gr.Blocks | None = None

    def session_of(self, event: str) -> str:
        """The session of a call; one that named none is a session of its own, called as the call.
        """
        if self._page is None:
            return event
        queue = self._page._queue
        if (found := queue.event_ids_to_events.get(event)) is not None:
            return str(found.session_hash)
        # Of one that has ended its messages are still to be read.
        return next((session for session, events in queue.pending_event_ids_session.items()
                     if event in events), event)

    def knows(self, session: str) -> bool:
        """Whether there is anything to read of a session, now or later."""
        return (self._page is None
                or session in self._page._queue.pending_messages_per_session)

    def begin(self, session: str) -> None:
        """A reader of a session came."""
        self._reading[session] = self._reading.get(session, 0) + 1

    def end(self, session: str) -> None:
        """A reader of a session went."""
        self._reading[session] = self._reading.get(session, 1) - 1
        if self._reading[session] <= 0:
            del self._reading[session]

    def unread(self, sessions: Mapping[str, bool]) -> list[str]:
        """Which sessions have had no reader for too long.

        Args:
            sessions: those with messages, and whether they have jobs; a new job has its own time.
        """
        now = time.monotonic()
        self._since_s = {key: self._since_s.get(key, now) for key in sessions.items()
                         if key[0] not in self._reading}
        return [session for (session, _), since_s in self._since_s.items()
                if now - since_s > UNREAD_S]

    async def start(self, page: gr.Blocks) -> None:
        """Watch a page's sessions from now on, in the running loop."""
        self._page = page
        setattr(page, "readers", self)  # noqa: B010
        _send_to_those_who_are_there(page)
        self._task = asyncio.create_task(self._watch(page))

    async def _watch(self, page: gr.Blocks) -> None:
        """End the jobs of unread sessions, as Gradio does when their reader goes."""
        queue = page._queue
        while not queue.stopped:
            await asyncio.sleep(LOOK_EVERY_S)
            for number, (job, stop) in [*self.calls.items()]:
                if not job.alive and self.calls.pop(number, None) is not None:
                    logger.info("a call is ended: whoever made it has gone")
                    await asyncio.to_thread(stop)
            jobs = queue.pending_event_ids_session
            for session in self.unread({session: bool(jobs.get(session)) for session
                                        in queue.pending_messages_per_session}):
                if session in self._reading:  # came while others' were ended
                    continue
                with suppress(KeyError):
                    del queue.pending_messages_per_session[session]
                if jobs.get(session):
                    logger.info("a session's jobs are ended: nobody has come to read of them")
                await queue.clean_events(session_hash=session)
                jobs.pop(session, None)


def _send_to_those_who_are_there(page: gr.Blocks) -> None:
    """Let a message to who has just gone be no error.

    Gradio tells all who wait of each new job. Without this whoever asks for one is refused for
    somebody whose messages are gone and whose job is not yet.
    """
    send = page._queue.send_message

    def sent(event: Any, event_message: Any) -> None:
        with suppress(KeyError):
            send(event, event_message)

    page._queue.send_message = sent


@contextmanager
def ended_by_leaving(stop: Callable[[], object]) -> Iterator[None]:
    """Let the call that is being answered be stopped once whoever made it has gone.

    Gradio ends a generator then; a function that answers once it lets run to its end.

    Args:
        stop: called once, from another thread.
    """
    page, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    readers: Readers | None = getattr(page, "readers", None)
    job = next((job for jobs in (page._queue.active_jobs if page is not None else ())
                for job in jobs or () if job._id == event_id), None)
    if readers is None or job is None:
        yield
        return
    readers.calls[id(job)] = (job, stop)
    try:
        yield
    finally:
        readers.calls.pop(id(job), None)


class ReaderWatch:
    """Notes who reads.

    Args:
        app: what answers the requests.
        readers: where it is noted.
    """

    def __init__(self, app: ASGIApp, readers: Readers) -> None:
        self.app, self.readers = app, readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = self._session_read(scope)
        if session is None:
            await self.app(scope, receive, send)
            return
        if not self.readers.knows(session):
            await self._nothing_to_read(scope)(scope, receive, send)
            return
        self.readers.begin(session)
        try:
            await self.app(scope, receive, send)
        finally:
            self.readers.end(session)

    def _nothing_to_read(self, scope: Scope) -> PlainTextResponse:
        """What Gradio would say with an error in the log and in two messages, one of them odd."""
        with speaking(language_of(Headers(scope=scope))):
            sentence = say(NO_CALL)
        message: object = sentence
        if scope["path"].endswith(QUEUE):
            message = {"msg": "unexpected_error", "event_id": None, "message": sentence,
                       "session_not_found": True, "success": False}
        kind = "" if scope["path"].endswith(QUEUE) else "event: error\n"
        return PlainTextResponse(f"{kind}data: {json.dumps(message)}\n\n",
                                 media_type="text/event-stream")

    def _session_read(self, scope: Scope) -> str | None:
        """The session whose messages a request reads; None for another request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return None
        path: str = scope["path"]
        if path.endswith(QUEUE):
            return QueryParams(scope["query_string"]).get("session_hash")  # Gradio asks for one
        if CALL not in path:
            return None
        return self.readers.session_of(path.rstrip("/").rpartition("/")[2])

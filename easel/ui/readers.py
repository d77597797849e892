"""Ends jobs that nobody reads: a program may ask Gradio's queue for one and never come for it.

Gradio notices a reader that goes; one that never came it does not, and keeps the messages of such
sessions for ever.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import gradio as gr
from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

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
        self._task: asyncio.Task[None] | None = None

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
        _send_to_those_who_are_there(page)
        self._task = asyncio.create_task(self._watch(page))

    async def _watch(self, page: gr.Blocks) -> None:
        """End the jobs of unread sessions, as Gradio does when their reader goes."""
        queue = page._queue
        while not queue.stopped:
            await asyncio.sleep(LOOK_EVERY_S)
            jobs = queue.pending_event_ids_session
            for session in self.unread({session: bool(jobs.get(session)) for session
                                        in queue.pending_messages_per_session}):
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


class ReaderWatch:
    """Notes who reads.

    Args:
        app: what answers the requests.
        readers: where it is noted.
    """

    def __init__(self, app: ASGIApp, readers: Readers) -> None:
        self.app, self.readers = app, readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = _session_read(scope)
        if not session:
            await self.app(scope, receive, send)
            return
        self.readers.begin(session)
        try:
            await self.app(scope, receive, send)
        finally:
            self.readers.end(session)


def _session_read(scope: Scope) -> str:
    """The session whose messages a request reads; empty for another request."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return ""
    path: str = scope["path"]
    if path.endswith(QUEUE):
        return QueryParams(scope["query_string"]).get("session_hash", "")
    # A call without a session is one of its own, named as its event.
    return path.rstrip("/").rpartition("/")[2] if CALL in path else ""

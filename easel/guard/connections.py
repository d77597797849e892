"""Connections that go nowhere are ended: uvicorn itself waits for ever, with a descriptor each.

A client that sends its request byte by byte, or reads its answer so, is given a time in proportion
to what it has sent or read. How many connections there may be follows from how many files the
process may open; one too many takes the place of one that asks for nothing. No address has more
than three quarters of them.

Source: the attacks known as Slowloris, R.U.D.Y. and slow read; RFC 9112, section 9.5 (time-outs
are the server's to choose).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Literal

import gradio as gr

from easel.guard.host_check import is_local_name
from easel.history.lockout import source_of

try:
    import resource
except ImportError:  # not on Windows, which has no such limit
    resource = None

logger = logging.getLogger(__name__)
HEAD_S = 20.0  # for a request's head, from the first moment of a connection or its last answer
PATIENCE_S = 20.0  # for what comes or goes more slowly than MIN_BYTES_A_S
MIN_BYTES_A_S = 2000  # GPRS of 1997 managed that
LOOK_EVERY_S = 1.0
MAX_CONNECTIONS = 2000
# Of the files that the process may open; models, pictures and databases need the others.
SHARE_OF_FILES = 0.5
FULL = (b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n"
        b"retry-after: 10\r\n\r\n")

Phase = Literal["head", "body", "answer", "work"]


def most_connections() -> int:
    """How many connections there may be at a time, as far as files may be opened."""
    if resource is None:
        return MAX_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(16, min(MAX_CONNECTIONS, int(files * SHARE_OF_FILES)))


class _Counted:
    """A transport that counts what is written to it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport, self.written_bytes = transport, 0

    def write(self, data: bytes) -> None:
        self.written_bytes += len(data)
        self.transport.write(data)

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def flushed_bytes(self) -> int:
        """What the client, or the system on its behalf, has taken."""
        return self.written_bytes - self.transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


def impatient(protocol_class: type[Any], most: int) -> type[Any]:
    """uvicorn's protocol with an end to its patience.

    Args:
        protocol_class: uvicorn's for HTTP, of h11 or of httptools.
        most: connections that there may be at a time.
    """

    class Impatient(protocol_class):
        counted: _Counted
        received_bytes = 0
        phase: Phase = "head"
        request: Any = None  # uvicorn's cycle in which the phase began
        since_s = 0.0
        moved_bytes = 0  # when the phase began

        def connection_made(self, transport: asyncio.Transport) -> None:
            self.counted = _Counted(transport)
            super().connection_made(self.counted)
            self._begin("head")
            self._watch = self.loop.call_later(LOOK_EVERY_S, self.look)
            there = [each for each in self.connections
                     if not each.counted.transport.is_closing()]
            # In this order: who has too many themselves takes nobody else's place.
            if _near(there, self) > most * 3 // 4 or (
                    len(there) > most and not _drop_idle(there, self)):
                logger.warning("a connection is refused: there are %d", len(there))
                transport.write(FULL)
                transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._watch.cancel()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, *args: Any) -> None:
            self._watch.cancel()  # another protocol takes over
            super().handle_websocket_upgrade(*args)

        def data_received(self, data: bytes) -> None:
            self.received_bytes += len(data)
            super().data_received(data)

        def look(self) -> None:
            """End the connection where its client has had its time."""
            self._watch = self.loop.call_later(LOOK_EVERY_S, self.look)
            phase = self._phase()
            if phase != self.phase or self.cycle is not self.request:
                self._begin(phase)
            elif phase == "head" and self.age_s() > HEAD_S:
                self.end()
            elif phase in ("body", "answer"):
                due_bytes = (self.age_s() - PATIENCE_S) * MIN_BYTES_A_S
                if self._moved(phase) - self.moved_bytes < due_bytes:
                    self.end()

        def age_s(self) -> float:
            """Seconds since the phase began."""
            return time.monotonic() - self.since_s

        def end(self) -> None:
            """Drop the connection; what is not yet sent is not sent any more."""
            logger.info("a connection is ended: its client is too slow (%s)", self.phase)
            self.counted.transport.abort()

        def _begin(self, phase: Phase) -> None:
            self.phase, self.request, self.since_s = phase, self.cycle, time.monotonic()
            self.moved_bytes = self._moved(phase)

        def _moved(self, phase: Phase) -> int:
            return self.received_bytes if phase == "body" else self.counted.flushed_bytes()

        def _phase(self) -> Phase:
            """What the connection waits for."""
            if self.counted.transport.get_write_buffer_size():
                return "answer"
            if self.cycle is None or self.cycle.response_complete:
                return "head"
            # Where it is Easel that does not read on, the client is not at fault.
            return "body" if self.cycle.more_body and not self.flow.read_paused else "work"

    return Impatient


def _drop_idle(connections: Sequence[Any], new: Any) -> bool:
    """End the connection that has asked for nothing for the longest time; whether there is one."""
    idle = [each for each in connections if each is not new and each.phase == "head"]
    if not idle:
        return False
    max(idle, key=lambda each: each.age_s()).end()
    return True


def _near(connections: Sequence[Any], new: Any) -> int:
    """How many connections come from a connection's address; 0 where that says nothing, as on this
    machine, behind whose proxies everybody is."""
    address = new.client[0] if new.client else ""
    if not address or is_local_name(address):
        return 0
    near = source_of(address)
    return sum(source_of(each.client[0]) == near for each in connections if each.client)


def bound_connections(page: gr.Blocks, most: int | None = None) -> None:
    """Bound the connections of a served page from now on, in time and in number.

    Args:
        page: after it was launched.
        most: connections that there may be at a time; ``most_connections()`` where None.
    """
    config = page.server.config
    config.http_protocol_class = impatient(config.http_protocol_class,
                                           most or most_connections())

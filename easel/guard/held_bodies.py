"""Bodies of requests that are held in memory, read whole but bounded: each, and all together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

HELD_BYTES = 256 * 2**20
# Of each body, which are bounded by the number of connections: large bodies, which whoever sends
# them slowly holds for long, keep no others' ordinary calls out.
UNCOUNTED_BYTES = 2**16
CUT_SHORT = "The body was cut short."
TOO_MUCH_NOW = "Too much is sent at the same time: try again in a minute."


class BodyFault(Exception):
    """A body that cannot be taken.

    Attributes:
        status: of the answer: 400 for what cannot be read, 413 for too much, 503 for too much at a
            time.
        field: the name in it that is at fault; None where that is the whole, or not known.
    """

    def __init__(self, status: int, sentence: str, field: str | None = None) -> None:
        super().__init__(sentence)
        self.status, self.field = status, field


class HeldBodies:
    """What all requests of a server hold together; of the server's loop alone.

    Args:
        most_bytes: of all, beside the first ``UNCOUNTED_BYTES`` of each.
    """

    def __init__(self, most_bytes: int = HELD_BYTES) -> None:
        self.most_bytes, self.held_bytes = most_bytes, 0

    @asynccontextmanager
    async def read(self, scope: Scope, receive: Receive, most_bytes: int, too_large: str,
                   ) -> AsyncIterator[bytes]:
        """A request's body, which counts as held for the length of the block.

        Args:
            scope: of the request.
            receive: brings it.
            most_bytes: that it may have.
            too_large: what is said of one that has more.

        Raises:
            BodyFault: it is too large, comes with too many others, or its client is gone.
        """
        told = Headers(scope=scope).get("content-length", "")
        if told.isdecimal() and int(told[:18]) > most_bytes:
            raise BodyFault(413, too_large)
        parts: list[bytes] = []
        length = counted = 0
        try:
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise BodyFault(400, CUT_SHORT)
                parts.append(message.get("body", b""))
                length += len(parts[-1])
                if length > most_bytes:
                    raise BodyFault(413, too_large)
                held = max(0, length - UNCOUNTED_BYTES)
                self.held_bytes += held - counted
                counted = held
                if self.held_bytes > self.most_bytes:
                    raise BodyFault(503, TOO_MUCH_NOW)
                more = message.get("more_body", False)
            body = b"".join(parts)
            parts.clear()
            yield body
        finally:
            self.held_bytes -= counted


def replayed(body: bytes, receive: Receive) -> Receive:
    """The messages of a request whose body was read already."""
    first = [True]

    async def again() -> Message:
        if first:
            first.clear()
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again

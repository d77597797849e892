"""What is wrong with a call before Gradio reads it: refused here, for all functions at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from easel.ui.guard.cache_folder import CacheFolder
from easel.ui.parts.visitors import UnknownVisitor, brings_token

API = "/gradio_api/"
# Gradio's routes that Easel has no use for; one of them echoes any file.
CLOSED = ("process_recording", "deep_link", "proxy=", "monitoring", "pwa_icon", "startup-code")
DIRECT = ("run", "api")  # calls that are answered at once, outside Gradio's queue
MAX_SESSION_CHARS = 64
MAX_BODY_BYTES = 8 * 2**20  # of JSON; files come by /upload
SESSION = f"A session's name has at most {MAX_SESSION_CHARS} characters."
TOO_LARGE = f"A request has at most {MAX_BODY_BYTES >> 20} MB beside its files."
NO_ROOM = "There is no room for uploads now: try again in some minutes."
REMOTE = "Easel fetches nothing from other machines: upload the file."


class _Refused(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class RequestCheck:
    """Refuses calls of Gradio's functions that must not reach it.

    - Who has neither cookie, token nor session is nobody, whatever is asked for (401).
    - What Easel does not use is not there (404).
    - A session's name is short: Gradio keeps state for each (400).
    - A file of another machine is not fetched, for anyone (403). Gradio would, wherever a body
      holds what looks like a file, in a text field too.

    - An upload that the cache has no room for is not begun (507).

    Args:
        app: what answers the requests.
        cache: where uploads go.
    """

    def __init__(self, app: ASGIApp, cache: CacheFolder) -> None:
        self.app, self.cache = app, cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and API in scope["path"]:
            try:
                receive = await self._checked(scope, receive)
            except _Refused as error:
                await JSONResponse({"detail": error.sentence}, error.status)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        called = scope["path"].partition(API)[2]
        name, _, rest = called.partition("/")
        if called.startswith(CLOSED):
            raise _Refused(404, "There is no such address.")
        session = QueryParams(scope["query_string"]).get("session_hash", "")
        if name in ("heartbeat", "stream"):
            session = rest.partition("/")[0]
        _check_session(session)
        if called.startswith(("file=", "file/", "proxy=")) and _is_remote(called[5:].lstrip("=")):
            raise _Refused(403, REMOTE)
        if scope["method"] != "POST":
            return receive
        if name == "upload":
            length = Headers(scope=scope).get("content-length", "")
            expected = int(length[:18]) if length.isdecimal() else 0
            if not await run_in_threadpool(self.cache.has_room, expected):
                raise _Refused(507, NO_ROOM)
            return receive
        body = await _read(receive, Headers(scope=scope))
        try:
            found = json.loads(body) if body else None
        except (ValueError, RecursionError):
            found = None  # Gradio says so
        fields = found if isinstance(found, dict) else {}
        session = fields.get("session_hash")
        _check_session(session)
        if name in DIRECT and not session and not brings_token(HTTPConnection(scope)):
            raise _Refused(401, str(UnknownVisitor()))
        if any(_is_remote(path) for path in _paths(found)):
            raise _Refused(403, REMOTE)
        return _replayed(body, receive)


def _check_session(session: Any) -> None:
    if session is not None and (not isinstance(session, str)
                                or len(session) > MAX_SESSION_CHARS):
        raise _Refused(400, SESSION)


async def _read(receive: Receive, headers: Headers) -> bytes:
    parts, length = [], 0
    if headers.get("content-length", "0").isdecimal() \
            and int(headers.get("content-length", "0")[:18]) > MAX_BODY_BYTES:
        raise _Refused(413, TOO_LARGE)
    while True:
        message = await receive()
        if message["type"] != "http.request":  # gone
            return b""
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > MAX_BODY_BYTES:
            raise _Refused(413, TOO_LARGE)
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The messages of a request whose body was read already."""
    first = [True]

    async def again() -> Message:
        if first:
            first.clear()
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


def _paths(value: Any) -> Iterator[Any]:
    """What stands under "path" anywhere in a value; without recursion, since it is anyone's."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value.get("path")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _is_remote(path: Any) -> bool:
    return isinstance(path, str) and path.strip().lower().startswith(("http:", "https:", "//"))

"""Who asks: a visitor without an account, known by a cookie that scripts cannot read.

Gradio's session ends with a reload, and what it keeps in the browser's storage can be read by
scripts and is not sent with the address of a picture; a cookie does neither. It holds 256 random
bits; the server keeps only their hash, so that nobody who reads the database can pose as a visitor.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import gradio as gr
from gradio.context import LocalContext
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from easel.guard.host_check import is_local_name
from easel.history.lockout import source_of
from easel.serving.jobs import Requester
from pipelines.core.errors import EaselError

COOKIE = "easel_visitor"
HEADER = "x-easel-visitor"  # for programs, which seldom keep cookies
MAX_AGE_S = 400 * 86400  # browsers keep no cookie longer
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_asking: ContextVar[Requester | None] = ContextVar("asking", default=None)


def new_token() -> str:
    """A token that makes its holder a visitor."""
    return secrets.token_urlsafe(32)


class UnknownVisitor(EaselError):
    """Nobody says who asks, so that nothing can be theirs."""

    def __init__(self) -> None:
        super().__init__("Easel cannot know you: send its cookie, a session, or the header {}.",
                         HEADER)


def visitor_of(request: gr.Request | Request) -> str:
    """Who sent a request: 40 hex digits, never empty.

    A program without token is one visitor for as long as its session lasts.

    Raises:
        UnknownVisitor: the request has neither cookie, token nor session.
    """
    if token := _token_of(request):
        return visitor_named(token)
    session = getattr(request, "session_hash", None) if isinstance(request, gr.Request) else None
    if not session:
        raise UnknownVisitor
    return visitor_named(f"session {session}")


def address_of(request: gr.Request | Request) -> str:
    """Where a request comes from, as limits count it; empty where that is not known."""
    return source_of(str(getattr(getattr(request, "client", None), "host", "") or ""))


def requester() -> Requester:
    """Who sent the request that is being answered; nobody where that is not known."""
    if (who := _asking.get()) is not None:
        return who
    request: Any = LocalContext.request.get(None)  # set by Gradio around every handler
    if request is None:
        return Requester()
    try:
        visitor = visitor_of(request)
    except UnknownVisitor:
        visitor = ""
    address = address_of(request)
    return Requester(visitor, "" if is_local_name(address) else address)


@contextmanager
def asking(who: Requester) -> Iterator[None]:
    """Let ``requester`` say in this thread who asks, where it is not Gradio that calls."""
    token = _asking.set(who)
    try:
        yield
    finally:
        _asking.reset(token)


def is_token(text: str) -> bool:
    """Whether a text has the form of a token that makes its holder a visitor."""
    return bool(_TOKEN.fullmatch(text))


def brings_token(request: HTTPConnection) -> bool:
    """Whether a request has the cookie or the header that makes its sender a visitor."""
    return bool(_token_of(request))


def _token_of(request: gr.Request | HTTPConnection) -> str:
    cookies: Any = request.cookies
    headers: Any = request.headers
    # Plain dictionaries in one case, their like in the other.
    token = str(dict(cookies).get(COOKIE, "")) or str(Headers(dict(headers)).get(HEADER, ""))
    return token if _TOKEN.fullmatch(token) else ""


def session_of(request: gr.Request) -> str:
    """The session that a request belongs to, whose runs it may follow and stop, never empty.

    A program that sends its token without a session has one for all of its requests.

    Raises:
        UnknownVisitor: as for ``visitor_of``.
    """
    return request.session_hash or f"visitor {visitor_of(request)}"


def visitor_named(text: str) -> str:
    """The visitor who holds a token, or goes by another secret or name: 40 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:40]


class VisitorCookie:
    """Gives every browser that opens the page a cookie, unless it brings one.

    Args:
        app: what answers the requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        known = _TOKEN.fullmatch(request.cookies.get(COOKIE, ""))
        if known or "text/html" not in request.headers.get("accept", ""):
            await self.app(scope, receive, send)
            return

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("set-cookie", _cookie(request))
            await send(message)

        await self.app(scope, receive, send_with_cookie)


def _cookie(request: HTTPConnection) -> str:
    """The header that sets the cookie.

    A page inside another site's frame keeps cookies only in a part of their own, and over TLS.
    """
    forwarded = request.headers.get("x-forwarded-proto", request.url.scheme)
    secure = forwarded.split(",")[0].strip() == "https"
    parts = [f"{COOKIE}={new_token()}", f"Max-Age={MAX_AGE_S}", "Path=/", "HttpOnly"]
    if secure and request.headers.get("sec-fetch-dest") == "iframe":
        return "; ".join([*parts, "Secure", "SameSite=None", "Partitioned"])
    return "; ".join([*parts, "Secure", "SameSite=Lax"] if secure else [*parts, "SameSite=Lax"])

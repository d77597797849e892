"""Who asks: a visitor without an account, known by a cookie that scripts cannot read.

Gradio's session ends with a reload, and what it keeps in the browser's storage can be read by
scripts and is not sent with the address of a picture; a cookie does neither. It holds 256 random
bits; the server keeps only their hash, so that nobody who reads the database can pose as a visitor.
"""

from __future__ import annotations

import hashlib
import ipaddress
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

from easel.guard.host_check import host_name, is_local_name
from easel.guard.session_names import LONE
from easel.history.lockout import source_of
from easel.serving.jobs import Requester
from pipelines.core.errors import EaselError

COOKIE = "easel_visitor"
HEADER = "x-easel-visitor"  # for programs, which seldom keep cookies
# What a proxy adds: behind one, everybody seems to sit at this machine.
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
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
    if token := token_of(request):
        return visitor_named(token)
    session = getattr(request, "session_hash", None) if isinstance(request, gr.Request) else None
    if not session:
        raise UnknownVisitor
    return visitor_named(f"session {session}")


def address_of(request: gr.Request | HTTPConnection) -> str:
    """Where a request comes from, as limits count it; empty where that is not known."""
    return source_of(str(getattr(getattr(request, "client", None), "host", "") or ""))


def from_afar(request: gr.Request | HTTPConnection) -> str:
    """``address_of``, but empty for this machine itself, which no limit by address is for."""
    address = address_of(request)
    return "" if is_local_name(address) else address


def is_local(request: gr.Request | Request) -> bool:
    """Whether a request comes from this machine, to it by name, and through no proxy that says so.

    A page of another site whose name was made to point here comes from this machine as well.
    """
    headers = {str(name).lower(): str(value) for name, value in dict(request.headers).items()}
    if headers.keys() & set(PROXY_HEADERS):
        return False
    if "host" in headers and not is_local_name(host_name(headers["host"])):
        return False
    client = getattr(request, "client", None)
    try:
        return ipaddress.ip_address(str(getattr(client, "host", ""))).is_loopback
    except ValueError:
        return False


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
    return Requester(visitor, from_afar(request))


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
    return bool(token_of(request))


def token_of(request: gr.Request | HTTPConnection) -> str:
    """The token that makes the sender of a request a visitor; empty where it brings none."""
    cookies: Any = request.cookies
    headers: Any = request.headers
    # Plain dictionaries in one case, their like in the other.
    token = str(dict(cookies).get(COOKIE, "")) or str(Headers(dict(headers)).get(HEADER, ""))
    return token if _TOKEN.fullmatch(token) else ""


def session_of(request: gr.Request) -> str:
    """The session that a request belongs to, whose runs it may follow and stop, never empty.

    A program that sends its token without a session has one for all of its requests, also where
    Gradio gives each of them a session of its own.

    Raises:
        UnknownVisitor: as for ``visitor_of``.
    """
    if request.session_hash and not (_is_lone(request) and token_of(request)):
        return request.session_hash
    return f"visitor {visitor_of(request)}"


def _is_lone(request: gr.Request) -> bool:
    """Whether a call came without the name of a session."""
    return bool(getattr(getattr(request, "request", None), "scope", {}).get(LONE))


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

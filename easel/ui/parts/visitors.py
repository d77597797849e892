"""Who asks: a visitor without an account, known by a cookie that scripts cannot read.

Gradio's session ends with a reload, and what it keeps in the browser's storage can be read by
scripts and is not sent with the address of a picture; a cookie does neither. It holds 256 random
bits; the server keeps only their hash, so that nobody who reads the database can pose as a visitor.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "easel_visitor"
HEADER = "x-easel-visitor"  # for programs, which seldom keep cookies
MAX_AGE_S = 400 * 86400  # browsers keep no cookie longer
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def new_token() -> str:
    """A token that makes its holder a visitor."""
    return secrets.token_urlsafe(32)


def visitor_of(request: gr.Request | Request) -> str:
    """Who sent a request; empty for a program that says nothing about itself.

    A program without token is one visitor for as long as its session lasts.
    """
    cookies: Any = request.cookies
    headers: Any = request.headers
    # Plain dictionaries in one case, their like in the other.
    token = str(dict(cookies).get(COOKIE, "")) or str(Headers(dict(headers)).get(HEADER, ""))
    if _TOKEN.fullmatch(token):
        return _hash(token)
    session = getattr(request, "session_hash", None) if isinstance(request, gr.Request) else None
    return _hash(f"session {session}") if session else ""


def _hash(text: str) -> str:
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

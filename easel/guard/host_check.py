"""Which addresses the page answers under, and whose pages may call it.

A browser sends what any page asks it to. A name that an attacker's DNS lets point at this machine
(rebinding) makes a foreign page one of the same origin; only the Host header tells. A page of
another site, or on another port of this machine, is recognised by the Origin header, or, where a
browser leaves that away, by its Sec-Fetch-Site.

Source: the Fetch standard, section 3.2 (Origin); RFC 9110, sections 7.2, 9.2.1 (safe methods) and
15.5.20 (421); W3C, "Fetch Metadata Request Headers", section 2.3.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_NETLOC = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:\[\]@/?#]+)(?::\d{1,5})?")
WRONG_HOST = ("Easel does not answer under this name: add it to EASEL_ALLOWED_HOSTS if it is "
              "yours.")
WRONG_ORIGIN = "Easel takes no requests from pages of other sites."
SAFE = ("GET", "HEAD", "OPTIONS")


def host_name(netloc: str) -> str:
    """The name or address of "name:port", in lower case; empty where it is malformed."""
    match = _NETLOC.fullmatch(netloc.strip().lower())
    return match[1].strip("[]") if match else ""


def is_local_name(name: str) -> bool:
    """Whether a name means this machine wherever it is looked up, so that no DNS can lend it."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _plain(scope: Scope, status: int, sentence: str) -> Response:
    return JSONResponse({"detail": sentence}, status)


class HostCheck:
    """Refuses requests to foreign names (421) and from foreign pages (403).

    Args:
        app: what answers the requests.
        host: address that the server listens on. Where that is this machine alone, local names
            are answered; where it is not, all are, unless ``allowed`` names some.
        allowed: names of proxies and the like, which are answered and whose pages may call.
        refusal: makes the answer of a request's scope, a status and a sentence.
    """

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1", allowed: Collection[str] = (),
                 refusal: Callable[[Scope, int, str], Response] = _plain) -> None:
        self.app, self.host, self.refusal = app, host.lower(), refusal
        self.allowed = frozenset(name.lower() for name in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._answers(host_name(headers.get("host", ""))):
            await self.refusal(scope, 421, WRONG_HOST)(scope, receive, send)
        elif not self._may_call(headers, scope.get("method", "GET") in SAFE):
            await self.refusal(scope, 403, WRONG_ORIGIN)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _answers(self, name: str) -> bool:
        if name == self.host or name in self.allowed or is_local_name(name):
            return True
        return not self.allowed and not is_local_name(self.host)

    def _may_call(self, headers: Headers, is_safe: bool) -> bool:
        origin = headers.get("origin")
        if origin is None:  # no page, a page's own address, or a link to it from anywhere
            return is_safe or headers.get("sec-fetch-site", "") not in ("cross-site", "same-site")
        netloc = origin.partition("://")[2].lower()  # nothing of "null"
        # What a proxy says of itself; a page cannot, unless it is of this origin already.
        own = {headers.get("host", "").lower(), headers.get("x-forwarded-host", "").lower()}
        return bool(netloc) and (netloc in own or host_name(netloc) in self.allowed)

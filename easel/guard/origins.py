"""Pages of other sites: those that the operator allows may read what they are told, no others.

A browser asks first whether a page of another origin may send what a program sends, and shows it
no answer that does not say so. Whose pages may call at all is ``easel.guard.host_check``'s to say;
Gradio's own answers would tell every site, under any name but this machine's, that it may.

Source: the Fetch standard, section 3.2 (the CORS protocol).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from gradio import routes
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

METHODS = ("GET", "POST", "DELETE")
SAID = ("Mcp-Session-Id", "WWW-Authenticate")  # headers that such a page may read


class Origins:
    """Answers preflight requests, and marks all answers, for allowed origins.

    Without names nothing is: such a request is 405 then, as of any method that there is not.

    Args:
        app: what answers the requests.
        names: hosts whose pages may call, as EASEL_ALLOWED_HOSTS has them.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self.app = app
        if names:
            hosts = "|".join(re.escape(name.lower()) for name in names)
            self.app = CORSMiddleware(
                app, allow_origin_regex=rf"https?://(?:{hosts})(?::\d{{1,5}})?",
                allow_methods=METHODS, allow_headers=["*"], expose_headers=SAID,
                allow_credentials=True)  # such a page is as good as our own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class _Through:
    """In the place of Gradio's own answers, which come before ours and know no names."""

    def __init__(self, app: ASGIApp, **_: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def answer_for_gradio() -> None:
    """Let ``Origins`` alone say which pages may read answers; before the page is launched."""
    setattr(routes, "CustomCORSMiddleware", _Through)  # noqa: B010

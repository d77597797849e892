"""Headers that tell browsers what the page and its files are not to be used for."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HASHED = "/assets/"  # Gradio's scripts and styles
# By browsers alone: with whatever is opened as a page comes the cookie that makes a visitor.
KEEP = "private, max-age=31536000, immutable"


class ResponseHeaders:
    """Adds them to every answer.

    Other sites may not show the page in a frame, where a press could be stolen; files are what
    their type says; addresses, which may hold ids of pictures, are not sent to other sites. What
    has a hash in its name is asked for once.

    Args:
        app: what answers the requests.
        frame_ancestors: sites that may show the page in a frame all the same, as the policy's
            ``frame-ancestors`` writes them.
    """

    def __init__(self, app: ASGIApp, frame_ancestors: str = "") -> None:
        self.app = app
        allowed = " ".join(["'self'", *frame_ancestors.split()])
        self.headers = {
            "content-security-policy": f"frame-ancestors {allowed}; object-src 'none'; "
                                       "base-uri 'self'; form-action 'self'",
            "x-content-type-options": "nosniff", "referrer-policy": "same-origin"}
        if not frame_ancestors.split():
            self.headers["x-frame-options"] = "SAMEORIGIN"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
                if message["status"] == 200 and scope["path"].startswith(HASHED):
                    headers.setdefault("cache-control", KEEP)
            await send(message)

        await self.app(scope, receive, send_with_headers)

"""``/qr.svg``: an address of this page as a QR code, for a class to point its phones at."""

from __future__ import annotations

import io

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MAX_ADDRESS_CHARS = 1200  # what phones still read from a projector, all of it in percent signs
QUIET_MODULES = 4  # the white around it, which ISO/IEC 18004 asks for


def qr_route() -> Route:
    """The route, to come before the page's own."""
    return Route("/qr.svg", _answer, methods=["GET"])


def _answer(request: Request) -> Response:
    address = request.query_params.get("address", "")
    if not address.startswith(("http://", "https://")) or not address.isascii() or (
            len(address) > MAX_ADDRESS_CHARS):
        return JSONResponse({"detail": "A QR code is made of an address of at most "
                                       f"{MAX_ADDRESS_CHARS:,} characters."}, 400)
    import segno  # for those who ask alone

    picture = io.BytesIO()
    segno.make_qr(address, error="l").save(picture, kind="svg", border=QUIET_MODULES, light="#fff",
                                           omitsize=True)
    return Response(picture.getvalue(), media_type="image/svg+xml", headers={
        "Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"})

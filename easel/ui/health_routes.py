"""``/healthz`` and ``/metrics``, for those who watch the server."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from easel.serving.interface import Backend


def health_routes(backend: Backend, metrics: bool = True) -> list[Route]:
    """Routes that come before the page's own.

    Args:
        backend: whose state they report.
        metrics: whether figures are served too.
    """
    async def healthz(request: Request) -> Response:
        running, waiting = backend.queue()
        alive = backend.is_open()
        return JSONResponse({"status": "ok" if alive else "closing", "running": running,
                             "waiting": waiting, "device": backend.device()},
                            status_code=200 if alive else 503,
                            headers={"Cache-Control": "no-store"})

    async def show_metrics(request: Request) -> Response:
        return Response(backend.figures(), media_type=CONTENT_TYPE_LATEST)

    routes = [Route("/healthz", healthz, methods=["GET"])]
    if metrics:
        routes.append(Route("/metrics", show_metrics, methods=["GET"]))
    return routes

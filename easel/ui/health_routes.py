"""``/healthz`` and ``/metrics``, for those who watch the server."""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from easel.serving.interface import Backend
from pipelines.core.errors import EaselError


def health_routes(backend: Backend, metrics: bool = True) -> list[Route]:
    """Routes that come before the page's own.

    They are answered by threads: a backend may ask a cluster, for which the server's loop must not
    wait.

    Args:
        backend: whose state they report.
        metrics: whether figures are served too.
    """
    def healthz(request: Request) -> Response:
        alive = backend.is_open()
        told: dict[str, Any] = {"status": "ok" if alive else "closing"}
        try:
            running, waiting = backend.queue()
            told |= {"running": running, "waiting": waiting, "device": backend.device()}
        except EaselError as error:
            alive, told = False, {"status": "no cluster", "error": str(error)}
        return JSONResponse(told, status_code=200 if alive else 503,
                            headers={"Cache-Control": "no-store"})

    def show_metrics(request: Request) -> Response:
        try:
            return Response(backend.figures(), media_type=CONTENT_TYPE_LATEST)
        except EaselError as error:
            return PlainTextResponse(f"{error}\n", status_code=503)

    routes = [Route("/healthz", healthz, methods=["GET"])]
    if metrics:
        routes.append(Route("/metrics", show_metrics, methods=["GET"]))
    return routes

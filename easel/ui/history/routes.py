"""Addresses of kept pictures: each answers only the visitor whose picture it is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from easel.guard.visitors import visitor_of
from easel.history.export import stream_zip, zip_name
from easel.history.records import KeptPicture
from easel.history.store import History
from easel.ui.history.filters import filters_from_query
from easel.ui.parts.errors import json_errors
from pipelines.core.metadata import picture_name

# A picture never changes; but only its visitor's own browser may keep it.
KEEP = {"Cache-Control": "private, max-age=31536000, immutable", "Vary": "Cookie",
        "X-Content-Type-Options": "nosniff"}


def history_routes(history: History) -> list[Route]:
    """Routes for thumbnails, pictures and the export, to go before Gradio's own.

    Args:
        history: whose pictures they serve.
    """
    def thumbnail(request: Request) -> Response:
        picture = _own_picture(history, request)
        return FileResponse(history.files.thumbnail(picture.sha256), media_type="image/webp",
                            headers=KEEP)

    def picture(request: Request) -> Response:
        found = _own_picture(history, request)
        return FileResponse(history.files.local(found.sha256), media_type="image/png", headers=KEEP,
                            filename=picture_name(found.facts), content_disposition_type="inline")

    def export(request: Request) -> Response:
        owner = history.owner_of(visitor_of(request))
        filters = filters_from_query(request.query_params)
        return StreamingResponse(
            stream_zip(history, owner, filters), media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{zip_name()}"',
                     "Cache-Control": "no-store"})

    return [Route("/history/export", json_errors(export)),
            Route("/history/{picture_id:str}/thumbnail", json_errors(thumbnail)),
            Route("/history/{picture_id:str}/picture", json_errors(picture))]


def _own_picture(history: History, request: Request) -> KeptPicture:
    return history.get(history.owner_of(visitor_of(request)), request.path_params["picture_id"])

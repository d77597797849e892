"""OpenAI's images API: /v1/models and /v1/images, answered by Easel's generators.

Source: OpenAI's API reference, "Images", "Image streaming" and "Models".
"""

from __future__ import annotations

import base64
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from easel.doors.askers import Asker, asker_of
from easel.doors.bodies import Bodies
from easel.doors.in_turn import in_turn
from easel.doors.openai_errors import Refusal, refusal_of
from easel.doors.openai_fields import Asked, Endpoint, read_fields
from easel.doors.published import Published
from easel.doors.runs import DoorRuns, HungUp
from easel.guard.cache_folder import EXPORT_S
from easel.guard.error_net import UNEXPECTED
from easel.guard.made_of import twin_of
from easel.history.records import HistoryError
from easel.serving.best_of import stream_best
from easel.serving.interface import Backend
from easel.serving.session_runs import Run
from pipelines.core.errors import EaselError
from pipelines.core.events import Candidate, Event, Preview, Progress, Result
from pipelines.core.metadata import png_of

logger = logging.getLogger(__name__)
Answer = Callable[[Request], Awaitable[Response]]
OWNER = "easel"
EQUAL = "equal_to_seed"
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]
NO_STORE = {"Cache-Control": "no-store"}
USAGE = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0,
         "input_tokens_details": {"image_tokens": 0, "text_tokens": 0}}
NO_FILE = "There is no such picture, or not any more."


@dataclass(frozen=True)
class OpenAIDoor:
    """What the routes share.

    Attributes:
        backend: where pictures are drawn.
        runs: those of all doors.
        bodies: what is being read.
        published: pictures at addresses.
        keys: that open the door; empty where none is needed.
        started_s: Unix time at which the door was opened.
    """

    backend: Backend
    runs: DoorRuns
    bodies: Bodies
    published: Published
    keys: Collection[str]
    started_s: int

    def routes(self) -> list[Route]:
        """Routes that come before the page's own."""
        return [
            Route("/v1/models", self._guarded(self._models), methods=["GET"]),
            Route("/v1/models/{name}", self._guarded(self._model), methods=["GET"]),
            Route("/v1/images/files/{name}", self._file, methods=["GET"]),
            *(Route(f"/v1/images/{name}", self._guarded(partial(self._images, name)),
                    methods=["POST"]) for name in ("generations", "edits", "variations")),
            *(Route(path, self._guarded(_nothing), methods=METHODS)
              for path in ("/v1", "/v1/{path:path}"))]

    def _guarded(self, answer: Callable[[Request, Asker], Awaitable[Response]]) -> Answer:
        """Whatever goes wrong is said as OpenAI would; a program that hung up is told nothing."""
        async def guarded(request: Request) -> Response:
            try:
                return await answer(request, asker_of(request, self.keys))
            except HungUp:
                return Response(status_code=499)
            except Exception as error:
                return _said(error, request).response()

        return guarded

    async def _file(self, request: Request) -> Response:
        """A picture at its address, which is all that it takes to see it."""
        path = await run_in_threadpool(self.published.find, request.path_params["name"])
        if path is None:
            return Refusal(404, NO_FILE).response()
        return FileResponse(path, media_type="image/png", headers={
            "Cache-Control": f"private, max-age={int(EXPORT_S)}",
            "X-Content-Type-Options": "nosniff"})

    async def _models(self, request: Request, asker: Asker) -> Response:
        names = self.backend.registry.names()
        return JSONResponse({"object": "list", "data": [self._facts(name) for name in names]},
                            headers=NO_STORE)

    async def _model(self, request: Request, asker: Asker) -> Response:
        name = request.path_params["name"]
        if name not in self.backend.registry.names():
            raise Refusal(404, f"The model '{name[:64]}' does not exist or you do not have access "
                               "to it.", "model", "model_not_found")
        return JSONResponse(self._facts(name), headers=NO_STORE)

    def _facts(self, name: str) -> dict[str, Any]:
        pipeline = self.backend.registry.get(name)
        return {"id": name, "object": "model", "created": self.started_s, "owned_by": OWNER,
                "title": pipeline.title, "sizes": [f"{s}x{s}" for s in pipeline.sides_px]}

    async def _images(self, endpoint: Endpoint, request: Request, asker: Asker) -> Response:
        is_form = request.headers.get("content-type", "").startswith("multipart/")
        if endpoint == "variations" and not is_form:
            raise Refusal(400, "Invalid content type: send multipart/form-data.", None, None)
        if endpoint == "generations" and is_form:
            raise Refusal(400, "Invalid content type: send application/json.", None, None)
        # Held until the run has ended: the request holds a picture of it.
        body = self.bodies.form(request) if is_form else self.bodies.json(request)
        async with body as fields:
            asked = await in_turn(asker, endpoint != "generations", read_fields, fields, endpoint,
                                  self.backend.registry, is_form)
            del fields
            if asked.stream:
                return StreamingResponse(self._told(endpoint, request, asker, asked),
                                         media_type="text/event-stream", headers=NO_STORE)
            result, notice = await self._result(request, asker, asked)
        files = [png_of(result, each) for each in result.candidates]
        data: list[dict[str, Any]] = []
        for png, candidate in zip(files, result.candidates, strict=True):
            facts = _facts(candidate)
            if asked.by_url:
                name = await run_in_threadpool(self.published.add, png,
                                               twin_of(result, candidate))
                data.append({"url": f"{_base(request)}v1/images/files/{name}", **facts})
            else:
                data.append({"b64_json": base64.b64encode(png).decode(), **facts})
        answer = {"created": int(time.time()), "data": data, "output_format": "png",
                  "background": "opaque", "size": _size(result), "usage": USAGE}
        return JSONResponse({**answer, **({"notice": notice} if notice else {})}, headers=NO_STORE)

    def _start(self, asked: Asked, run: Run) -> Generator[Event, None, None]:
        return stream_best(self.backend, asked.request, asked.drawn, run.next_job(), run.visitor)

    async def _result(self, request: Request, asker: Asker, asked: Asked) -> tuple[Result, str]:
        """The pictures, and why the history did not keep them where it did not."""
        result, notice = None, ""
        events = self.runs.follow(request, asker, partial(self._start, asked))
        async with aclosing(events):
            try:
                async for event in events:
                    result = event if isinstance(event, Result) else result
            except HistoryError as error:
                notice = str(error)
        if result is None:
            raise EaselError(notice)
        return result, notice

    async def _told(self, endpoint: Endpoint, request: Request, asker: Asker, asked: Asked,
                    ) -> AsyncIterator[str]:
        """Server-sent events of a run: pictures in the making, then those that are finished."""
        kind = "image_edit" if endpoint == "edits" else "image_generation"
        common = {"background": "opaque", "output_format": "png", "quality": "auto"}
        shown, progress = 0, Progress()
        events = self.runs.follow(request, asker, partial(self._start, asked))
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Progress):
                        progress = event
                    elif isinstance(event, Preview) and _is_due(progress, shown,
                                                                asked.partial_images):
                        picture = event.images[0]
                        yield _event(f"{kind}.partial_image", {
                            **common, "b64_json": _b64(picture), "partial_image_index": shown,
                            "size": f"{picture.shape[1]}x{picture.shape[0]}"})
                        shown += 1
                    elif isinstance(event, Result):
                        for each in event.candidates:
                            png = base64.b64encode(png_of(event, each)).decode()
                            yield _event(f"{kind}.completed", {
                                **common, "b64_json": png, "size": _size(event), "usage": USAGE,
                                **_facts(each)})
        except HungUp:
            return
        except HistoryError as error:
            logger.warning("pictures were sent but not kept: %s", error)
        except Exception as error:
            yield _event("error", {"error": _said(error, request).error})


async def _nothing(request: Request, asker: Asker) -> Response:
    raise Refusal(404, f"Invalid URL ({request.method} {request.url.path[:100]})", None, None)


def _facts(candidate: Candidate) -> dict[str, Any]:
    """What Easel alone tells of a picture; where a better one has the same pixels, that one's seed.
    """
    equal = candidate.metadata.get(EQUAL)
    return {"seed": candidate.seed, "scores": dict(candidate.scores),
            **({} if equal is None else {EQUAL: equal})}


def _said(error: Exception, request: Request) -> Refusal:
    try:
        return refusal_of(error, request.headers)
    except Exception:
        logger.exception("a request of %s failed", request.url.path[:200])
        return Refusal(500, UNEXPECTED, kind="server_error")


def _is_due(progress: Progress, shown: int, wanted: int) -> bool:
    """Whether the next picture in the making is shown: they are spread over the run evenly."""
    if shown >= wanted or not progress.total:
        return False
    return progress.step / progress.total >= (shown + 1) / (wanted + 1)


def _event(kind: str, facts: dict[str, Any]) -> str:
    said = json.dumps({"type": kind, "created_at": int(time.time()), **facts})
    return f"event: {kind}\ndata: {said}\n\n"


def _b64(image: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def _size(result: Result) -> str:
    height_px, width_px = result.candidates[0].image.shape[:2] if result.candidates else (0, 0)
    return f"{width_px}x{height_px}"


def _base(request: Request) -> str:
    """The address of the page as the program reaches it, through a proxy of TLS or not."""
    scheme = request.headers.get("x-forwarded-proto", "").split(",")[0].strip()
    base = request.base_url
    return str(base.replace(scheme="https") if scheme == "https" else base)

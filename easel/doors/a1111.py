"""AUTOMATIC1111's API, /sdapi/v1, as far as Easel's generators can answer.

Progress and interrupt concern the runs of whoever asks: the original has one user, and its calls do
not say whose they are. A sampler is the generator's own.

Source: AUTOMATIC1111/stable-diffusion-webui, ``modules/api/api.py`` and ``modules/api/models.py``.
"""

from __future__ import annotations

import base64
import io
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from easel.doors.a1111_fields import (
    GUIDANCE,
    SCRIPT,
    STEPS,
    Asked,
    Fault,
    read_fields,
    read_picture,
)
from easel.doors.a1111_types import Invalid
from easel.doors.askers import Asker, KeyFault, asker_of
from easel.doors.bodies import Bodies
from easel.doors.in_turn import in_turn
from easel.doors.runs import DoorRuns, HungUp
from easel.guard.error_net import UNEXPECTED
from easel.guard.held_bodies import BodyFault
from easel.history.records import HistoryError
from easel.serving.interface import Backend
from easel.words.language import language_of, say, speaking
from pipelines.core.errors import Busy, Cancelled, EaselError, InvalidImage, InvalidRequest
from pipelines.core.events import Result
from pipelines.core.images import open_image
from pipelines.core.infotext import parse_parameters
from pipelines.core.metadata import format_parameters, picture_metadata, png_of
from pipelines.core.png_chunks import is_png, png_texts
from pipelines.core.version import __version__

logger = logging.getLogger(__name__)
ROOT = "/sdapi/v1"
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]
SAMPLER = "Automatic"
CROWD = ("Without a key a program is one of all at its address: send any password, to see and stop "
         "runs of its own.")
MAX_CHOICES = 500  # programs whose choice of a generator is known
# What clients ask for when they start, and Easel has none of.
NOTHING: Mapping[str, Any] = {
    "upscalers": [], "latent-upscale-modes": [], "sd-vae": [], "hypernetworks": [], "loras": [],
    "face-restorers": [], "realesrgan-models": [], "prompt-styles": [], "sd-modules": [],
    "embeddings": {"loaded": {}, "skipped": {}}, "cmd-flags": {}, "script-info": [],
    "extensions": [], "memory": {"ram": {}, "cuda": {}},
    "samplers": [{"name": SAMPLER, "aliases": [], "options": {}}],
    "schedulers": [{"name": "automatic", "label": SAMPLER, "aliases": None, "default_rho": -1.0,
                    "need_inner_model": False}],
    "scripts": {"txt2img": [SCRIPT], "img2img": [SCRIPT]}}
Answer = Callable[[Request, Asker], Awaitable[Any]]


class A1111Door:
    """The routes, and which generator each program chose.

    Args:
        backend: where pictures are drawn.
        runs: those of all doors.
        bodies: what is being read.
        keys: passwords that open the door; empty where none is needed.
    """

    def __init__(self, backend: Backend, runs: DoorRuns, bodies: Bodies, keys: Collection[str],
                 ) -> None:
        self.backend, self.runs, self.bodies, self.keys = backend, runs, bodies, keys
        self._chosen: OrderedDict[str, str] = OrderedDict()  # by visitor

    def routes(self) -> list[Route]:
        """Routes that come before the page's own."""
        gets: dict[str, Answer] = {
            "options": self._options, "sd-models": self._models, "progress": self._progress,
            **{name: partial(_same, value) for name, value in NOTHING.items()}}
        posts: dict[str, Answer] = {
            "txt2img": partial(self._draw, False), "img2img": partial(self._draw, True),
            "options": self._choose, "interrupt": self._interrupt, "skip": self._interrupt,
            "png-info": self._png_info,
            **{name: partial(_same, None) for name in ("refresh-checkpoints", "refresh-vae",
                                                       "refresh-loras")}}
        return [*(Route(f"{ROOT}/{name}", self._guarded(answer), methods=["GET"])
                  for name, answer in gets.items()),
                *(Route(f"{ROOT}/{name}", self._guarded(answer), methods=["POST"])
                  for name, answer in posts.items()),
                Route("/sdapi/{path:path}", self._guarded(partial(_missing, {
                    "GET": gets, "POST": posts})), methods=METHODS)]

    def _guarded(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """Whatever goes wrong is said as the original would."""
        async def guarded(request: Request) -> Response:
            try:
                said = await answer(request, asker_of(request, self.keys))
                return JSONResponse(said, headers={"Cache-Control": "no-store"})
            except HungUp:
                return Response(status_code=499)
            except Exception as error:
                return _refused(error, request)

        return guarded

    async def _draw(self, is_img2img: bool, request: Request, asker: Asker) -> dict[str, Any]:
        async with self.bodies.json(request) as fields:
            asked = await in_turn(asker, is_img2img, read_fields, fields, is_img2img,
                                  self._choice(asker), self.backend.registry)
            del fields
            result = await self._result(request, asker, asked)
        images = [base64.b64encode(png_of(result, each)).decode() for each in result.candidates]
        return {"images": images if asked.send_images else [], "parameters": dict(asked.fields),
                "info": json.dumps(_info(asked, result))}

    async def _result(self, request: Request, asker: Asker, asked: Asked) -> Result:
        """The pictures; none where the run was interrupted before there was any."""
        result = Result((), 0.0, {"stopped": True})
        events = self.runs.follow(request, asker, lambda run: self.backend.stream(
            asked.request, run.next_job(), run.visitor))
        async with aclosing(events):
            try:
                async for event in events:
                    result = event if isinstance(event, Result) else result
            except HistoryError as error:
                logger.warning("pictures were sent but not kept: %s", error)
            except Cancelled:
                logger.info("a program's run was interrupted before it had a picture")
        return result

    def _choice(self, asker: Asker) -> str:
        names = self.backend.registry.names()
        chosen = self._chosen.get(asker.visitor, "")
        return chosen if chosen in names else names[0]

    async def _options(self, request: Request, asker: Asker) -> dict[str, Any]:
        return {"sd_model_checkpoint": self._choice(asker), "sd_checkpoint_hash": "",
                "samples_format": "png", "sd_vae": "Automatic", "CLIP_stop_at_last_layers": 1}

    async def _choose(self, request: Request, asker: Asker) -> None:
        async with self.bodies.json(request) as fields:
            name = _object(fields).get("sd_model_checkpoint")
        if name is None:
            return
        if name not in self.backend.registry.names():
            raise Fault(500, f"model {str(name)[:64]!r} not found", "RuntimeError")
        self._chosen[asker.visitor] = name
        self._chosen.move_to_end(asker.visitor)
        while len(self._chosen) > MAX_CHOICES:
            self._chosen.popitem(last=False)

    async def _models(self, request: Request, asker: Asker) -> list[dict[str, Any]]:
        return [{"title": name, "model_name": name, "hash": None, "sha256": None, "filename": name,
                 "config": None} for name in self.backend.registry.names()]

    async def _progress(self, request: Request, asker: Asker) -> dict[str, Any]:
        now = None if asker.is_crowd else self.runs.now(asker.visitor)
        state = {"skipped": False, "interrupted": False, "stopping_generation": False, "job": "",
                 "job_count": 0, "job_timestamp": "0", "job_no": 0, "sampling_step": 0,
                 "sampling_steps": 0}
        if now is None:
            return {"progress": 0.0, "eta_relative": 0.0, "state": state, "current_image": None,
                    "textinfo": CROWD if asker.is_crowd else None}
        said = now.progress
        share = min(1.0, 0.01 + (said.step / said.total if said.total else 0.0))
        state |= {"interrupted": now.run.stopped, "job": "txt2img", "job_count": 1,
                  "sampling_step": said.step, "sampling_steps": said.total}
        picture = None
        if now.preview is not None and request.query_params.get("skip_current_image") != "true":
            data = io.BytesIO()
            Image.fromarray(now.preview.images[0]).save(data, "PNG")
            picture = base64.b64encode(data.getvalue()).decode()
        return {"progress": share, "eta_relative": said.elapsed_s / share - said.elapsed_s,
                "state": state, "current_image": picture, "textinfo": said.message or None}

    async def _interrupt(self, request: Request, asker: Asker) -> dict[str, Any]:
        if asker.is_crowd:
            raise Fault(403, CROWD)
        self.runs.stop(asker.visitor)
        return {}

    async def _png_info(self, request: Request, asker: Asker) -> dict[str, Any]:
        async with self.bodies.json(request) as fields:
            data = read_picture(_object(fields).get("image"), "image")
            if not data:
                return {"info": "", "items": {}, "parameters": {}}
            await in_turn(asker, data, open_image, data)
            texts = png_texts(data) if is_png(data) else {}
        info = texts.get("parameters", "")
        return {"info": info, "items": texts, "parameters": parse_parameters(info) if info else {}}


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Invalid("Input should be a valid dictionary", kind="dict_type")
    return body


async def _same(value: Any, request: Request, asker: Asker) -> Any:
    return value


async def _missing(known: Mapping[str, Collection[str]], request: Request, asker: Asker) -> Any:
    version, _, name = request.path_params["path"].partition("/")
    allowed = [method for method, names in known.items() if version == "v1" and name in names]
    if allowed:
        raise HTTPException(405, headers={"Allow": ", ".join(allowed)})
    raise Fault(404, "Not Found")


def _info(asked: Asked, result: Result) -> dict[str, Any]:
    """What the original tells of the pictures, as far as it is true of these."""
    request, pictures = asked.request, result.candidates
    side = pictures[0].image.shape[:2] if pictures else (0, 0)
    negative = getattr(request.options, "negative_prompt", "")
    steps, guidance = (next((getattr(request.options, name) for name in names
                             if name in type(request.options).model_fields), None)
                       for names in (STEPS, GUIDANCE))
    return {
        "prompt": request.prompt, "all_prompts": [request.prompt] * len(pictures),
        "negative_prompt": negative, "all_negative_prompts": [negative] * len(pictures),
        "seed": pictures[0].seed if pictures else request.seed,
        "all_seeds": [each.seed for each in pictures], "subseed": -1,
        "all_subseeds": [-1] * len(pictures), "subseed_strength": 0, "width": side[1],
        "height": side[0], "sampler_name": SAMPLER, "cfg_scale": guidance, "steps": steps,
        "restore_faces": False, "face_restoration_model": None, "denoising_strength": None,
        "sd_model_name": request.pipeline, "sd_model_hash": None, "sd_vae_name": None,
        "sd_vae_hash": None, "seed_resize_from_w": -1, "seed_resize_from_h": -1,
        "is_using_inpainting_conditioning": False, "version": f"Easel {__version__}",
        "batch_size": len(pictures), "index_of_first_image": 0,
        "infotexts": [format_parameters(picture_metadata(result, each)) for each in pictures],
        "job_timestamp": "0", "clip_skip": 1, "styles": [],
        "extra_generation_params": {"options": request.options.model_dump(),
                                    "ignored": list(asked.ignored),
                                    "clip": [each.scores.get("clip") for each in pictures],
                                    "equal_to_seed": [each.metadata.get("equal_to_seed")
                                                      for each in pictures]}}


def _refused(error: Exception, request: Request) -> Response:
    """An error as the original says it: FastAPI's list for fields, its own object for the rest."""
    with speaking(language_of(request.headers)):
        said = say(str(error)) if isinstance(error, EaselError) else str(error)
    if isinstance(error, KeyFault):
        said = "Incorrect username or password" if error.given else "Not authenticated"
        answer = error_answer(401, said, said, "HTTPException")
        answer.headers["WWW-Authenticate"] = "Basic"
        return answer
    if isinstance(error, HTTPException):  # said by FastAPI itself, not by the original's handler
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
    if isinstance(error, InvalidImage):
        return error_answer(500, "Invalid encoded image", f"Invalid encoded image: {said}",
                            "HTTPException")
    if isinstance(error, Invalid):
        return _invalid(said, *error.place, kind=error.kind)
    if isinstance(error, InvalidRequest):
        return _invalid(said, "pipeline" if error.field is None else error.field)
    if isinstance(error, Fault):
        is_http = error.kind == "HTTPException"
        return error_answer(error.status, error.detail if is_http else "", error.detail, error.kind)
    if isinstance(error, BodyFault) and error.status == 400:
        return (_invalid(said, kind="json_invalid") if error.field is None
                else _invalid(said, error.field))
    if isinstance(error, BodyFault):
        return error_answer(error.status, said, said, "HTTPException")
    if isinstance(error, EaselError):
        status = 503 if isinstance(error, Busy) else 500
        return error_answer(status, said, said, type(error).__name__)
    logger.error("a request of %s failed", request.url.path[:200], exc_info=error)
    return error_answer(500, "", UNEXPECTED, "RuntimeError")


def _invalid(said: str, *place: str | int, kind: str = "value_error") -> Response:
    return JSONResponse({"detail": [{"type": kind, "loc": ["body", *place], "msg": said}]}, 422)


def error_answer(status: int, detail: str, errors: str, kind: str) -> Response:
    """A failure in the original's own form.

    Args:
        status: of the answer.
        detail: what the original says of its HTTP errors; empty for what went wrong inside.
        errors: the sentence.
        kind: the exception that the original would have raised.
    """
    return JSONResponse({"error": kind, "detail": detail, "body": "", "errors": errors}, status)

"""Videos of runs: the previews wait beside the pictures, and become an mp4 when it is asked for."""

from __future__ import annotations

import io
import re
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from easel.ui.parts.pictures import PictureStore
from pipelines.core.errors import EaselError, reason
from pipelines.core.events import Candidate
from pipelines.core.files import atomic_write
from pipelines.core.video import Film, last_frame

FILM, LAST = "film.zip", "last.png"
GONE = "There is no such video; they are kept for a day."
# The folder's name is the secret, as that of the pictures in it.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")
_NUMBER = re.compile(r"[0-9]{1,6}")
_encoding = threading.Lock()  # one at a time: the device has better things to do


def keep_film(store: PictureStore, film: Film, candidates: Sequence[Candidate]) -> Path | None:
    """Keep the frames of a run's video for as long as its pictures are kept on the page.

    Returns:
        Where they are; None where there was no preview, or there is no room.
    """
    if not film.frames or not candidates:
        return None
    buffer, last = io.BytesIO(), io.BytesIO()
    Image.fromarray(last_frame(candidates)).save(last, "PNG", compress_level=1)
    with zipfile.ZipFile(buffer, "w") as archive:  # not compressed: they are already
        for number, frame in enumerate(film.frames):
            archive.writestr(f"{number:03d}.jpg", frame)
        archive.writestr(LAST, last.getvalue())
    try:
        path = store.new_folder() / FILM
        atomic_write(path, buffer.getvalue(), durable=False)
        return store.serve(path)
    except (EaselError, OSError):
        return None


def video_url(film: Path) -> str:
    """Where a browser finds the video of a kept film, relative to the page."""
    return f"videos/{film.parent.name}.mp4"


def frame_url(film: Path) -> str:
    """Where a browser finds a frame of a kept film, with {} for its number."""
    return f"videos/{film.parent.name}/{{}}"


def read_frame(film: Path, number: int) -> tuple[bytes, str]:
    """A frame of a kept film, or, after the last one, the finished pictures; with its media type.

    Raises:
        EaselError: there is no such frame.
    """
    try:
        with zipfile.ZipFile(film) as archive:
            names = sorted(name for name in archive.namelist() if name != LAST)
            if not 0 <= number <= len(names):
                raise EaselError(GONE)
            if number == len(names):
                return archive.read(LAST), "image/png"
            return archive.read(names[number]), "image/jpeg"
    except (OSError, KeyError, zipfile.BadZipFile):
        raise EaselError(GONE) from None


def encode_film(film: Path) -> bytes:
    """The mp4 of a kept film.

    Raises:
        EaselError: its frames are gone.
    """
    try:
        with zipfile.ZipFile(film) as archive:
            frames = [archive.read(name) for name in sorted(archive.namelist()) if name != LAST]
            with Image.open(io.BytesIO(archive.read(LAST)), formats=("PNG",)) as picture:
                last = np.asarray(picture.convert("RGB"))
    except (OSError, KeyError, zipfile.BadZipFile):
        raise EaselError(GONE) from None
    with _encoding:
        return Film(frames).video(last)


def write_video(store: PictureStore, film: Path) -> Path:
    """The mp4 of a kept film as a file beside it, which a browser may fetch.

    Raises:
        EaselError: its frames are gone, or it cannot be written.
    """
    path = film.with_name("video.mp4")
    try:
        atomic_write(path, encode_film(film), durable=False)
    except OSError as error:
        raise EaselError("The video could not be written: {}.",
                         reason(error)) from None
    return store.serve(path)


def video_routes(folder: Path) -> list[Route]:
    """The routes of the videos and of their frames, to go before Gradio's own.

    Args:
        folder: Gradio's cache, where ``PictureStore`` writes.
    """
    def video(request: Request) -> Response:
        token = str(request.path_params["token"])
        try:
            if not _TOKEN.fullmatch(token):
                raise EaselError(GONE)
            data = encode_film(folder / "pictures" / token / FILM)
        except EaselError as error:
            return JSONResponse({"detail": str(error)}, 404)
        return Response(data, media_type="video/mp4", headers={
            "Content-Disposition": 'attachment; filename="easel.mp4"',
            "Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"})

    def frame(request: Request) -> Response:
        token = str(request.path_params["token"])
        try:
            number = str(request.path_params["number"])
            if not _TOKEN.fullmatch(token) or not _NUMBER.fullmatch(number):
                raise EaselError(GONE)
            data, kind = read_frame(folder / "pictures" / token / FILM, int(number))
        except EaselError as error:
            return JSONResponse({"detail": str(error)}, 404)
        return Response(data, media_type=kind, headers={
            "Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"})

    return [Route("/videos/{token:str}.mp4", video),
            Route("/videos/{token:str}/{number:str}", frame)]

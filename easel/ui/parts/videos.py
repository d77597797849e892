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

from easel.guard.made_of import digest_of, noted
from easel.ui.parts.pictures import PictureStore
from pipelines.core.errors import EaselError
from pipelines.core.events import Candidate, Result
from pipelines.core.metadata import png_of
from pipelines.core.video import Film, last_frame

FILM, LAST = "film.zip", "last.png"
GONE = "There is no such video; they are kept for a day."
# The folder's name is the secret, as that of the pictures in it.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")
_NUMBER = re.compile(r"[0-9]{1,6}")
_encoding = threading.Lock()  # one at a time: the device has better things to do


def keep_film(store: PictureStore, film: Film, result: Result) -> Path | None:
    """Keep the frames of a run's video for as long as its pictures are kept on the page.

    They show all of its pictures, those too that are not among the best: it goes with the first of
    them that is deleted for good.

    Returns:
        Where they are; None where there was no preview, or there is no room.
    """
    if not film.frames or not result.candidates:
        return None
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # not compressed: they are already
        for number, frame in enumerate(film.frames):
            archive.writestr(f"{number:03d}.jpg", frame)
        archive.writestr(LAST, _last_file(result.candidates))
    made_of = [digest_of(png_of(result, each)) for each in (*result.candidates, *result.rejected)]
    try:
        return store.write(store.new_folder() / FILM, buffer.getvalue(), made_of)
    except EaselError:
        return None


def _last_file(candidates: Sequence[Candidate]) -> bytes:
    """The finished pictures side by side as a PNG; of a single one that fits, the file it has."""
    frame, first = last_frame(candidates), candidates[0]
    if first.png is not None and len(candidates) == 1 and frame.shape == first.image.shape:
        return first.png
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG", compress_level=1)
    return file.getvalue()


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
    made_of = noted(film)
    return store.write(film.with_name("video.mp4"), encode_film(film), made_of)


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

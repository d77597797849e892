"""What was uploaded, read from where the server keeps it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from easel.guard.turns import reading
from pipelines.core.errors import InvalidImage
from pipelines.core.images import SMALL_PX, check_name, load_small
from pipelines.core.request import MAX_IMAGE_PROMPTS

IMAGE_SUFFIXES = [".png", ".jpg", ".jpeg", ".webp"]


def read_upload(path: str | Path | None) -> bytes:
    """The bytes of an uploaded file.

    Raises:
        InvalidImage: it is no longer there, as on a page that was left open for days, or its name
            says something else than it is.
    """
    try:
        data = Path(path or "").read_bytes()
    except OSError:
        raise InvalidImage("The uploaded picture is no longer there: choose it again.",
                           field="init_image") from None
    check_name(str(path), data)
    return data


def read_pictures(init_image: Any, image_prompts: Any, mask: Any) -> dict[str, Any]:
    """The pictures of a request out of uploads: a path, several or None, a path.

    Of image prompts one more is read than there may be, which is refused.

    Raises:
        InvalidImage: one is no longer there.
    """
    prompts = list(image_prompts or ())[:MAX_IMAGE_PROMPTS + 1]
    return {"init_image": read_upload(init_image) if init_image else None,
            "image_prompts": [read_upload(path) for path in prompts],
            "mask": read_upload(mask) if mask else None}


def read_small(path: str | Path | None, side_px: int = SMALL_PX) -> np.ndarray:
    """A picture's file as (H, W, 3) uint8 RGB, its longer side at most ``side_px``.

    Errors are those of ``read_many``.
    """
    return read_many([path], side_px)[0]


def read_many(paths: Iterable[str | Path | None], side_px: int = SMALL_PX) -> list[np.ndarray]:
    """Pictures of uploads, small, of few visitors at the same time.

    Whoever sends one large picture after the other would otherwise hold up everybody's.

    Args:
        paths: their files.
        side_px: of the longer side of each, at most.

    Returns:
        Each (H, W, 3) uint8 RGB.

    Raises:
        Busy: the visitor's are being read already, or so many others'.
        InvalidImage: one is no longer there, or no picture; which one, where there are more.
    """
    files, pictures = list(paths), []
    with reading.turn():
        for path in files:
            try:
                pictures.append(load_small(read_upload(path), side_px))
            except InvalidImage as error:
                if len(files) == 1:
                    raise
                raise InvalidImage("{}: {}", Path(path or "").name, error,
                                   field=error.field) from None
    return pictures

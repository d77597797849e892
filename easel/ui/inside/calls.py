"""What the endpoints of the tab share: the picture that is asked about and those given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from easel.guard.made_of import origins
from easel.guard.turns import reading
from easel.guard.visitors import visitor_of
from easel.ui.lab.lab import Lab
from easel.ui.parts.endpoints import STRING, json_value
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.uploads import IMAGE_SUFFIXES, read_upload
from easel.words import strings
from pipelines.core.errors import InvalidRequest
from pipelines.core.images import load_small, plain_png


def read_picture(lab: Lab, request: gr.Request, picture: str | None, kept: Any,
          read: Callable[[bytes], Any] = load_small) -> tuple[Any, list[str]]:
    """The picture of a call: an upload, or one of the caller's history by its id.

    Its file, and its pixels before they are made small, do not wait for the models.

    Args:
        read: what is wanted of its file; its pixels, the longer side at most 512 px.

    Returns:
        That, and SHA-256 of the pictures that what is made of it goes with; see ``store.write``.
    """
    history = lab.playground.history
    if picture:
        data = read_upload(picture)
        with reading.turn():
            return read(data), origins(Path(picture), data)
    if not kept or history is None:
        raise InvalidRequest(strings.INSIDE_NO_PICTURE, field="image")
    if not isinstance(kept, str):
        raise InvalidRequest("The picture's id must be a text.", field="ids")
    found = history.get(history.owner_of(visitor_of(request)), kept)
    return read(history.files.read(found.sha256)), [found.sha256]


def picture_inputs() -> list[Any]:
    return [gr.File(visible=False, file_types=IMAGE_SUFFIXES, type="filepath",
                    label="Picture (PNG, JPEG or WebP), or null with an id"),
            json_value("", STRING, "Id of a picture of the caller's history in its place")]


def write_files(store: PictureStore, made_of: Sequence[str], pictures: Mapping[str, np.ndarray],
           ) -> list[str]:
    """Paths of pictures (H, W, 3) uint8 RGB, as PNG under their names; see ``store.write``."""
    folder, paths = store.new_folder(), []
    for name, picture in pictures.items():
        paths.append(str(store.write(folder / f"{name}.png", plain_png(picture),
                                     made_of)))
    return paths

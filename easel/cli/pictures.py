"""The options of commands that take pictures, and their files as fields of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.core.errors import InvalidRequest, reason
from pipelines.core.images import MAX_BYTES

InitImage = Annotated[Path | None, typer.Option(help="PNG, JPEG or WebP file to start from.")]
ImagePrompt = Annotated[list[Path] | None, typer.Option(
    help="Picture file that the result should be like; may be repeated.")]
Mask = Annotated[Path | None, typer.Option(
    help="Picture file, white where the init image may change.")]


def read_picture_files(init_image: Path | None, image_prompt: list[Path] | None,
                       mask: Path | None) -> dict[str, Any]:
    """The fields of a request that hold pictures.

    Raises:
        InvalidRequest: a file cannot be read.
    """
    return {"init_image": _read(init_image, "init_image"),
            "image_prompts": [_read(path, "image_prompts") for path in image_prompt or []],
            "mask": _read(mask, "mask")}


def _read(path: Path | None, field: str) -> bytes | None:
    """A picture's file, no more of it than will be refused anyway."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidRequest("The picture {} cannot be read: {}.", path.name, reason(error),
                             field=field) from None

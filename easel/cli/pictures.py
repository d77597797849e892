"""The options of commands that take pictures, and their files as fields of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from easel.cli.given import read_file

PICTURE = "The picture"
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
    def read(path: Path | None, field: str) -> bytes | None:
        return None if path is None else read_file(path, PICTURE, field=field)

    return {"init_image": read(init_image, "init_image"),
            "image_prompts": [read(path, "image_prompts") for path in image_prompt or []],
            "mask": read(mask, "mask")}

"""``python -m pipelines walk START END``: frames, a strip and a video from one to the other."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from pipelines.errors import InvalidRequest
from pipelines.files import atomic_write
from pipelines.settings import load_settings
from pipelines.video import mp4
from pipelines.walk import Walk, strip
from serving.build import build_backend

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
End = Annotated[str, typer.Argument(help="A prompt, or the path of a PNG, JPEG or WebP file.")]


def _end(text: str) -> str | bytes:
    """The picture of that path, or the prompt itself."""
    if not text.lower().endswith(IMAGE_SUFFIXES):
        return text
    try:
        return Path(text).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"The picture {Path(text).name} cannot be read: "
                             f"{(error.strerror or str(error)).lower()}.") from None


def walk_command(
    context: typer.Context, start: End, end: End,
    frames: Annotated[int, typer.Option(help="Pictures, the two ends among them.")] = 9,
    seed: Annotated[int, typer.Option(help="Seed of the noise of all frames.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("out"),
) -> None:
    """Walk from one prompt or picture to another with unCLIP: frames, strip.png and walk.mp4."""
    plan = Walk.checked(_end(start), _end(end), frames, seed)
    with closing(context.obj or build_backend(load_settings())) as backend:
        pictures = backend.walk(plan)
    out.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(out / f"frame-{number:02d}.png")
    Image.fromarray(strip(pictures)).save(out / "strip.png")
    atomic_write(out / "walk.mp4", mp4(pictures))
    typer.echo(f"{len(pictures)} frames, {out / 'strip.png'}, {out / 'walk.mp4'}")

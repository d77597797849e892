"""``python -m pipelines walk START END``: frames, a strip and a video from one to the other."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import typer

from easel.cli.backend import opened_backend
from easel.cli.given import read_file
from easel.cli.output import AsJson, print_json
from easel.cli.pictures import PICTURE
from easel.history.records import LOCAL
from pipelines.core.errors import Cancelled
from pipelines.core.events import Progress
from pipelines.core.new_files import check_place

EXIT_STOPPED = 130
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
End = Annotated[str, typer.Argument(help="A prompt, or the path of a PNG, JPEG or WebP file.")]


def _end(text: str) -> str | bytes:
    """The picture of that path, or the prompt itself."""
    is_file = text.lower().endswith(IMAGE_SUFFIXES)
    return read_file(Path(text), PICTURE) if is_file else text


def walk_command(
    context: typer.Context, start: End, end: End,
    frames: Annotated[int, typer.Option(help="Pictures, the two ends among them.")] = 9,
    seed: Annotated[int, typer.Option(help="Seed of the noise of all frames.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("out"),
    as_json: AsJson = False,
) -> None:
    """Walk from one prompt or picture to another with unCLIP: frames, strip.png and walk.mp4."""
    from easel.cli.bar import Bar
    from easel.cli.run import interrupt_cancels, show_progress
    from easel.serving.jobs import Found
    from pipelines.unclip.walk import Walk
    from pipelines.unclip.walk_files import WALK_FILES, write_walk

    check_place(out, "The walk", WALK_FILES)
    plan = Walk.checked(_end(start), _end(end), frames, seed)
    job_id = uuid.uuid4().hex
    pictures = None
    try:
        with (opened_backend(context, keeps=False) as backend,
              interrupt_cancels(backend, job_id),
              Bar("frame") as bar):
            for event in backend.walk(plan, job_id, LOCAL):
                if isinstance(event, Progress):
                    show_progress(bar, event)
                elif isinstance(event, Found):
                    pictures = event.value
    except Cancelled:
        typer.echo("Stopped.", err=True)
        if as_json:
            print_json({"error": "Stopped."})
        raise typer.Exit(EXIT_STOPPED) from None
    if pictures is None:
        raise RuntimeError("the backend ended a walk without its frames")
    strip, video, *frame_files = write_walk(out, plan, pictures)
    if as_json:
        print_json({"frames": frame_files, "strip": strip, "video": video})
        return
    typer.echo(f"{len(frame_files)} frames, {strip}, {video}")

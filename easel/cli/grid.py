"""``easel grid FILE``: the prompts of a list or a table, drawn as one labelled picture."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from easel.cli.backend import opened_backend
from easel.cli.given import read_file
from easel.cli.output import AsJson, print_json
from easel.cli.pictures import ImagePrompt, InitImage, Mask, read_picture_files
from easel.cli.presets import PresetName, parse_pairs, store_of
from easel.history.records import LOCAL
from easel.settings import load_settings
from pipelines.core.errors import Cancelled
from pipelines.core.new_files import check_place
from pipelines.core.texts import MAX_FILE_BYTES

if TYPE_CHECKING:
    from easel.compare.sweeps import Sweep
    from easel.serving.interface import Backend

EXIT_STOPPED = 130
GRID = "grid.png"


def grid_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(
        help="Prompts: a text file with one a line, or a CSV table with a column called prompt "
             "and others for options.")],
    pipeline: Annotated[str, typer.Option(
        help="Which generator draws; the first one where left out.")] = "",
    columns: Annotated[int, typer.Option(
        min=1, max=12, help="Pictures of each prompt, of seeds that follow one another.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the first column.")] = 0,
    option: Annotated[list[str] | None, typer.Option(
        help="An option of the generator as name=value; may be repeated.")] = None,
    init_image: InitImage = None, image_prompt: ImagePrompt = None, mask: Mask = None,
    preset: PresetName = None,
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("out"),
    as_json: AsJson = False,
) -> None:
    """Draw every prompt of a file and write the pictures, and a grid of them as grid.png.

    A prompt such as "a {red|blue} car" stands for two. Wildcards such as __animal__ become words,
    of the lists in the data folder's wildcards too.
    """
    check_place(out, "The grid")
    pictures = read_picture_files(init_image, image_prompt, mask)
    data = read_file(file, "The prompts in", MAX_FILE_BYTES)
    with opened_backend(context) as backend:
        pipeline = pipeline or backend.registry.names()[0]
        options: dict[str, Any] = {}
        if preset is not None:
            named = store_of(backend.registry).find(pipeline, preset)
            options |= named.options
            if named.best_of:
                typer.echo(f"A grid draws one picture a place: best of {named.best_of}, which "
                           f"{preset} asks for, is left out.", err=True)
        sweep = _sweep(backend, file.name, data, {
            "pipeline": pipeline, "seed": seed, "options": options | parse_pairs(option or []),
            **pictures}, columns)
        paths, images, stopped = _draw(backend, sweep, out)
    written = _write_grid(sweep, images, out)
    if as_json:
        print_json({"grid": written, "stopped": stopped, "pictures": [
            {"path": path, "prompt": request.prompt, "seed": request.seed}
            for path, request in zip(paths, sweep.requests, strict=True)]})
    else:
        typer.echo(str(written))
    if stopped:
        typer.echo("Stopped; what was finished is kept.", err=True)
        raise typer.Exit(EXIT_STOPPED)


def _sweep(backend: Backend, name: str, data: bytes, base: dict[str, Any], columns: int,
           ) -> Sweep:
    """Rows are the file's prompts with their options, columns seeds."""
    from easel.compare.prompt_lists import plan_prompts, read_prompts
    from easel.compare.sweeps import SEED, Axis
    from easel.compare.wildcards import OWN, Wildcards

    words = Wildcards(load_settings().data_dir / OWN)
    seeds = Axis(SEED, tuple(base["seed"] + column for column in range(columns)))
    return plan_prompts(backend.registry, base, read_prompts(name, data), seeds, words)


def _draw(backend: Backend, sweep: Sweep, out: Path,
          ) -> tuple[list[Path | None], list[np.ndarray | None], bool]:
    """File and pixels of every cell, None where it was not drawn; whether Ctrl+C ended it."""
    from easel.cli.bar import Bar
    from easel.cli.run import interrupt_cancels, show_progress
    from easel.compare.sweeps import share_work
    from pipelines.core.events import Progress, Result
    from pipelines.core.metadata import picture_metadata, picture_name, png_of, write_png

    paths: list[Path | None] = [None] * len(sweep.requests)
    images: list[np.ndarray | None] = [None] * len(sweep.requests)
    job_id = uuid.uuid4().hex
    with interrupt_cancels(backend, job_id) as interrupted, Bar("step") as bar:
        for batch in share_work(sweep):
            # A name that was cancelled stays so: Ctrl+C ends the parts to come as well.
            try:
                for event in backend.stream(batch.request, job_id, LOCAL, can_pause=False):
                    if isinstance(event, Progress):
                        show_progress(bar, event)
                    elif isinstance(event, Result):
                        for candidate in event.candidates:
                            cell = batch.cells[candidate.index]
                            facts = picture_metadata(event, candidate)
                            name = f"{cell + 1:03}-{picture_name(facts)}"
                            paths[cell] = write_png(out / name, png_of(event, candidate))
                            images[cell] = candidate.image
            except Cancelled:
                break
        return paths, images, interrupted.is_set()


def _write_grid(sweep: Sweep, images: list[np.ndarray | None], out: Path) -> Path:
    from easel.compare.grid import draw_grid
    from pipelines.core.metadata import picture_hashes, save_png

    columns = sweep.x.labels() if len(sweep.x.values) > 1 else [""]
    first = sweep.requests[0]
    facts = {"prompt": "", "pipeline": first.pipeline, **picture_hashes(first), "grid": {
        "prompts": list(sweep.y.values), "seeds": list(sweep.x.values)}}
    return save_png(out / GRID, draw_grid(images, columns, sweep.y.labels()), facts)

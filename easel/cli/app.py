"""The command line ``easel``, also ``python -m pipelines``: its commands, and how they are found.

What takes seconds to import (torch, the generators) is imported by the commands that need it, so
that the others answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from easel.cli.backend import opened_backend
from easel.cli.cluster import app as cluster_app
from easel.cli.compare import add_compare_commands
from easel.cli.grid import grid_command
from easel.cli.history import app as history_app
from easel.cli.lab import add_lab_commands
from easel.cli.output import AsJson, print_json
from easel.cli.pictures import ImagePrompt, InitImage, Mask, read_picture_files
from easel.cli.presets import PresetName, parse_pairs, store_of
from easel.cli.presets import app as presets_app
from easel.cli.runs import PICTURES, print_outcome
from easel.cli.runs import app as runs_app
from easel.cli.walk import walk_command
from pipelines.core.new_files import check_place

DEFAULT_COMMAND = "generate"


class DefaultGroup(TyperGroup):
    """A group whose first argument may be a prompt instead of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {name for param in self.get_params(ctx) for name in param.opts}
        if args and args[0] not in self.commands and args[0] not in own:
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=DefaultGroup, no_args_is_help=True, rich_markup_mode=None,
                  pretty_exceptions_enable=False,
                  help="Draw pictures from a prompt. A prompt may stand in place of a command.")


app.add_typer(history_app, name="history")
app.add_typer(presets_app, name="presets")
app.add_typer(cluster_app, name="cluster")


@app.callback()
def _commands() -> None:
    """Draw pictures from a prompt. A prompt may stand in place of a command."""


@app.command("generate")
def generate_command(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    pipeline: Annotated[str, typer.Option(help="Which generator draws.")] = "dalle",
    num_images: Annotated[int, typer.Option(help="How many candidates to draw.")] = 4,
    seed: Annotated[int | None, typer.Option(help="Seed; a new one where left out.")] = None,
    option: Annotated[list[str] | None, typer.Option(
        help="An option of the generator as name=value; may be repeated.")] = None,
    init_image: InitImage = None, image_prompt: ImagePrompt = None, mask: Mask = None,
    best_of: Annotated[int | None, typer.Option(
        help="How many candidates to draw for the best; no more where left out.")] = None,
    pause_after: Annotated[int | None, typer.Option(
        min=1, help="Steps after which to pause a run of vqgan_clip, for `runs`.")] = None,
    video: Annotated[bool, typer.Option(
        "--video", help="Write an mp4 of how the pictures came about as well.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("out"),
    preset: PresetName = None, as_json: AsJson = False,
) -> None:
    """Draw pictures and write them as PNG files, named by seed, best first in the list."""
    check_place(out, PICTURES)
    fields = {"prompt": prompt, "pipeline": pipeline, "num_images": num_images, "seed": seed,
              "options": parse_pairs(option or []),
              **read_picture_files(init_image, image_prompt, mask)}
    with opened_backend(context) as backend:
        from easel.cli.run import generate

        if preset is not None:
            named = store_of(backend.registry).find(pipeline, preset)
            fields["options"] = {**named.options, **fields["options"]}
            if best_of is None and named.best_of > num_images:
                best_of = named.best_of
        outcome = generate(fields, out, backend, best_of, pause_after, video)
    print_outcome(context, outcome, as_json)


@app.command("options")
def options_command(context: typer.Context, as_json: AsJson = False) -> None:
    """List the generators and the options of each."""
    from pipelines.core.options import AUTO, option_fields, written_number
    from pipelines.registry import build_registry

    registry = context.obj.registry if context.obj else build_registry()
    if as_json:
        print_json({p.name: {"title": p.title, "summary": p.summary, "sizes_px": list(p.sides_px),
                             "default_num_images": p.default_num_images,
                             **p.accepts(),
                             "options": p.Options.model_json_schema()} for p in registry})
        return
    for pipeline in registry:
        typer.echo(f"{pipeline.name}: {pipeline.summary}")
        for field in option_fields(pipeline.Options):
            allowed = ", ".join(map(str, field.choices))
            if field.minimum is not None and field.maximum is not None:
                allowed = f"{written_number(field.minimum)} to {written_number(field.maximum)}"
                allowed += f" in steps of {written_number(field.step)}" if field.step else ""
            limits = f" ({allowed})" if allowed else ""
            default = AUTO if field.auto else field.default
            typer.echo(f"  {field.name}={default}{limits}: {field.description}")


add_lab_commands(app)
app.add_typer(runs_app, name="runs")
add_compare_commands(app)
app.command("walk")(walk_command)
app.command("grid")(grid_command)

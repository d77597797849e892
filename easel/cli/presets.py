"""``easel presets``: named settings of generators, listed, saved, and exchanged as TOML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from easel.cli.given import read_file
from easel.cli.output import AsJson, print_json
from easel.history.records import LOCAL
from easel.settings import load_settings
from pipelines.core.errors import EaselError, InvalidRequest, reason
from pipelines.core.new_files import check_file, write_new

if TYPE_CHECKING:
    from easel.presets import PresetStore
    from pipelines.pipeline import Preset
    from pipelines.registry import Registry

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False,
                  help="List, save, delete, export and import named settings of generators.")
Generator = Annotated[str, typer.Argument(help="Name of the generator.")]
Name = Annotated[str, typer.Argument(help="Name of the preset.")]
PresetName = Annotated[str | None, typer.Option(
    "--preset", help="Named settings, such as draft or best; options go before them.")]
OptionPairs = Annotated[list[str] | None, typer.Option(
    "--option", help="An option as name=value; may be repeated.")]


def parse_pairs(pairs: list[str]) -> dict[str, str]:
    """Options by name from ``name=value``.

    Raises:
        InvalidRequest: something else stands there.
    """
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InvalidRequest("An option is given as name=value, not {!r}.", pair[:40],
                                 field="options")
        options[name.strip()] = value
    return options


def store_of(registry: Registry) -> PresetStore:
    """The presets of whoever uses the command line."""
    from easel.presets import store_for

    return store_for(load_settings().data_dir, LOCAL, registry)


@app.command("list")
def list_command(context: typer.Context, as_json: AsJson = False) -> None:
    """List the presets of every generator, those that ship and your own."""
    found = _store(context).all()
    if as_json:
        print_json({pipeline: {name: _plain(preset) for name, preset in presets.items()}
                    for pipeline, presets in found.items()})
        return
    for pipeline, presets in found.items():
        for name, preset in presets.items():
            settings = [f"{key}={value}" for key, value in preset.options.items()]
            settings += [f"best of {preset.best_of}"] if preset.best_of else []
            typer.echo(f"{pipeline:12} {name:12} {', '.join(settings) or 'the defaults'}")


@app.command("save")
def save_command(context: typer.Context, pipeline: Generator, name: Name,
                 option: OptionPairs = None,
                 best_of: Annotated[int, typer.Option(
                     help="Pictures to draw to keep the best; 0 for no more.")] = 0,
                 as_json: AsJson = False) -> None:
    """Save settings of a generator under a name, in place of yours of that name."""
    from pipelines.pipeline import Preset

    saved = _store(context).save(name, {pipeline: Preset(parse_pairs(option or []), best_of)})
    if as_json:
        print_json({pipeline: {name: _plain(saved[pipeline])}})


@app.command("delete")
def delete_command(context: typer.Context, pipeline: Generator, name: Name,
                   as_json: AsJson = False) -> None:
    """Delete a preset of yours."""
    _store(context).delete(pipeline, name)
    if as_json:
        print_json({"deleted": [pipeline, name]})


@app.command("export")
def export_command(context: typer.Context,
                   out: Annotated[Path | None, typer.Option(
                       help="File to write; printed where there is none.")] = None,
                   as_json: AsJson = False) -> None:
    """Write your presets as TOML."""
    from easel.presets import write_presets

    if out is not None:
        check_file(out, "The file")
    text = write_presets(_store(context).own())
    if out is None:
        print_json({"toml": text}) if as_json else typer.echo(text, nl=False)
        return
    try:
        written = write_new(out, text.encode())
    except OSError as error:
        raise EaselError("The file {} could not be written: {}.", out.name,
                         reason(error)) from None
    print_json({"written": written}) if as_json else typer.echo(str(written))


@app.command("import")
def import_command(context: typer.Context,
                   path: Annotated[Path, typer.Argument(help="File of presets, TOML.")],
                   as_json: AsJson = False) -> None:
    """Take over the presets of a file; yours of the same names give way."""
    from easel.own_files import MAX_FILE_BYTES

    new = _store(context).add(read_file(path, "The presets in", MAX_FILE_BYTES))
    count = sum(map(len, new.values()))
    print_json({"imported": count}) if as_json else typer.echo(f"{count} imported.")


def _store(context: typer.Context) -> PresetStore:
    if context.obj is not None:
        return store_of(context.obj.registry)
    from pipelines.models.checkpoints.catalogue import open_catalogue
    from pipelines.registry import build_registry

    settings = load_settings()
    return store_of(build_registry(open_catalogue(settings.data_dir, settings.catalogue)))


def _plain(preset: Preset) -> dict[str, Any]:
    return {"options": dict(preset.options), "best_of": preset.best_of}

"""``python -m pipelines.weights list | verify | pin``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.catalogue import CATALOGUE_PATH, Catalogue, CatalogueEntry
from pipelines.errors import EaselError, WeightsError
from pipelines.weights import file_sha256, load_model, pinned

app = typer.Typer(help="The models' files.", no_args_is_help=True, rich_markup_mode=None,
                  pretty_exceptions_enable=False, add_completion=False)
CataloguePath = Annotated[Path, typer.Option("--catalogue", help="Catalogue file to use.")]


def _state(catalogue: Catalogue, entry: CatalogueEntry) -> str:
    paths = [catalogue.folder(entry) / file.name for file in entry.files]
    if not all(path.is_file() for path in paths):
        return "not there"
    size_bytes = sum(path.stat().st_size for path in paths)
    pins = "pinned" if all(file.sha256 for file in entry.files) else "not pinned"
    return f"{size_bytes / 1e6:.1f} MB, {pins}"


@app.command("list")
def list_models(path: CataloguePath = CATALOGUE_PATH) -> None:
    """List every model with its family, licence and state."""
    catalogue = Catalogue.load(path)
    for entry in catalogue:
        typer.echo(f"{entry.id:24} {entry.family:8} {entry.licence:12} {_state(catalogue, entry)}")


@app.command()
def verify(path: CataloguePath = CATALOGUE_PATH) -> None:
    """Check every file's hash and load every model once."""
    catalogue = Catalogue.load(path)
    faults = 0
    for entry in catalogue:
        try:
            load_model(catalogue, entry)
        except WeightsError as error:
            faults += 1
            typer.echo(str(error), err=True)
        else:
            typer.echo(f"{entry.id}: good")
    if faults:
        raise typer.Exit(1)


@app.command()
def pin(path: CataloguePath = CATALOGUE_PATH) -> None:
    """Write the sizes and hashes of the files that are there into the catalogue."""
    catalogue = pinned(Catalogue.load(path))
    catalogue.save(path)
    for entry in catalogue:
        for file in entry.files:
            if (catalogue.folder(entry) / file.name).is_file():
                typer.echo(f"{file_sha256(catalogue.folder(entry) / file.name)}  "
                           f"{entry.id}/{file.name}")


def main() -> None:
    """Run the command line; an error is one sentence on stderr and exit code 1."""
    try:
        app()
    except EaselError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(1) from None

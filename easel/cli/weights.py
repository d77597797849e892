"""``python -m pipelines.weights list | download | verify | pin``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from easel.cli.bar import Bar
from easel.cli.output import AsJson, print_json
from easel.settings import Settings, load_settings
from pipelines.core.amounts import megabytes
from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.catalogue import CATALOGUE_PATH, Catalogue, open_catalogue
from pipelines.models.checkpoints.downloads import Download, Downloads
from pipelines.models.checkpoints.entries import CatalogueEntry, licence_words
from pipelines.models.checkpoints.loading import (
    bytes_on_disk,
    file_sha256,
    is_complete,
    load_model,
    pinned,
)

app = typer.Typer(help="The models' files.", no_args_is_help=True, rich_markup_mode=None,
                  pretty_exceptions_enable=False, add_completion=False)
CataloguePath = Annotated[Path | None, typer.Option(
    "--catalogue", help="Catalogue file to use in place of Easel's and your own.")]
ModelIds = Annotated[list[str] | None, typer.Argument(help="Models; all where left out.")]


def _open(path: Path | None) -> tuple[Catalogue, Settings]:
    settings = load_settings()
    if path is not None:
        return Catalogue.load(path, models_dir=settings.data_dir / "models"), settings
    catalogue = open_catalogue(settings.data_dir, settings.catalogue)
    for fault in catalogue.faults:
        typer.echo(fault, err=True)
    return catalogue, settings


def _state(catalogue: Catalogue, entry: CatalogueEntry) -> str:
    if not is_complete(catalogue, entry):
        if entry.repository is None:
            return "not there"
        about = f", about {megabytes(entry.download_bytes)}" if entry.download_bytes else ""
        return f"not downloaded{about}"
    pins = "pinned" if all(file.sha256 or file.optional for file in entry.files) else "not pinned"
    return f"{megabytes(bytes_on_disk(catalogue, entry))}, {pins}"


@app.command("list")
def list_models(path: CataloguePath = None, as_json: AsJson = False) -> None:
    """List every model with its family, licence and state."""
    catalogue, _ = _open(path)
    if as_json:
        print_json([{"id": entry.id, "title": entry.title, "family": entry.family,
                     "licence": entry.licence, "is_here": is_complete(catalogue, entry),
                     "bytes": bytes_on_disk(catalogue, entry)} for entry in catalogue])
        return
    for entry in catalogue:
        typer.echo(f"{entry.id:24} {entry.family:10} {entry.licence:12} "
                   f"{_state(catalogue, entry)}")


@app.command()
def download(model_ids: Annotated[list[str], typer.Argument(help="Models to download.")],
             path: CataloguePath = None, as_json: AsJson = False) -> None:
    """Download models, pin them, and show how far it is; Ctrl+C stops and keeps what came."""
    catalogue, settings = _open(path)
    downloads = Downloads(catalogue, settings.offline)
    sizes: dict[str, int] = {}
    for model_id in model_ids:
        entry = catalogue.get(model_id)
        typer.echo(f"{model_id}: licence {licence_words(entry.licence)}. {entry.restrictions}"
                   .rstrip(), err=True)
        was_here = is_complete(catalogue, entry)
        unknown = [file for file in entry.files if file.sha256 is None
                   and (catalogue.folder(entry) / file.name).is_file()]
        running = downloads.start(model_id)
        try:
            _show(entry, running)
        finally:
            running.cancel()
            running.wait(10)
        if running.phase != "done":
            raise WeightsError(running.error or "The download was stopped.")
        # Files that somebody put there are whatever they are: nobody has said their hashes.
        if unknown and (fault := _fault(catalogue, catalogue.get(model_id))) is not None:
            raise fault
        sizes[model_id] = bytes_on_disk(catalogue, catalogue.get(model_id))
        if not as_json:
            how = "was here already" if was_here else "downloaded"
            typer.echo(f"{model_id}: {how}, {megabytes(sizes[model_id])}")
    if as_json:
        print_json(sizes)


def _show(entry: CatalogueEntry, running: Download) -> None:
    with Bar("B", unit_scale=True, leave=True) as bar:
        bar.set_description_str(entry.id, refresh=False)
        ended = False
        while not ended:
            ended = running.wait(0.1)
            if running.total_bytes and bar.total != running.total_bytes:
                bar.reset(running.total_bytes)
            bar.set_postfix_str("checking" if running.checking else "", refresh=False)
            bar.n = running.done_bytes
            bar.show()


def _fault(catalogue: Catalogue, entry: CatalogueEntry) -> WeightsError | None:
    """What is wrong with a model's files, which are loaded once; None where nothing is."""
    try:
        load_model(catalogue, entry)
    except WeightsError as error:
        return error
    except Exception as error:  # the files are anyone's, and the next model is checked too
        words = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
        return WeightsError("The model {} could not be loaded: {}.", entry.id, words)
    return None


@app.command()
def verify(model_ids: ModelIds = None, path: CataloguePath = None,
           as_json: AsJson = False) -> None:
    """Check every file's hash and load every model that is on this machine once."""
    catalogue, _ = _open(path)
    said: dict[str, str | None] = {}
    for entry in catalogue if not model_ids else [catalogue.get(m) for m in model_ids]:
        if not model_ids and entry.repository is not None and not is_complete(catalogue, entry):
            continue
        fault = _fault(catalogue, entry)
        said[entry.id] = None if fault is None else str(fault)
        if fault is not None:
            typer.echo(str(fault), err=True)
        elif not as_json:
            typer.echo(f"{entry.id}: good")
    if as_json:
        print_json(said)
    if any(said.values()):
        raise typer.Exit(1)


@app.command()
def pin(path: Annotated[Path, typer.Option(
        "--catalogue", help="Catalogue file to write.")] = CATALOGUE_PATH,
        as_json: AsJson = False) -> None:
    """Write the sizes and hashes of the embedded models' files into the catalogue."""
    catalogue = pinned(Catalogue.load(path))
    catalogue.save(path)
    hashes = {f"{entry.id}/{file.name}": file_sha256(catalogue.folder(entry) / file.name)
              for entry in catalogue if entry.repository is None for file in entry.files
              if (catalogue.folder(entry) / file.name).is_file()}
    if as_json:
        print_json(hashes)
        return
    for name, sha256 in hashes.items():
        typer.echo(f"{sha256}  {name}")

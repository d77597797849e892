"""``python -m pipelines classify | index | search``: the CLIP lab without a browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from easel.cli.backend import opened_backend
from easel.cli.given import finite, read_file
from easel.cli.output import AsJson, print_json
from easel.cli.pictures import PICTURE
from easel.search.database import IndexOutdated
from easel.settings import load_settings
from pipelines.accuracy import TOP, accuracy_of, known_labels
from pipelines.core.errors import EaselError, InvalidRequest, reason
from pipelines.core.images import load_image
from pipelines.core.new_files import check_file, write_new
from pipelines.core.texts import MAX_FILE_BYTES, decode_file, shown_name
from pipelines.models.checkpoints.ids import RANKER
from pipelines.zero_shot import (
    DEFAULT_TEMPLATE,
    Classification,
    check_labels,
    check_templates,
    class_features,
    class_texts,
    classification_csv,
    classify,
    openai_templates,
    split_labels,
)

if TYPE_CHECKING:  # the database and its migrations are for those who search
    from easel.search.snapshot import Snapshot
    from easel.search.update import UpdateProgress

MAX_SHOWN_LABELS = 5
IMAGES_AT_ONCE = 256
Model = Annotated[str, typer.Option(help="Id of a CLIP in the catalogue.")]
Folder = Annotated[Path, typer.Argument(help="Folder of pictures.")]


def classify_command(
    context: typer.Context,
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, or folders of them.")],
    labels: Annotated[str, typer.Option(help="Labels with commas between them.")] = "",
    labels_file: Annotated[Path | None, typer.Option(
        help="Text file of labels, one a line or with commas.")] = None,
    template: Annotated[list[str] | None, typer.Option(
        help=f'Prompt template such as "{DEFAULT_TEMPLATE}"; several are averaged.')] = None,
    many: Annotated[bool, typer.Option(
        "--openai-templates", help="Average the 80 templates of OpenAI too.")] = False,
    by_folder: Annotated[bool, typer.Option(
        "--labels-from-folders", help="The names of the pictures' folders are labels.")] = False,
    model: Model = RANKER,
    csv: Annotated[Path | None, typer.Option(help="Write all probabilities to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say which of your labels fits a picture best, with the probability of each."""
    from easel.search.collections import picture_files
    from easel.search.files import PictureFile, decode_all

    if csv is not None:
        check_file(csv, "The table")
    text = "" if labels_file is None else decode_file(labels_file.name, read_file(
        labels_file, "The file of labels", MAX_FILE_BYTES, "labels"), "labels")
    paths = picture_files(pictures)
    folders = sorted({path.parent.name for path in paths}) if by_folder else []
    wanted = check_labels([*split_labels(f"{labels}\n{text}"), *folders])
    templates = check_templates((template or []) + list(openai_templates() if many else ()))
    with opened_backend(context, keeps=False) as backend:
        clip = backend.embed(model, texts=class_texts(wanted, templates))
        names, kept, parts = [], [], []
        batch: list[np.ndarray] = []
        files = [PictureFile(shown_name(str(path)), path, 0, 0) for path in paths]
        for decoded in decode_all(files, clip.image_size):
            if decoded.square is None:
                typer.echo(f"{decoded.file.key}: {decoded.reason}", err=True)
                continue
            names.append(decoded.file.key)
            kept.append(decoded.file.path)
            batch.append(decoded.square)
            if len(batch) == IMAGES_AT_ONCE:
                parts.append(backend.embed(model, batch).images)
                batch = []
        if batch:
            parts.append(backend.embed(model, batch).images)
    if not parts:
        raise InvalidRequest("None of the pictures can be read.", field="images")
    found = classify(np.concatenate(parts), class_features(clip.texts, len(wanted)), wanted,
                     clip.logit_scale)
    accuracy = accuracy_of(found, known_labels(kept, wanted))
    if as_json:
        counted = {} if accuracy is None else {"accuracy": accuracy.described()}
        print_json({"model": model, "logit_scale": clip.logit_scale, "templates": templates,
                    **counted,
                    "pictures": [{"picture": name, "label": found.labels[found.ranking(row)[0]],
                                  "probabilities": {found.labels[i]: float(
                                      found.probabilities[row, i]) for i in found.ranking(row)}}
                                 for row, name in enumerate(names)]})
    else:
        typer.echo(f"{model}, logit scale {clip.logit_scale:.2f}, "
                   f"{len(templates)} template{'s' if len(templates) > 1 else ''}")
        _print_classes(names, found)
        if accuracy is not None:
            typer.echo(f"Right: {accuracy.right} of {accuracy.total}; among the {TOP} likeliest: "
                       f"{accuracy.among_first}.")
    if csv is not None:
        written = _write(csv, classification_csv(names, found))
        if written != csv:
            typer.echo(f"There was a file {shown_name(csv.name)} already, so the table is in "
                       f"{shown_name(str(written))}.", err=True)


def _print_classes(names: Sequence[str], found: Classification) -> None:
    for row, name in enumerate(names):
        best = found.ranking(row)[:MAX_SHOWN_LABELS]
        shares = "  ".join(f"{found.labels[i]} {100 * found.probabilities[row, i]:.1f} %"
                           for i in best)
        typer.echo(f"{name}: {shares}")


def _write(path: Path, text: str) -> Path:
    try:
        return write_new(path, text.encode())
    except OSError as error:
        raise EaselError("The file {} could not be written: {}.", path.name,
                         reason(error)) from None


def index_command(
    context: typer.Context,
    folder: Folder,
    model: Model = RANKER,
    rebuild: Annotated[bool, typer.Option(
        "--rebuild", help="Replace an index of other weights, or a damaged one, unasked.")] = False,
    as_json: AsJson = False,
) -> None:
    """Index the pictures of a folder for search; run again, it takes what is new."""
    from easel.search.collections import folder_collection
    from easel.search.update import update_index

    collection = folder_collection(folder, load_settings().data_dir)
    with opened_backend(context, keeps=False) as backend:
        try:
            _run_update(update_index(collection.folder, collection.files, backend, model, rebuild),
                        as_json)
        except IndexOutdated as error:
            if not sys.stdin.isatty() or not typer.confirm(f"{error} Rebuild it now?"):
                raise
            _run_update(update_index(collection.folder, collection.files, backend, model, True),
                        as_json)


def _run_update(progress: Iterator[UpdateProgress], as_json: bool) -> None:
    last = None
    for last in progress:
        if not last.finished and sys.stderr.isatty():
            typer.echo(f"\r{last.message():70}", err=True, nl=False)
    if sys.stderr.isatty():
        typer.echo("", err=True)
    if last is not None:
        for name, reason in last.unreadable:
            typer.echo(f"{name}: {reason}", err=True)
        if as_json:
            print_json({"new": max(0, last.done), "known": last.kept, "removed": last.removed,
                        "unreadable": dict(last.unreadable)})
        else:
            typer.echo(last.message())


def search_command(
    context: typer.Context,
    folder: Folder,
    text: Annotated[str, typer.Argument(help="What to look for.")] = "",
    minus: Annotated[str, typer.Option(help="What the pictures should not be like.")] = "",
    picture: Annotated[Path | None, typer.Option(help="A picture to look for the like of.")] = None,
    picture_weight: Annotated[float, typer.Option(
        parser=finite, help="How much the picture counts beside the text.")] = 1.0,
    model: Model = RANKER,
    limit: Annotated[int, typer.Option(help="How many pictures to list.")] = 10,
    threshold: Annotated[float | None, typer.Option(
        parser=finite,
        help="Least similarity, from -1 to 1; for --duplicates 0.97 where left out.")] = None,
    since: Annotated[str | None, typer.Option(help="First day, such as 2026-11-24.")] = None,
    until: Annotated[str | None, typer.Option(help="Last day.")] = None,
    pipeline: Annotated[list[str] | None, typer.Option(
        help="Only pictures of this generator; may be repeated.")] = None,
    duplicates: Annotated[bool, typer.Option(
        "--duplicates", help="List groups of pictures that are nearly the same instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find pictures of an indexed folder by a text, a picture, or both."""
    from easel.history.days import parse_day
    from easel.search.collections import folder_collection
    from easel.search.query import Filters, allowed, search
    from easel.search.searcher import Searcher

    collection = folder_collection(folder, load_settings().data_dir)
    filters = Filters(parse_day(since), parse_day(until, end=True), tuple(pipeline or ()))
    with opened_backend(context, keeps=False) as backend:
        searcher = Searcher(backend)
        if duplicates:
            snapshot = searcher.snapshot(collection, searcher.features(model))
            _print_duplicates(snapshot, 0.97 if threshold is None else threshold,
                              allowed(snapshot, filters), as_json)
            return
        images = ([(load_image(read_file(picture, PICTURE)), picture_weight)] if picture
                  else [])
        clip, direction = searcher.direction(model, [(text, 1.0), (minus, -1.0)], images)
        snapshot = searcher.snapshot(collection, clip)
    found = search(snapshot, direction, limit, threshold, filters)
    hits = [hit for hit in found if Path(hit.item.path).exists()]
    if as_json:
        print_json({"hits": [{"path": hit.item.path, "similarity": float(hit.similarity)}
                             for hit in hits]})
    else:
        for rank, hit in enumerate(hits, start=1):
            typer.echo(f"{rank:3}  {hit.similarity:.3f}  {hit.item.path}")
        if not hits:
            typer.echo("No picture fits.")
    if gone := len(found) - len(hits):
        typer.echo(f"Pictures that were removed since the folder was indexed: {gone:,}. Index it "
                   "again to leave them out.", err=True)


def _print_duplicates(snapshot: Snapshot, threshold: float, mask: np.ndarray | None,
                      as_json: bool) -> None:
    from easel.search.duplicates import near_duplicates

    groups = ()
    for progress in near_duplicates(snapshot, threshold, mask):
        groups = progress.groups
    if as_json:
        print_json({"groups": [[item.path for item in snapshot.items(group)] for group in groups]})
        return
    for number, group in enumerate(groups, start=1):
        typer.echo(f"{number}:")
        for item in snapshot.items(group):
            typer.echo(f"  {item.path}")
    if not groups:
        typer.echo("No two pictures are that much alike.")


def add_lab_commands(app: typer.Typer) -> None:
    """Add the lab's commands to a command line."""
    app.command("classify")(classify_command)
    app.command("index")(index_command)
    app.command("search")(search_command)

"""``python -m pipelines rerank``: files or kept pictures, put in order by CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from easel.cli.backend import opened_backend
from easel.cli.given import read_file
from easel.cli.history import Favourite, Generator, Owner, Rating, Text, find_picture
from easel.cli.output import AsJson, print_json
from easel.cli.pictures import PICTURE
from easel.history.build import open_history
from easel.history.records import LOCAL, MAX_PAGE_SIZE, Filters, HistoryError
from easel.history.store import History
from easel.settings import load_settings
from pipelines.core.errors import InvalidImage, InvalidRequest
from pipelines.core.images import load_small
from pipelines.core.texts import shown_name
from pipelines.models.checkpoints.ids import RANKER


def rerank_command(
    context: typer.Context,
    prompt: Annotated[list[str], typer.Option(
        help='What they should show, as in "a red apple" or "a red apple:2"; may be repeated.')],
    pictures: Annotated[list[Path] | None, typer.Argument(help="PNG, JPEG or WebP files.")] = None,
    against: Annotated[list[str] | None, typer.Option(
        help="What they should not show; may be repeated.")] = None,
    clip: Annotated[list[str] | None, typer.Option(
        help="Id of a CLIP of the catalogue; several are averaged.")] = None,
    keep: Annotated[int, typer.Option(min=0, help="List only the best; 0 for all.")] = 0,
    id_: Annotated[list[str] | None, typer.Option(
        "--id", help="Id of a kept picture, or its first letters; may be repeated.")] = None,
    newest: Annotated[int, typer.Option(
        min=0, max=MAX_PAGE_SIZE, help="So many of the newest kept pictures that pass the "
                                       "options below.")] = 0,
    owner: Owner = LOCAL, text: Text = "", pipeline: Generator = "", rating: Rating = 0,
    favourite: Favourite = False,
    as_json: AsJson = False,
) -> None:
    """Put pictures in order by how well CLIP says that they match, best first.

    They are files, pictures of the history, or both.
    """
    from easel.compare.ranking import rank_pictures, read_prompts

    prompts = read_prompts(prompt, against or [])
    named = [(shown_name(str(path)), read_file(path, PICTURE)) for path in pictures or []]
    if id_ or newest:
        filters = Filters(text, pipeline=pipeline, min_rating=rating, favourite=favourite)
        with closing(open_history(load_settings())) as history:
            named += _kept(history, owner, id_ or [], newest, filters)
    elif text or pipeline or rating or favourite:
        raise InvalidRequest("Say how many kept pictures to take: add --newest.", field="newest")
    if not named:
        raise InvalidRequest("There are no pictures to put in order: name files, or kept pictures "
                             "by --id or --newest.", field="images")
    images = [_picture(name, data) for name, data in named]
    with opened_backend(context, keeps=False) as backend:
        ranking = rank_pictures(images, prompts, clip or [RANKER], backend.embed)
    names = [name for name, _ in named]
    if as_json:
        print_json({"pictures": names, **ranking.to_json()})
        return
    for rank, index in enumerate(ranking.order[:keep or None], 1):
        typer.echo(f"{rank:2}  {ranking.scores[index]:7.4f}  {names[index]}")


def _kept(history: History, owner: str, ids: Sequence[str], newest: int, filters: Filters,
          ) -> list[tuple[str, bytes]]:
    """Id and file of kept pictures, each once: those that are named, then the newest."""
    found = [find_picture(history, owner, each) for each in ids]
    if newest:
        page = history.page(owner, filters, size=newest, count_to=0)
        if not page.pictures:
            raise HistoryError("There are no such pictures in the history.")
        found += page.pictures
    pictures = {picture.id: picture for picture in found}
    return [(picture.id, history.files.read(picture.sha256)) for picture in pictures.values()]


def _picture(name: str, data: bytes) -> np.ndarray:
    """One of many pictures; what is wrong with it is said with its name."""
    try:
        return load_small(data)
    except InvalidImage as error:
        raise InvalidImage("{}: {}", name, error, field="images") from None

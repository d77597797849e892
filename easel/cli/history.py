"""The history without a browser: ``python -m pipelines history list`` and its like."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from easel.cli.given import LETTERS_FOR_GOOD, first_letters
from easel.cli.output import AsJson, print_json
from easel.history.build import open_history
from easel.history.days import parse_day, write_moment
from easel.history.export import pictures_of, write_zip, zip_name
from easel.history.records import LOCAL, Filters, HistoryError, KeptPicture
from easel.history.store import History
from easel.settings import load_settings
from pipelines.core.errors import InvalidRequest
from pipelines.core.new_files import check_file

PROMPT_CHARS = 60
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False,
                  help="List, show, export, delete and restore kept pictures.")

Owner = Annotated[str, typer.Option(
    help="Whose pictures: local for the command line's own, shared, or a visitor's id.")]
Text = Annotated[str, typer.Option(help="Words that the prompt holds.")]
Since = Annotated[str, typer.Option(help="First day in UTC, as 2026-11-24.")]
Until = Annotated[str, typer.Option(help="Last day in UTC, as 2026-11-24.")]
Generator = Annotated[str, typer.Option("--pipeline", help="Name of the generator.")]
Model = Annotated[str, typer.Option(help="Id of a model that took part.")]
Rating = Annotated[int, typer.Option("--rating", min=0, max=5, help="Fewest stars, 1 to 5.")]
Favourite = Annotated[bool, typer.Option("--favourite", help="Only favourites.")]
Deleted = Annotated[bool, typer.Option("--deleted", help="The deleted ones.")]
Ids = Annotated[list[str], typer.Argument(help="Ids of pictures, or their first letters.")]


@contextmanager
def _opened() -> Iterator[History]:
    history = open_history(load_settings())
    try:
        yield history
    finally:
        history.close()


@app.command("list")
def list_command(
    owner: Owner = LOCAL, text: Text = "", since: Since = "", until: Until = "",
    pipeline: Generator = "", model: Model = "", rating: Rating = 0, favourite: Favourite = False,
    deleted: Deleted = False,
    page: Annotated[int, typer.Option(min=1, help="Which page.")] = 1,
    size: Annotated[int, typer.Option(min=1, max=500, help="Pictures on a page.")] = 20,
    owners: Annotated[bool, typer.Option("--owners", help="List who has pictures.")] = False,
    as_json: AsJson = False,
) -> None:
    """List kept pictures, the newest first."""
    with _opened() as history:
        if owners:
            totals = {name: history.page(name, size=1).total for name in history.owners()}
            if as_json:
                print_json(totals)
                return
            for name, total in totals.items():
                typer.echo(f"{name}  {total} pictures")
            return
        filters = Filters(text, parse_day(since), parse_day(until, end=True), pipeline, model,
                          rating, favourite, deleted)
        found = history.page(owner, filters, page, size)
    if as_json:
        print_json({"pictures": [{**each.public(), "path": history.files.where(each.sha256)}
                                 for each in found.pictures],
                    "page": found.number, "pages": found.pages, "total": found.total})
        return
    for picture in found.pictures:
        typer.echo(_line(picture))
    if found.pages > 1:
        typer.echo(f"Page {found.number} of {found.pages}, {found.total} pictures.", err=True)
    elif not found.total:
        typer.echo("There are no such pictures.", err=True)


@app.command("show")
def show_command(picture_id: Annotated[str, typer.Argument(help="Id of the picture.")],
                 owner: Owner = LOCAL, as_json: AsJson = True) -> None:
    """Print all that is known of a picture as JSON, with its ancestors and descendants."""
    with _opened() as history:
        picture = find_picture(history, owner, picture_id)
        family = history.family(owner, picture.id)
    print_json({**picture.public(), "path": history.files.where(picture.sha256),
                "ancestors": [each.id for each in family.ancestors],
                "descendants": [each.id for each in family.descendants]})


@app.command("export")
def export_command(
    picture_ids: Annotated[list[str] | None, typer.Argument(
        help="Ids of pictures; all that pass the options where none is given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Zip to write.")] = None,
    owner: Owner = LOCAL, text: Text = "", since: Since = "", until: Until = "",
    pipeline: Generator = "", model: Model = "", rating: Rating = 0, favourite: Favourite = False,
    deleted: Deleted = False, as_json: AsJson = False,
) -> None:
    """Write pictures and what is known of them as a zip."""
    path = Path(zip_name()) if out is None else out
    check_file(path, "The export")
    filters = Filters(text, parse_day(since), parse_day(until, end=True), pipeline, model, rating,
                      favourite, deleted)
    with _opened() as history:
        pictures = ([find_picture(history, owner, each) for each in picture_ids] if picture_ids
                    else list(pictures_of(history, owner, filters)))
        if not pictures:
            raise HistoryError("There are no such pictures, so nothing was written.")
        with typer.progressbar(pictures, label="Writing", file=sys.stderr,
                               hidden=not sys.stderr.isatty()) as shown:
            path = write_zip(history.files, shown, path)
    if as_json:
        print_json({"written": path, "pictures": [each.id for each in pictures]})
    else:
        typer.echo(str(path))


@app.command("delete")
def delete_command(
    picture_ids: Ids, owner: Owner = LOCAL,
    forever: Annotated[bool, typer.Option(
        "--forever",
        help=f"Beyond restoring; takes {LETTERS_FOR_GOOD} letters of each id.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete pictures; they can be restored for 30 days unless --forever is given."""
    with _opened() as history:
        least = LETTERS_FOR_GOOD if forever else 1
        chosen = [find_picture(history, owner, each, least).id for each in picture_ids]
        moved = history.delete(owner, chosen)
        if forever:
            moved = history.purge(owner, chosen)
    if as_json:
        print_json({"deleted": moved, "forever": forever})
    else:
        typer.echo(f"{moved} deleted{' for good' if forever else ''}.")


@app.command("restore")
def restore_command(picture_ids: Ids, owner: Owner = LOCAL, as_json: AsJson = False) -> None:
    """Bring deleted pictures back."""
    with _opened() as history:
        chosen = [find_picture(history, owner, each).id for each in picture_ids]
        restored = history.restore(owner, chosen)
    if as_json:
        print_json({"restored": restored})
    else:
        typer.echo(f"{restored} restored.")


def find_picture(history: History, owner: str, start: str, least: int = 1) -> KeptPicture:
    """The one picture whose id begins like that.

    Raises:
        InvalidRequest: several do, or it has fewer letters than ``least``.
        HistoryError: none does.
    """
    found = history.starting_with(owner, first_letters(start, least))
    if len(found) > 1:
        raise InvalidRequest("Several pictures begin with {!r}: say more of the id.", start[:40])
    if not found:
        raise HistoryError("{} has no picture called {!r}.", owner[:40], start[:40])
    return found[0]


def _line(picture: KeptPicture) -> str:
    prompt = " ".join(picture.prompt.split())
    if len(prompt) > PROMPT_CHARS:
        prompt = prompt[:PROMPT_CHARS - 1] + "…"
    score = "     -" if picture.clip_score is None else f"{picture.clip_score:6.3f}"
    stars = "♥" if picture.favourite else " "
    stars += str(picture.rating or "-")
    when = write_moment(picture.created_s)
    return (f"{picture.id}  {when}  {picture.pipeline:12} seed {picture.seed:<10}  clip {score}  "
            f"{stars}  {prompt}")

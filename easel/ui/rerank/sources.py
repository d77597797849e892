"""Where the pictures to put in order come from, and which CLIPs may judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easel.history.records import Filters, KeptPicture
from easel.history.store import History
from easel.ui.parts.panel import Card
from easel.words import strings
from pipelines.core.errors import InvalidRequest
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.loading import is_complete

MAX_FILES = 64


@dataclass(frozen=True)
class SourceFile:
    """A picture to rank, what people call it, and what it was drawn for, where that is known."""

    path: Path
    name: str
    prompt: str = ""


def uploaded_files(paths: Sequence[str]) -> list[SourceFile]:
    """Uploads by their own names.

    Raises:
        InvalidRequest: there are none, or too many.
    """
    if not paths:
        raise InvalidRequest("There are no pictures to put in order.", field="images")
    if len(paths) > MAX_FILES:
        raise InvalidRequest("{} pictures are too many: {} is the most.", len(paths), MAX_FILES,
                             field="images")
    return [SourceFile(Path(path), Path(path).name) for path in paths]


def history_files(history: History, visitor: str, count: Any, contains: str) -> list[SourceFile]:
    """The newest pictures of a visitor's history, called by generator and seed.

    Raises:
        InvalidRequest: the number is out of bounds, or there are none.
    """
    if isinstance(count, bool) or not isinstance(count, int | float) \
            or not 1 <= count <= MAX_FILES:
        raise InvalidRequest("How many must be a whole number between 1 and {}.", MAX_FILES,
                             field="images")
    page = history.page(history.owner_of(visitor), Filters(text=contains), size=int(count),
                        count_to=0)
    if not page.pictures:
        raise InvalidRequest("Your history has no such pictures.", field="images")
    return [kept_file(history, picture) for picture in page.pictures]


def run_files(cards: Sequence[Card]) -> list[SourceFile]:
    """The pictures of a run, called by generator and seed.

    Raises:
        InvalidRequest: there are none, or too many.
    """
    if not cards:
        raise InvalidRequest(strings.NO_LAST_RUN, field="images")
    if len(cards) > MAX_FILES:
        raise InvalidRequest("{} pictures are too many: {} is the most.", len(cards), MAX_FILES,
                             field="images")
    return [SourceFile(card.path, f"{card.generator} {card.seed}", card.prompt)
            for card in cards]


def chosen_files(history: History | None, visitor: str, ids: Sequence[Any]) -> list[SourceFile]:
    """Pictures of a visitor's history by their ids.

    Raises:
        InvalidRequest: there is no history, or there are no ids, too many, or other things.
        HistoryError: the visitor has no such picture.
    """
    if history is None:
        raise InvalidRequest("Nothing is kept here, so there are no ids.", field="ids")
    if not all(isinstance(each, str) for each in ids):
        raise InvalidRequest("Ids must be a list of texts.", field="ids")
    if not ids:
        raise InvalidRequest("There are no pictures to put in order.", field="images")
    if len(ids) > MAX_FILES:
        raise InvalidRequest("{} pictures are too many: {} is the most.", len(ids), MAX_FILES,
                             field="ids")
    owner = history.owner_of(visitor)
    return [kept_file(history, history.get(owner, each)) for each in dict.fromkeys(ids)]


def kept_file(history: History, picture: KeptPicture) -> SourceFile:
    """A kept picture, called by generator and seed."""
    return SourceFile(history.files.local(picture.sha256), f"{picture.pipeline} {picture.seed}")


def check_clips(chosen: Sequence[Any], offered: Mapping[str, str]) -> list[str]:
    """Ids of CLIPs that are here.

    Raises:
        InvalidRequest: one of them is not.
    """
    if unknown := [each for each in chosen if not isinstance(each, str) or each not in offered]:
        raise InvalidRequest("There is no CLIP called {!r} here; there are: {}.",
                             str(unknown[0])[:40], ", ".join(offered), field="clips")
    return list(dict.fromkeys(chosen))


def installed_clips(catalogue: Catalogue | None = None) -> dict[str, str]:
    """Titles of the CLIPs whose files are here, by id, the ranker first.

    Args:
        catalogue: what there is; the one that ships where None.
    """
    catalogue = catalogue or Catalogue.load()
    found = {entry.id: entry.title for entry in catalogue
             if entry.family == "clip" and is_complete(catalogue, entry)}
    return {RANKER: found.get(RANKER, "ranker CLIP"), **found}

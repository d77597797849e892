"""What a search over a whole history asks of it: few columns of many pictures."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from sqlalchemy import func, select

from easel.history.store import History
from easel.history.tables import Picture

IDS_AT_ONCE = 500  # fewer than a statement may have values


class ListedPicture(NamedTuple):
    """A picture of the history with what a search needs of it; see ``KeptPicture``."""

    id: str
    sha256: str
    size_bytes: int
    created_s: float
    pipeline: str
    prompt: str


def list_pictures(history: History, owner: str) -> list[ListedPicture]:
    """An owner's pictures that are not deleted, the newest first."""
    chosen = (select(Picture.id, Picture.sha256, Picture.size_bytes, Picture.created_s,
                     Picture.pipeline, Picture.prompt)
              .where(Picture.owner == owner, Picture.deleted.is_(False))
              .order_by(Picture.number.desc()))
    with history.database.read() as session:
        return [ListedPicture(*row) for row in session.execute(chosen)]


def listing_state(history: History, owner: str) -> Hashable:
    """A value that is another one once pictures came to or left what ``list_pictures`` gives.

    It is read from an index of the database, however many pictures there are.
    """
    present, gone = ((Picture.owner == owner, Picture.deleted.is_(deleted))
                     for deleted in (False, True))
    numbers = select(func.count(), func.max(Picture.number), func.sum(Picture.number))
    with history.database.read() as session:
        listed = session.execute(numbers.where(*present)).one()
        # A picture deleted and another restored at once leave the time of deletion behind.
        deleted = session.execute(
            select(func.count(), func.max(Picture.deleted_s)).where(*gone)).one()
    return (*listed, *deleted)


def all_ids(history: History, owner: str) -> set[str]:
    """Ids of all of an owner's pictures, also of those that can still be restored."""
    with history.database.read() as session:
        return set(session.scalars(select(Picture.id).where(Picture.owner == owner)))


def present_ids(history: History, owner: str, ids: Sequence[str]) -> set[str]:
    """Those of some ids that an owner has and did not delete."""
    found: set[str] = set()
    with history.database.read() as session:
        for start in range(0, len(ids), IDS_AT_ONCE):
            found |= set(session.scalars(select(Picture.id).where(
                Picture.owner == owner, Picture.deleted.is_(False),
                Picture.id.in_(ids[start:start + IDS_AT_ONCE]))))
    return found

"""Filters, pages and families as SELECT statements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, literal_column, select
from sqlalchemy.orm import InstrumentedAttribute

from easel.history import grams
from easel.history.records import Filters
from easel.history.tables import Link, Picture, Total, Weights


def words_of(filters: Filters) -> list[str]:
    """What a prompt must hold, each word somewhere."""
    return filters.text.casefold().split()


def conditions(owner: str, filters: Filters) -> Iterator[ColumnElement[bool]]:
    """What a picture must fulfil to be among those asked for."""
    yield Picture.owner == owner
    yield Picture.deleted.is_(filters.deleted)
    for word in words_of(filters):
        yield Picture.search.contains(word, autoescape=True)
    if filters.since_s is not None:
        yield Picture.created_s >= filters.since_s
    if filters.until_s is not None:
        yield Picture.created_s < filters.until_s
    if filters.pipeline:
        yield Picture.pipeline == filters.pipeline
    if filters.model:
        yield exists().where(Weights.picture == Picture.id, Weights.model == filters.model)
    if filters.min_rating:
        yield Picture.rating >= filters.min_rating
    if filters.favourite:
        yield Picture.favourite.is_(True)


class Passing:
    """The numbers of the pictures that pass, as statements.

    Args:
        owner: whose they are.
        filters: what they must fulfil.
        indexed: whether the database has an index to be asked for words, see ``grams``.

    Attributes:
        is_counted: how many there are is kept, so that nobody has to count.
    """

    def __init__(self, owner: str, filters: Filters, indexed: bool) -> None:
        self.owner, self.filters = owner, filters
        words = words_of(filters) if indexed else []
        number: Any = Picture.number
        found = select(number).where(*conditions(owner, filters))
        if words:
            # The plus keeps SQLite from going through the pictures and asking the index for each.
            number = grams.Text.c.rowid
            found = select(number).select_from(grams.Text).join(
                Picture, Picture.number == literal_column(f"+{grams.TABLE}.rowid")).where(
                    grams.Text.c[grams.TABLE].op("MATCH")(
                        grams.expression(owner, filters.deleted, words)),
                    *conditions(owner, filters))
        self._number, self._found = number, found
        self.is_counted = filters == Filters(deleted=filters.deleted)

    def newest(self, limit: int, offset: int = 0) -> Select[Any]:
        """The newest first; what is skipped is skipped without looking into the pictures, where
        nothing is filtered."""
        return self._found.order_by(self._number.desc()).offset(offset).limit(limit)

    def count(self) -> Select[Any]:
        """How many there are."""
        if self.is_counted:
            return select(Total.pictures).where(Total.owner == self.owner,
                                                Total.deleted.is_(self.filters.deleted))
        return select(func.count()).select_from(self._found.subquery())

    def newer(self, number: int) -> Select[Any]:
        """The next one that came after a picture."""
        return self._found.where(self._number > number).order_by(self._number).limit(1)

    def older(self, number: int) -> Select[Any]:
        """The last one that came before a picture."""
        return self._found.where(self._number < number).order_by(self._number.desc()).limit(1)


def used_bytes(owner: str | None) -> Select[Any]:
    """Length of the files of an owner, or of everybody."""
    total = select(func.coalesce(func.sum(Total.size_bytes), 0))
    return total if owner is None else total.where(Total.owner == owner)


def names(column: InstrumentedAttribute[str], owner: InstrumentedAttribute[str], whose: str,
          ) -> Select[Any]:
    """Each value of a column once, in order; from one to the next by an index of both columns.

    Databases go through all rows for DISTINCT, of which a million may have the same name.

    Args:
        column: the names.
        owner: the column that says whose they are, of the same table.
        whose: an owner.
    """
    found = select(func.min(column).label("name")).where(owner == whose).cte("found",
                                                                            recursive=True)
    following = select(func.min(column)).where(owner == whose, column > found.c.name)
    found = found.union_all(select(following.scalar_subquery()).where(found.c.name.is_not(None)))
    return select(found.c.name).where(found.c.name.is_not(None)).order_by(found.c.name)


def relatives(picture_id: str, ancestors: bool) -> Select[Any]:
    """All ancestors or all descendants of a picture, the oldest first, each once."""
    near, far = (Link.child, Link.parent) if ancestors else (Link.parent, Link.child)
    found = select(far.label("id")).where(near == picture_id).cte("found", recursive=True)
    found = found.union(select(far).join(found, near == found.c.id))
    # A join starts at the few that were found; with IN, SQLite goes through all pictures.
    return (select(Picture).select_from(found).join(Picture, Picture.id == found.c.id)
            .where(Picture.id != picture_id).order_by(Picture.number))

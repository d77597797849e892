"""Filters, pages and families as SELECT statements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, select

from easel.history.records import Filters
from easel.history.tables import Link, Picture, Weights


def conditions(owner: str, filters: Filters) -> Iterator[ColumnElement[bool]]:
    """What a picture must fulfil to be among those asked for."""
    yield Picture.owner == owner
    yield Picture.deleted.is_(filters.deleted)
    for word in filters.text.casefold().split():
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


def count(owner: str, filters: Filters) -> Select[Any]:
    """How many pictures there are."""
    return select(func.count()).select_from(Picture).where(*conditions(owner, filters))


def page(owner: str, filters: Filters, offset: int, limit: int) -> Select[Any]:
    """Pictures, the newest first; what is skipped is skipped in the index alone."""
    numbers = (select(Picture.number).where(*conditions(owner, filters))
               .order_by(Picture.number.desc()).offset(offset).limit(limit))
    return select(Picture).where(Picture.number.in_(numbers)).order_by(Picture.number.desc())


def relatives(picture_id: str, ancestors: bool) -> Select[Any]:
    """All ancestors or all descendants of a picture, the oldest first, each once."""
    near, far = (Link.child, Link.parent) if ancestors else (Link.parent, Link.child)
    found = select(far.label("id")).where(near == picture_id).cte("found", recursive=True)
    found = found.union(select(far).join(found, near == found.c.id))
    # A join starts at the few that were found; with IN, SQLite goes through all pictures.
    return (select(Picture).select_from(found).join(Picture, Picture.id == found.c.id)
            .where(Picture.id != picture_id).order_by(Picture.number))

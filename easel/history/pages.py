"""Which pictures a page shows, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from easel.history.queries import Passing


@dataclass(frozen=True)
class Place:
    """A page among the pages.

    Attributes:
        numbers: of its pictures, the newest first.
        number: which page it is, from 1.
        pages: how many there are, at least 1.
        total: how many pictures.
        more: there are more pages and pictures than these.
    """

    numbers: Sequence[int]
    number: int
    pages: int
    total: int
    more: bool = False


def find_place(session: Session, passing: Passing, number: int, size: int,
               count_to: int | None) -> Place:
    """A page of the pictures that pass, or the last one; see ``History.page``."""
    if count_to is not None and not passing.is_counted:
        found = _newest(session, passing, max(1, number), size, count_to)
        if found is not None:
            return found
    total = int(session.scalar(passing.count()) or 0)
    pages = max(1, -(-total // size))
    number = max(1, min(number, pages))
    numbers = session.scalars(passing.newest(size, (number - 1) * size)).all()
    return Place(numbers, number, pages, total)


def _newest(session: Session, passing: Passing, number: int, size: int, count_to: int,
            ) -> Place | None:
    """The page by a look at the newest pictures alone; None where it is beyond the last."""
    first = 0 if number * size <= count_to else (number - 1) * size
    reach = size if first else max(size, count_to)
    numbers = session.scalars(passing.newest(reach + 1, first)).all()
    if first and not numbers:
        return None
    more, numbers = len(numbers) > reach, numbers[:reach]
    pages = max(1, -(-(first + len(numbers)) // size))
    number = min(number, pages)
    start = (number - 1) * size - first
    return Place(numbers[start:start + size], number, pages, first + len(numbers), more)

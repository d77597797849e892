"""The history itself: keep a picture, find it, rate, delete, restore; each visitor's alone.

The file comes first and the database's row second. A process that is killed between the two leaves
a file that nobody knows, which ``sweep`` removes; never a row without its file.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from easel.history import queries
from easel.history.database import Database
from easel.history.files import FileStore
from easel.history.late import LatePictures
from easel.history.members import SHARED, Members
from easel.history.pages import find_place
from easel.history.records import (
    MAX_PAGE_SIZE,
    MAX_RATING,
    PAGE_SIZE,
    Family,
    Filters,
    HistoryError,
    KeptPicture,
    NewPicture,
    Page,
)
from easel.history.tables import Erased, Picture, Total, Weights, add_row, new_row, note_erased
from pipelines.core.amounts import megabytes
from pipelines.core.errors import InvalidRequest

TRASH_S = 30 * 86400  # how long a deleted picture can be restored, unless room is needed
SWEEP_BATCH = 200  # files looked at in one transaction
ERASED_S = 3 * 86400  # longer than any copy lies anywhere
ORPHAN_S = 3600  # older than any writing that is still under way


class History:
    """Pictures of all owners; every method acts on those of one.

    Args:
        database: where the facts are.
        files: where the pictures are.
        quota_bytes: room for the files of all owners together.
        owner_quota_bytes: room for those of one owner.
        members: who signed in to the shared history; None where there is none.

    Attributes:
        on_purge: takes the length in bytes by SHA-256 of files that are gone for good, so that
            copies of them go as well.
        on_keep: takes the pictures that have just been kept, in the order in which they came.
        late: pictures that wait for a database in use.
    """

    def __init__(self, database: Database, files: FileStore, quota_bytes: int = 10**10,
                 owner_quota_bytes: int = 10**10, members: Members | None = None) -> None:
        self.database, self.files, self.members = database, files, members
        self.on_purge: Callable[[Mapping[str, int]], None] = lambda sizes: None
        self.on_keep: Callable[[Sequence[KeptPicture]], None] = lambda pictures: None
        self.quota_bytes, self.owner_quota_bytes = quota_bytes, owner_quota_bytes
        self.late = LatePictures(files.folder / "late", self.add)

    def close(self) -> None:
        """Close the database; what still waits to be kept is left to the next process."""
        self.late.close()
        self.database.close()

    def owner_of(self, visitor: str) -> str:
        """Whose history a visitor sees and fills: their own, or the shared one.

        Args:
            visitor: id of a visitor; ``records.LOCAL`` on the command line.

        Raises:
            ValueError: nobody asks, and nobody has no history.
        """
        if not visitor:
            raise ValueError("an owner must be named")
        return SHARED if self.members is not None and visitor in self.members else visitor

    # Keeping ------------------------------------------------------------------------------

    def add(self, owner: str, pictures: Sequence[NewPicture]) -> list[KeptPicture]:
        """Keep pictures; once this returns, they survive a crash. All are kept, or none is.

        Returns:
            Them as they are kept; those whose name the owner has already as they were kept then.

        Raises:
            HistoryError: the quota or the disk is full, or the database cannot be written.
        """
        pictures = [replace(each, id=each.id or secrets.token_hex(16)) for each in pictures]
        kept = self._with_ids(owner, [picture.id for picture in pictures])
        new = [picture for picture in pictures if picture.id not in kept]
        self._make_room(owner, sum(len(picture.data) for picture in new))
        rows = [new_row(owner, picture, self.files.put(picture.data)) for picture in new]
        with self.database.write() as session:
            added = [add_row(session, row, picture.parents)
                     for row, picture in zip(rows, new, strict=True)]
        for row, picture, is_new in zip(rows, new, added, strict=True):
            if is_new:
                kept[row.id] = row
                if not self.files.has(row.sha256):  # purged for another one meanwhile
                    self.files.put(picture.data)
        if not all(added):  # another process was faster
            kept |= self._with_ids(owner, [row.id for row in rows if row.id not in kept])
        if any(picture.id not in kept for picture in pictures):
            raise HistoryError("Somebody else's history has a picture of that name already.")
        found = [self._kept(kept[picture.id]) for picture in pictures]
        now = {row.id for row, is_new in zip(rows, added, strict=True) if is_new}
        if now:
            self.on_keep([picture for picture in found if picture.id in now])
        return found

    def _make_room(self, owner: str, needed_bytes: int) -> None:
        """Remove deleted pictures, the longest deleted first, where the quota asks for it."""
        for whose, quota in ((owner, self.owner_quota_bytes), (None, self.quota_bytes)):
            missing = self.used_bytes(whose) + needed_bytes - quota
            if missing <= 0:
                continue
            trash = select(Picture).where(Picture.deleted.is_(True)).order_by(Picture.deleted_s)
            if whose is not None:
                trash = trash.where(Picture.owner == whose)
            with self.database.read() as session:
                chosen: list[Picture] = []
                for row in session.scalars(trash):
                    if sum(each.size_bytes for each in chosen) >= missing:
                        break
                    chosen.append(row)
            if sum(row.size_bytes for row in chosen) < missing:
                scope = "Your history" if whose is not None else "The history"
                raise HistoryError("{} is full at {}, so this was not kept: save it, or delete "
                                   "other pictures.", scope, megabytes(quota))
            self._purge(chosen)

    def used_bytes(self, owner: str | None = None) -> int:
        """Length of all kept files, the deleted ones too; of every owner where None."""
        with self.database.read() as session:
            return int(session.scalar(queries.used_bytes(owner)) or 0)

    # Finding ------------------------------------------------------------------------------

    def get(self, owner: str, picture_id: str) -> KeptPicture:
        """One picture, deleted or not.

        Raises:
            HistoryError: the owner has no such picture.
        """
        with self.database.read() as session:
            row = session.scalar(select(Picture).where(Picture.id == picture_id,
                                                       Picture.owner == owner))
        if row is None:
            raise HistoryError("There is no such picture in your history.")
        return self._kept(row)

    def starting_with(self, owner: str, start: str) -> list[KeptPicture]:
        """An owner's pictures whose id begins like that, two of them at most."""
        chosen = select(Picture).where(
            Picture.owner == owner, Picture.id.startswith(start, autoescape=True)).limit(2)
        with self.database.read() as session:
            return [self._kept(row) for row in session.scalars(chosen)]

    def page(self, owner: str, filters: Filters | None = None, number: int = 1,
             size: int = PAGE_SIZE, count_to: int | None = None) -> Page:
        """A page of pictures, the newest first.

        Args:
            number: from 1; the last page where there are fewer.
            size: pictures on a page, 1..500.
            count_to: how far to count where each picture has to be looked at; to the end where
                None, which takes a while where many of a million pass.
        """
        size = max(1, min(size, MAX_PAGE_SIZE))
        passing = self._passing(owner, filters)
        with self.database.read() as session:
            place = find_place(session, passing, number, size, count_to)
            rows = session.scalars(select(Picture).where(Picture.number.in_(place.numbers))
                                   .order_by(Picture.number.desc())).all()
        return Page(tuple(map(self._kept, rows)), place.number, place.pages, place.total,
                    place.more)

    def beside(self, picture: KeptPicture, filters: Filters | None = None,
               ) -> tuple[str | None, str | None]:
        """Ids of the next newer and the next older of its owner's pictures; None at the ends.

        Args:
            picture: need not be one that the filters leave.
        """
        passing = self._passing(picture.owner, filters)
        with self.database.read() as session:
            number = session.scalar(select(Picture.number).where(
                Picture.owner == picture.owner, Picture.id == picture.id))
            if number is None:  # removed for good meanwhile
                return None, None
            found = [session.scalar(select(Picture.id).where(Picture.number.in_(beside)))
                     for beside in (passing.newer(number), passing.older(number))]
        return found[0], found[1]

    def ids(self, owner: str, filters: Filters | None = None, limit: int = 10_000) -> list[str]:
        """Ids of an owner's pictures, the newest first."""
        chosen = (select(Picture.id)
                  .where(Picture.number.in_(self._passing(owner, filters).newest(limit)))
                  .order_by(Picture.number.desc()))
        with self.database.read() as session:
            return list(session.scalars(chosen))

    def with_hash(self, owner: str, sha256: str) -> list[str]:
        """Ids of an owner's pictures whose file has that hash, the oldest first."""
        chosen = (select(Picture.id).where(Picture.owner == owner, Picture.sha256 == sha256)
                  .order_by(Picture.number))
        with self.database.read() as session:
            return list(session.scalars(chosen))

    def by_hash(self, hashes: Sequence[str]) -> dict[str, KeptPicture]:
        """Pictures of anybody's by the hashes of their files, deleted ones among them.

        For what is true of a file whoever has it; nothing else of it is for others to see.
        """
        chosen = select(Picture).where(Picture.sha256.in_(hashes)).order_by(Picture.number)
        with self.database.read() as session:
            return {row.sha256: self._kept(row) for row in session.scalars(chosen)}

    def owned(self, owner: str, ids: Sequence[str]) -> list[str]:
        """Those of some ids that are an owner's pictures, deleted ones among them, in order."""
        chosen = select(Picture.id).where(Picture.owner == owner, Picture.id.in_(ids))
        with self.database.read() as session:
            known = set(session.scalars(chosen))
        return [each for each in ids if each in known]

    def family(self, owner: str, picture_id: str) -> Family:
        """Ancestors and descendants of a picture, as far as they go.

        Raises:
            HistoryError: the owner has no such picture.
        """
        self.get(owner, picture_id)
        with self.database.read() as session:
            found = [tuple(self._kept(row) for row in session.scalars(
                queries.relatives(picture_id, up).where(Picture.owner == owner)))
                for up in (True, False)]
        return Family(*found)

    def pipelines(self, owner: str) -> list[str]:
        """Names of the generators that drew an owner's pictures."""
        with self.database.read() as session:
            return list(session.scalars(
                queries.names(Picture.pipeline, Picture.owner, owner)))

    def models(self, owner: str) -> list[str]:
        """Ids of the models that took part in an owner's pictures."""
        with self.database.read() as session:
            return list(session.scalars(queries.names(Weights.model, Weights.owner, owner)))

    def owners(self) -> list[str]:
        """Everybody who has pictures; for the operator alone."""
        with self.database.read() as session:
            return list(session.scalars(select(Total.owner).distinct().order_by(Total.owner)))

    # Opinions and the bin ---------------------------------------------------------------------

    def rate(self, owner: str, picture_id: str, rating: int | None) -> KeptPicture:
        """Give a picture 1..5 stars, or none.

        Raises:
            InvalidRequest: another number.
            HistoryError: the owner has no such picture.
        """
        if rating is not None and (isinstance(rating, bool) or not isinstance(rating, int)
                                   or not 1 <= rating <= MAX_RATING):
            raise InvalidRequest("A rating is 1 to {} stars or none, not {}.", MAX_RATING,
                                 str(rating)[:20], field="rating")
        return self._change(owner, picture_id, rating=rating)

    def set_favourite(self, owner: str, picture_id: str, favourite: bool) -> KeptPicture:
        """Mark a picture as a favourite, or as none.

        Raises:
            HistoryError: the owner has no such picture.
        """
        return self._change(owner, picture_id, favourite=bool(favourite))

    def delete(self, owner: str, picture_ids: Iterable[str]) -> int:
        """Move pictures to the deleted ones; returns how many there were to move."""
        return self._set_deleted(owner, picture_ids, True)

    def restore(self, owner: str, picture_ids: Iterable[str]) -> int:
        """Bring deleted pictures back; returns how many there were to bring."""
        return self._set_deleted(owner, picture_ids, False)

    def purge(self, owner: str, picture_ids: Iterable[str] | None = None) -> int:
        """Remove deleted pictures for good, all of an owner's where None; returns how many."""
        chosen = select(Picture).where(Picture.owner == owner, Picture.deleted.is_(True))
        if picture_ids is not None:
            chosen = chosen.where(Picture.id.in_(list(picture_ids)))
        with self.database.read() as session:
            rows = list(session.scalars(chosen))
        return self._purge(rows)

    def sweep(self) -> None:
        """Remove what was deleted long ago, and files that a killed process left behind."""
        old = select(Picture).where(Picture.deleted_s < time.time() - TRASH_S)
        with self.database.read() as session:
            rows = list(session.scalars(old))
        self._purge(rows)
        found = list(self.files.old_files(ORPHAN_S))
        for first in range(0, len(found), SWEEP_BATCH):
            with self.database.write() as session:
                for sha256, key in found[first:first + SWEEP_BATCH]:
                    if not sha256 or not _needed(session, sha256):
                        self.files.drop(key)
        self.files.sweep_copies()

    def erased(self) -> list[Erased]:
        """Files deleted for good in the last days, less those that somebody has a picture of.

        This machine's copies of them, where the files lie elsewhere, go here and now.
        """
        with self.database.write() as session:
            session.execute(delete(Erased).where(Erased.erased_s < time.time() - ERASED_S))
            found = list(session.scalars(select(Erased).where(
                ~exists().where(Picture.sha256 == Erased.sha256))))
            session.expunge_all()
        for each in found:
            self.files.remove_copies(each.sha256)
        return found

    # Inside -----------------------------------------------------------------------------------

    def _passing(self, owner: str, filters: Filters | None) -> queries.Passing:
        return queries.Passing(owner, filters or Filters(), self.database.indexes_text)

    def _with_ids(self, owner: str, ids: Sequence[str | None]) -> dict[str | None, Picture]:
        """Rows of an owner's pictures by their names, as far as there are any."""
        with self.database.read() as session:
            return {row.id: row for row in session.scalars(select(Picture).where(
                Picture.id.in_(ids), Picture.owner == owner))}

    def _change(self, owner: str, picture_id: str, **values: Any) -> KeptPicture:
        mine = (Picture.id == picture_id, Picture.owner == owner)
        with self.database.write() as session:
            session.execute(update(Picture).where(*mine).values(**values))
        return self.get(owner, picture_id)

    def _set_deleted(self, owner: str, picture_ids: Iterable[str], deleted: bool) -> int:
        change = update(Picture).where(
            Picture.owner == owner, Picture.id.in_(list(picture_ids)),
            Picture.deleted.is_(not deleted)).values(
                deleted=deleted, deleted_s=time.time() if deleted else None)
        with self.database.write() as session:
            return len(session.execute(change.returning(Picture.id)).all())

    def _purge(self, rows: Sequence[Picture]) -> int:
        numbers = [row.number for row in rows]
        with self.database.write() as session:
            gone = session.execute(delete(Picture).where(  # not those restored meanwhile
                Picture.number.in_(numbers), Picture.deleted.is_(True))
                .returning(Picture.sha256)).scalars().all()
            lengths, lost = {row.sha256: row.size_bytes for row in rows}, dict[str, int]()
            for sha256 in set(gone):
                note_erased(session, sha256, lengths[sha256])
        # Only once the rows are gone for certain; as a writer, so that nobody adds a row meanwhile.
        with self.database.write() as session:
            for sha256 in set(gone):
                if not _needed(session, sha256):
                    self.files.remove(sha256)
                    lost[sha256] = lengths[sha256]
        if lost:
            self.on_purge(lost)
        return len(gone)

    def _kept(self, row: Picture) -> KeptPicture:
        return KeptPicture(
            id=row.id, owner=row.owner, sha256=row.sha256, size_bytes=row.size_bytes,
            created_s=row.created_s, deleted=row.deleted, pipeline=row.pipeline,
            prompt=row.prompt, seed=row.seed, width_px=row.width_px, height_px=row.height_px,
            clip_score=row.clip_score, rating=row.rating, favourite=row.favourite,
            facts=row.facts)


def _needed(session: Session, sha256: str) -> bool:
    """Whether any picture's file has that hash."""
    return session.scalar(select(Picture.number).where(Picture.sha256 == sha256)
                          .limit(1)) is not None

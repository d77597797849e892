"""The tables of the history, as SQLAlchemy maps them, and the rows of a picture to keep.

``migrations`` makes the same tables.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from easel.history.records import NewPicture

# Names for every constraint, so that a later migration can find it on any database.
NAMES = {"ix": "ix_%(table_name)s_%(column_0_N_name)s",
         "uq": "uq_%(table_name)s_%(column_0_N_name)s",
         "fk": "fk_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}
# SQLite counts up only in a column of exactly this type.
Counter = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """Root of the mapped classes."""

    metadata = MetaData(naming_convention=NAMES)


class Picture(Base):
    """A finished picture.

    Attributes:
        number: counts up in the order of keeping, also when the clock steps back.
        id: unguessable public name; that of a drawn picture follows from its job.
        owner: whose history it belongs to.
        sha256: content hash of the PNG file.
        size_bytes: length of that file.
        created_s: Unix time of keeping.
        deleted_s: Unix time of deletion; None while the picture is not deleted.
        search: what the text filter looks through, in lower case.
        rating: 1..5 stars; None where not rated.
        facts: everything the file says of itself, see ``pipelines.core.metadata.picture_metadata``.
    """

    __tablename__ = "pictures"
    __table_args__ = (Index(None, "owner", "deleted", "number"),
                      Index(None, "owner", "pipeline"), Index(None, "owner", "size_bytes"),
                      {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    owner: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_s: Mapped[float] = mapped_column(Float(53))
    deleted: Mapped[bool] = mapped_column(default=False)
    deleted_s: Mapped[float | None] = mapped_column(Float(53), default=None)
    job_id: Mapped[str] = mapped_column(String(64), default="")
    pipeline: Mapped[str] = mapped_column(String(64))
    prompt: Mapped[str] = mapped_column(Text)
    search: Mapped[str] = mapped_column(Text, default="")
    seed: Mapped[int] = mapped_column(BigInteger)
    width_px: Mapped[int]
    height_px: Mapped[int]
    clip_score: Mapped[float | None] = mapped_column(Float(53), default=None)
    rating: Mapped[int | None] = mapped_column(default=None)
    favourite: Mapped[bool] = mapped_column(default=False)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)


class Total(Base):
    """How many pictures an owner has, and how long their files are together; none where no row.

    Triggers of the database keep it, see the migration that makes it; code only reads.

    Attributes:
        deleted: whether it is of the deleted ones or of the others.
    """

    __tablename__ = "totals"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    deleted: Mapped[bool] = mapped_column(primary_key=True)
    pictures: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class Weights(Base):
    """A model that drew or judged a picture, with the SHA-256 of its weights where known."""

    __tablename__ = "weights"
    __table_args__ = (Index(None, "owner", "model"),)

    picture: Mapped[str] = mapped_column(ForeignKey("pictures.id", ondelete="CASCADE"),
                                         primary_key=True)
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    sha256: Mapped[str | None] = mapped_column(String(64), default=None)
    owner: Mapped[str] = mapped_column(String(64))


class Link(Base):
    """A picture that another one was made from."""

    __tablename__ = "links"

    child: Mapped[str] = mapped_column(ForeignKey("pictures.id", ondelete="CASCADE"),
                                       primary_key=True)
    parent: Mapped[str] = mapped_column(ForeignKey("pictures.id", ondelete="CASCADE"),
                                        primary_key=True, index=True)


class Erased(Base):
    """A file that was deleted for good, for whoever may still have a copy.

    A server that is killed in between, another one on the same database, or the one that runs while
    the command line deletes, finds it here.

    Attributes:
        sha256: content hash of the file.
        size_bytes: its length.
        erased_s: Unix time.
    """

    __tablename__ = "erased"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    erased_s: Mapped[float] = mapped_column(Float(53))


class Member(Base):
    """A visitor who signed in to the shared history with the password of that fingerprint."""

    __tablename__ = "members"

    visitor: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    since_s: Mapped[float] = mapped_column(Float(53))


class CastVote(Base):
    """One person's word on one comparison, once.

    Attributes:
        comparison_id: what was voted on.
        cast_s: Unix time.
        kind: of the prompt, see ``easel.compare.prompt_kinds``.
        choice: index of the best pane, "tie" or "bad".
        panes: for each "pipeline", "seed", "options" and "clip".
    """

    __tablename__ = "votes"
    __table_args__ = (Index(None, "kind", "blind"),)

    comparison_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    cast_s: Mapped[float] = mapped_column(Float(53))
    voter: Mapped[str] = mapped_column(String(128))
    prompt: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(32))
    blind: Mapped[bool]
    choice: Mapped[str] = mapped_column(String(8))
    panes: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class WallPicture(Base):
    """A picture that the wall of a class shows, or that is kept from it.

    Attributes:
        picture: its id in the history, whose owner's it stays.
        state: "shown", "hidden" by whoever leads, "unseen" while the filter has yet to look at it,
            "held" by the filter.
        label: why the filter holds it.
        pinned: whether it stays before the others.
        hands: votes of people without a screen of their own.
    """

    __tablename__ = "wall"

    picture: Mapped[str] = mapped_column(ForeignKey("pictures.id", ondelete="CASCADE"),
                                         primary_key=True)
    state: Mapped[str] = mapped_column(String(8), index=True)
    label: Mapped[str] = mapped_column(String(200), default="")
    pinned: Mapped[bool] = mapped_column(default=False)
    hands: Mapped[int] = mapped_column(default=0)


class WallVote(Base):
    """A visitor's vote for a picture on the wall."""

    __tablename__ = "wall_votes"

    picture: Mapped[str] = mapped_column(ForeignKey("wall.picture", ondelete="CASCADE"),
                                         primary_key=True)
    visitor: Mapped[str] = mapped_column(String(64), primary_key=True)


class PausedState(Base):
    """The state of a run that was paused, or that is under way and may be found again.

    Attributes:
        owner: whose it is, by a hash of their name, as folders of paused runs were called.
        key: of the state, among the files of the history.
        size_bytes: its length.
        saved_s: Unix time of its keeping, by the clock of whoever kept it.
        number: counts up with each pause of an owner, also when the clock steps back.
        interrupted: nobody paused the run: its server ended.
        header: what is shown of it; "fault" alone where its file was damaged already.
        frame: the last preview, a JPEG file.
        holder: the lease of whoever has the run; empty where nobody has it.
        lease_until_s: until when, as Unix time by the database's clock.
    """

    __tablename__ = "paused_runs"

    run_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(32), index=True)
    key: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    saved_s: Mapped[float] = mapped_column(Float(53))
    number: Mapped[int]
    interrupted: Mapped[bool]
    header: Mapped[dict[str, Any]] = mapped_column(JSON)
    frame: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    holder: Mapped[str] = mapped_column(String(32), default="")
    lease_until_s: Mapped[float] = mapped_column(Float(53), default=0.0)


def new_row(owner: str, picture: NewPicture, sha256: str) -> Picture:
    """The row of a picture that has a name, and whose file is kept already."""
    facts = picture.facts
    prompt = str(facts.get("prompt", "")).replace("\0", "")
    score = dict(facts.get("scores", {})).get("clip")
    return Picture(
        id=picture.id, owner=owner, sha256=sha256,
        size_bytes=len(picture.data), created_s=time.time(), deleted=False,
        job_id=str(facts.get("job_id", ""))[:64], pipeline=str(facts.get("pipeline", ""))[:64],
        prompt=prompt, search=prompt.casefold(), seed=int(facts.get("seed") or 0),
        width_px=int(facts.get("width_px") or 0), height_px=int(facts.get("height_px") or 0),
        clip_score=None if score is None else float(score), favourite=False, facts=dict(facts))


def add_row(session: Session, row: Picture, parents: Sequence[str]) -> bool:
    """Insert a picture with its weights and links; False where its name is in use.

    Asked of the database in the same statement: another process may be adding the same picture.

    Args:
        row: not of the session.
        parents: ids of pictures, linked where they are the same owner's.
    """
    table = cast("Table", Picture.__table__)
    values = {column.name: getattr(row, column.name) for column in table.columns
              if column is not table.c.number}
    made = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    added = session.execute(made.insert(table).values(values).on_conflict_do_nothing(
        index_elements=[table.c.id]).returning(table.c.number)).first()
    if added is None:
        return False
    session.add_all(_weights_of(row))
    session.add_all(_links_of(session, row, parents))
    return True


def note_erased(session: Session, sha256: str, size_bytes: int) -> None:
    """Say that a file was deleted for good; the last time counts."""
    values = {"size_bytes": size_bytes, "erased_s": time.time()}
    made = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    session.execute(made.insert(Erased).values(sha256=sha256, **values)
                    .on_conflict_do_update(index_elements=[Erased.sha256], set_=values))


def _weights_of(row: Picture) -> list[Weights]:
    """The models that its facts name."""
    return [Weights(picture=row.id, model=str(model)[:200], sha256=digest, owner=row.owner)
            for model, digest in dict(row.facts.get("weights", {})).items()]


def _links_of(session: Session, row: Picture, parents: Sequence[str]) -> list[Link]:
    """Links to those of the parents that the owner has."""
    known = session.scalars(select(Picture.id).where(Picture.id.in_(parents),
                                                     Picture.owner == row.owner))
    return [Link(child=row.id, parent=parent) for parent in known if parent != row.id]

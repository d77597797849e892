"""What a room draws, for everybody in it to see: one picture of each run, and the votes for it.

A picture stays its owner's in the history; the wall only names it. Nothing is on it that was kept
before the wall was there, nor what its owner has deleted since.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from easel.history.records import HistoryError, KeptPicture
from easel.history.store import History
from easel.history.tables import Picture, WallPicture, WallVote
from pipelines.core.errors import InvalidRequest

logger = logging.getLogger(__name__)
MAX_SHOWN = 60  # more are on no projector
MAX_HANDS = 999
MAX_PINNED = 12
SHOWN, HIDDEN, UNSEEN, HELD = "shown", "hidden", "unseen", "held"
GONE = "This picture is not on the wall, or not any more."
Order = Literal["newest", "votes"]


@dataclass(frozen=True)
class OnWall:
    """A picture as somebody sees it on the wall.

    Attributes:
        id: its name.
        prompt: what was asked for.
        pipeline: name of the generator.
        width_px: of the picture.
        height_px: of the picture.
        votes: of visitors and raised hands.
        voted: whether whoever looks has voted for it.
        own: whether it is theirs.
        pinned: whether it stays before the others.
        state: "shown"; for whoever leads "hidden", "unseen" or "held" too.
        label: why the filter holds it.
    """

    id: str
    prompt: str
    pipeline: str
    width_px: int
    height_px: int
    votes: int
    voted: bool
    own: bool
    pinned: bool
    state: str
    label: str


class Wall:
    """The wall of one history.

    Args:
        history: whose pictures it shows, from now on, whoever draws them here.
        must_be_seen: whether the filter looks at a picture before anybody sees it.
        on_unseen: called when there is something for the filter.
    """

    def __init__(
        self,
        history: History,
        must_be_seen: Callable[[KeptPicture], bool] = lambda picture: False,
        on_unseen: Callable[[], None] = lambda: None,
    ) -> None:
        self.history, self.must_be_seen, self.on_unseen = history, must_be_seen, on_unseen
        self._database = history.database
        history.on_keep = self.add

    # What comes and goes --------------------------------------------------------------------

    def add(self, pictures: Sequence[KeptPicture]) -> None:
        """Show the best of some pictures that one run brought; nothing goes wrong by it.

        Args:
            pictures: just kept, the best first. A run may bring them in parts, under one job.
        """
        best, unseen = pictures[0], self.must_be_seen(pictures[0])
        try:
            with self._database.write() as session:
                if not _makes_room(session, best):
                    return
                session.add(
                    WallPicture(
                        picture=best.id,
                        state=UNSEEN if unseen else SHOWN,
                        label="",
                        pinned=False,
                        hands=0,
                    )
                )
        except HistoryError as error:
            logger.warning("a picture is kept but not on the wall: %s", error)
            return
        if unseen:
            self.on_unseen()

    def take_down(self, picture_id: str, visitor: str) -> None:
        """Take a visitor's own picture off the wall; it stays in their history.

        Raises:
            InvalidRequest: it is not theirs, or not there.
        """
        owner = self.history.owner_of(visitor)
        with self._database.write() as session:
            gone = session.execute(
                delete(WallPicture)
                .where(
                    WallPicture.picture.in_(
                        select(Picture.id).where(Picture.id == picture_id, Picture.owner == owner)
                    ),
                )
                .returning(WallPicture.picture)
            ).first()
        if gone is None:
            raise InvalidRequest(
                "Only your own pictures can be taken off the wall.", field="picture"
            )

    def clear(self) -> int:
        """Begin with an empty wall; returns how many pictures were on it."""
        with self._database.write() as session:
            return len(session.execute(delete(WallPicture).returning(WallPicture.picture)).all())

    # What is seen ---------------------------------------------------------------------------

    def pictures(
        self, visitor: str, leads: bool = False, order: Order = "newest", most: int = MAX_SHOWN
    ) -> list[OnWall]:
        """What is on the wall, pinned pictures first.

        Args:
            visitor: who looks.
            leads: whether they see as well what is kept from the others.
            order: of those that are not pinned.
            most: pictures that are not pinned.
        """
        owner = self.history.owner_of(visitor)
        with self._database.read() as session:
            visible = _visible(leads)
            rows = [
                *session.execute(
                    visible.where(WallPicture.pinned.is_(True)).order_by(Picture.number)
                ),
                *session.execute(
                    _ordered(visible.where(WallPicture.pinned.is_(False)), order).limit(most)
                ),
            ]
            voted = set(
                session.scalars(select(WallVote.picture).where(WallVote.visitor == visitor))
            )
        return [
            OnWall(
                picture.id,
                picture.prompt,
                picture.pipeline,
                picture.width_px,
                picture.height_px,
                int(votes),
                picture.id in voted,
                picture.owner == owner,
                wall.pinned,
                wall.state,
                wall.label,
            )
            for picture, wall, votes in rows
        ]

    def find(self, picture_id: str, leads: bool = False) -> KeptPicture:
        """A picture whose file may be sent to whoever looks.

        Raises:
            HistoryError: it is not on the wall, hidden from them, or deleted.
        """
        with self._database.read() as session:
            found = session.execute(_visible(leads).where(Picture.id == picture_id)).first()
        if found is None:
            raise HistoryError(GONE)
        return self.history.get(found[0].owner, picture_id)

    # Votes ----------------------------------------------------------------------------------

    def vote(self, picture_id: str, visitor: str, on: bool = True) -> None:
        """Count a visitor's vote for a picture, once, or take it back.

        Raises:
            HistoryError: there is no such picture on the wall.
        """
        self.find(picture_id)
        with self._database.write() as session:
            if not on:
                session.execute(
                    delete(WallVote).where(
                        WallVote.picture == picture_id, WallVote.visitor == visitor
                    )
                )
            elif session.get(WallPicture, picture_id) is None:
                raise HistoryError(GONE)
            else:  # two presses at once are one vote
                made = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
                session.execute(
                    made.insert(WallVote)
                    .values(picture=picture_id, visitor=visitor)
                    .on_conflict_do_nothing()
                )

    def raise_hand(self, picture_id: str, by: int) -> None:
        """Count hands that are raised in the room.

        Args:
            picture_id: for which picture.
            by: 1 for one more, -1 for one less.

        Raises:
            HistoryError: there is no such picture on the wall.
        """
        self.find(picture_id, leads=True)
        with self._database.write() as session:
            row = session.get(WallPicture, picture_id, with_for_update=True)
            if row is not None:
                row.hands = min(MAX_HANDS, max(0, row.hands + by))

    # What leading is ------------------------------------------------------------------------

    def hide(self, picture_id: str) -> None:
        """Keep a picture from everybody's eyes but the leader's; see ``_change``."""
        self._change(picture_id, state=HIDDEN, pinned=False)

    def show(self, picture_id: str) -> None:
        """Show what was hidden, or held by the filter; see ``_change``."""
        self._change(picture_id, state=SHOWN, label="")

    def pin(self, picture_id: str) -> None:
        """Let a picture stay before the others.

        Raises:
            InvalidRequest: there is no room for one more.
            HistoryError: there is no such picture on the wall.
        """
        with self._database.read() as session:
            pinned = session.scalar(select(func.count()).where(WallPicture.pinned.is_(True))) or 0
        if pinned >= MAX_PINNED:
            raise InvalidRequest(
                "{} pictures are pinned, which is the most: unpin one first.",
                MAX_PINNED,
                field="picture",
            )
        self._change(picture_id, state=SHOWN, label="", pinned=True)

    def unpin(self, picture_id: str) -> None:
        """Let a picture stand among the others again; see ``_change``."""
        self._change(picture_id, pinned=False)

    def _change(self, picture_id: str, **values: Any) -> None:
        """Change a picture's row.

        Raises:
            HistoryError: there is no such picture on the wall.
        """
        self.find(picture_id, leads=True)
        with self._database.write() as session:
            session.execute(
                update(WallPicture).where(WallPicture.picture == picture_id).values(**values)
            )

    # For the filter -------------------------------------------------------------------------

    def unseen(self) -> list[KeptPicture]:
        """What the filter has yet to look at, the oldest first."""
        with self._database.read() as session:
            rows = session.execute(
                _visible(True).where(WallPicture.state == UNSEEN).order_by(Picture.number)
            ).all()
        return [self.history.get(picture.owner, picture.id) for picture, *_ in rows]

    def judge(self, picture_id: str, label: str) -> None:
        """Say what the filter has found; what was decided by hand meanwhile stays.

        Args:
            picture_id: the picture.
            label: why it is held; empty to show it.
        """
        with self._database.write() as session:
            session.execute(
                update(WallPicture)
                .where(WallPicture.picture == picture_id, WallPicture.state == UNSEEN)
                .values(state=HELD if label else SHOWN, label=label[:200])
            )


def _votes() -> Any:
    """Votes of visitors and raised hands for a picture, as a column."""
    cast = (
        select(func.count())
        .where(WallVote.picture == WallPicture.picture)
        .correlate(WallPicture)
        .scalar_subquery()
    )
    return cast + WallPicture.hands


def _visible(leads: bool) -> Select[Picture, WallPicture, Any]:
    """Rows of a picture, its place on the wall and its votes."""
    found = (
        select(Picture, WallPicture, _votes().label("votes"))
        .join(WallPicture, WallPicture.picture == Picture.id)
        .where(Picture.deleted.is_(False))
    )
    return found if leads else found.where(WallPicture.state == SHOWN)


def _ordered(chosen: Select[Picture, WallPicture, Any], order: Order,
             ) -> Select[Picture, WallPicture, Any]:
    newest = Picture.number.desc()
    return chosen.order_by(_votes().desc(), newest) if order == "votes" else chosen.order_by(newest)


def _makes_room(session: Session, best: KeptPicture) -> bool:
    """Whether a picture goes on the wall: one a run does, the best of its parts."""
    job_id = str(best.facts.get("job_id", ""))[:64]
    if not job_id:
        return True
    earlier = session.execute(
        select(Picture, WallPicture, _votes())
        .join(WallPicture, WallPicture.picture == Picture.id)
        .where(
            Picture.owner == best.owner, Picture.job_id == job_id, Picture.pipeline == best.pipeline
        )
    ).all()
    for picture, wall, votes in earlier:
        touched = votes or wall.pinned or wall.state in (HIDDEN, HELD)
        if touched or (picture.clip_score or 0.0) >= (best.clip_score or 0.0):
            return False
    session.execute(
        delete(WallPicture).where(WallPicture.picture.in_([picture.id for picture, *_ in earlier]))
    )
    return True

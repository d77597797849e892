"""Votes on comparisons: kept in a table, counted once, and turned into a leaderboard.

Source: Bradley and Terry, "Rank Analysis of Incomplete Block Designs" (1952), section 2, for the
strengths; Chiang et al., "Chatbot Arena" (2024), section 4, for bootstrap intervals of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import choix
import numpy as np
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    insert,
    select,
)
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from compare.kinds import kind_of
from pipelines.errors import EaselError
from pipelines.settings import Settings

BUSY_S = 10.0
BOOTSTRAPS = 100
# A few imagined even votes between all: nobody who always won is infinitely strong.
PRIOR = 0.1
POINTS_PER_DECADE, MEAN_POINTS = 400.0, 1000.0

_METADATA = MetaData()
_VOTES = Table(
    "easel_votes", _METADATA,
    Column("comparison_id", String(64), primary_key=True),
    Column("cast_s", Float, nullable=False), Column("voter", String(128), nullable=False),
    Column("prompt", Text, nullable=False), Column("kind", String(32), nullable=False),
    Column("blind", Boolean, nullable=False), Column("choice", String(8), nullable=False),
    Column("panes", Text, nullable=False))


class VoteError(EaselError):
    """A vote that cannot be counted."""


@dataclass(frozen=True)
class Vote:
    """One person's word on one comparison.

    Attributes:
        comparison_id: what was voted on; a second vote on it is refused.
        prompt: what the panes drew.
        panes: for each "pipeline" and "clip", the best score, None where there is none.
        choice: index of the best pane, "tie" or "bad".
        blind: whether the panes were unnamed.
        voter: who voted.
        cast_s: seconds since 1970.
    """

    comparison_id: str
    prompt: str
    panes: tuple[Mapping[str, Any], ...]
    choice: int | str
    blind: bool = True
    voter: str = ""
    cast_s: float = 0.0

    @property
    def kind(self) -> str:
        """The kind of the prompt; see ``compare.kinds``."""
        return kind_of(self.prompt)

    def clip_choice(self) -> int | None:
        """The pane that CLIP's scores would choose; None where not all have one."""
        scores = [pane.get("clip") for pane in self.panes]
        if any(score is None for score in scores):
            return None
        return int(np.argmax(np.array(scores, dtype=float)))


@dataclass(frozen=True)
class Standing:
    """A pipeline's place: points (400 are odds of ten to one), their 95 % interval, votes."""

    name: str
    points: float
    low: float
    high: float
    votes: int
    wins: float


class VoteBook:
    """The votes of this machine, in a table of their own.

    Args:
        url: SQLAlchemy URL; None for votes that end with the process.

    Raises:
        VoteError: the table cannot be opened.
    """

    def __init__(self, url: str | URL | None = None) -> None:
        if url is None:
            self._engine = create_engine("sqlite://", poolclass=StaticPool,
                                         connect_args={"check_same_thread": False})
        else:
            self._engine = _engine(url)
        with self._connect("opened") as connection:
            if self._engine.dialect.name == "sqlite" and url is not None:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            _METADATA.create_all(connection)

    def cast(self, vote: Vote) -> None:
        """Count a vote.

        Raises:
            VoteError: it was counted before, the choice is none of the panes, or it cannot be
                written.
        """
        places = range(len(vote.panes))
        if vote.choice not in (*places, "tie", "bad") or isinstance(vote.choice, bool):
            raise VoteError("A vote names one of the panes, a tie, or that all are bad.")
        row = {"comparison_id": vote.comparison_id, "cast_s": vote.cast_s or time.time(),
               "voter": vote.voter, "prompt": vote.prompt, "kind": vote.kind,
               "blind": vote.blind, "choice": str(vote.choice),
               "panes": json.dumps([dict(pane) for pane in vote.panes])}
        with self._connect("written to") as connection:
            try:
                connection.execute(insert(_VOTES).values(row))
            except IntegrityError:
                raise VoteError("This comparison was voted on already; a vote counts once.",
                                ) from None

    def votes(self, kind: str | None = None, blind: bool | None = True) -> list[Vote]:
        """Votes in the order of their casting.

        Args:
            kind: only of prompts of this kind.
            blind: only blind votes, only open ones, or all where None.
        """
        query = select(_VOTES).order_by(_VOTES.c.cast_s, _VOTES.c.comparison_id)
        if kind is not None:
            query = query.where(_VOTES.c.kind == kind)
        if blind is not None:
            query = query.where(_VOTES.c.blind == blind)
        with self._connect("read") as connection:
            rows = connection.execute(query).mappings().all()
        return [Vote(row["comparison_id"], row["prompt"], tuple(json.loads(row["panes"])),
                     int(row["choice"]) if row["choice"].isdigit() else row["choice"],
                     row["blind"], row["voter"], row["cast_s"]) for row in rows]

    def close(self) -> None:
        """Give the table's connections back."""
        self._engine.dispose()

    @contextmanager
    def _connect(self, what: str) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise VoteError(f"The table of votes cannot be {what}: {reason}.") from None


def open_votes(settings: Settings) -> VoteBook:
    """The votes of a process: in the database that the settings name, else in the data folder.

    Raises:
        VoteError: the table cannot be opened.
    """
    url: str | URL = settings.database_url.get_secret_value()
    if not url:
        folder = settings.data_dir.resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VoteError(f"The folder of EASEL_DATA_DIR cannot be used: "
                            f"{(error.strerror or str(error)).lower()}.") from None
        url = URL.create("sqlite", database=str(folder / "votes.sqlite"))
    return VoteBook(url)


def _engine(url: str | URL) -> Engine:
    sqlite = str(url).startswith("sqlite")
    return create_engine(url, pool_pre_ping=True,
                         connect_args={"timeout": BUSY_S} if sqlite else {})


def pairs(votes: Iterable[Vote], names: Sequence[str]) -> list[np.ndarray]:
    """For each vote the wins (N, N) of row over column; a tie is half a win for both.

    Panes of one pipeline say nothing of pipelines, so their part of a vote is left out; "all are
    bad" is a tie of all.
    """
    index = {name: i for i, name in enumerate(names)}
    found = []
    for vote in votes:
        wins = np.zeros((len(names), len(names)))
        places = [index[str(pane["pipeline"])] for pane in vote.panes]
        for i, first in enumerate(places):
            for j, second in enumerate(places[:i]):
                if first == second:
                    continue
                if vote.choice in ("tie", "bad"):
                    wins[first, second] += 0.5
                    wins[second, first] += 0.5
                elif vote.choice == i:
                    wins[first, second] += 1
                elif vote.choice == j:
                    wins[second, first] += 1
        found.append(wins)
    return found


def strengths(wins: np.ndarray) -> np.ndarray:
    """Points (N,) of the Bradley-Terry model that makes these wins (N, N) most likely."""
    prior = PRIOR * (1 - np.eye(len(wins)))
    logits = choix.ilsr_pairwise_dense(wins + prior, max_iter=200, tol=1e-4)
    return MEAN_POINTS + POINTS_PER_DECADE / np.log(10) * (logits - logits.mean())


def leaderboard(votes: Sequence[Vote], bootstraps: int = BOOTSTRAPS, seed: int = 0,
                ) -> list[Standing]:
    """Pipelines by how often people chose them.

    Args:
        votes: all that count.
        bootstraps: how often the votes are drawn again, with replacement, for the intervals.
        seed: of that drawing.

    Returns:
        The strongest first; empty where no vote is between two pipelines.
    """
    names = sorted({str(pane["pipeline"]) for vote in votes for pane in vote.panes})
    found = [wins for wins in pairs(votes, names) if wins.any()]
    if not found:
        return []
    stacked = np.stack(found)
    points = strengths(stacked.sum(0))
    random = np.random.default_rng(seed)
    drawn = np.stack([strengths(stacked[random.integers(len(found), size=len(found))].sum(0))
                      for _ in range(bootstraps)])
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    total = stacked.sum(0)
    return sorted((Standing(name, float(points[i]), float(low[i]), float(high[i]),
                            int((stacked[:, i].sum(-1) + stacked[:, :, i].sum(-1) > 0).sum()),
                            float(total[i].sum()))
                   for i, name in enumerate(names) if (total[i] + total[:, i]).any()),
                  key=lambda standing: -standing.points)


def clip_agreement(votes: Iterable[Vote]) -> tuple[int, int]:
    """How many votes for a pane CLIP's scores agree with, and how many there are."""
    judged = [vote for vote in votes if isinstance(vote.choice, int)
              and vote.clip_choice() is not None]
    return sum(vote.clip_choice() == vote.choice for vote in judged), len(judged)

"""Votes on comparisons: kept in a table, counted once, and turned into a leaderboard.

Source: Bradley and Terry, "Rank Analysis of Incomplete Block Designs" (1952), section 2, for the
strengths; Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion" (2001), section
4.1.2 (Jeffreys' prior), for what a number of votes between two leaves open.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from easel.compare.prompt_kinds import kind_of
from easel.history.database import Database
from easel.history.tables import CastVote
from pipelines.core.errors import EaselError
from pipelines.models.checkpoints.ids import RANKER

logger = logging.getLogger(__name__)
BUSY_S = 10.0
VOTED = "This comparison was voted on already; a vote counts once."
DRAWS = 200
MAX_NAMES = 32  # pipelines of a leaderboard: it takes time by their number to the third power
MIN_PAIR_VOTES = 10  # between two pipelines, before either has a rank
JEFFREYS = 0.5
# A few imagined even votes between all: nobody who always won is infinitely strong.
PRIOR = 0.1
POINTS_PER_DECADE, MEAN_POINTS = 400.0, 1000.0

# Where votes were until they came into the history's database, and what is left of that file.
OLD_FILE, OLD_TABLE, MOVED = "votes.sqlite", "easel_votes", "votes.sqlite.moved"


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
        """The kind of the prompt; see ``easel.compare.prompt_kinds``."""
        return kind_of(self.prompt)

    def clip_choice(self) -> int | None:
        """The pane that CLIP's scores would choose; None where not all have one, by one CLIP."""
        scores = [pane.get("clip") for pane in self.panes]
        rankers = {str((pane.get("options") or {}).get("ranker", RANKER)) for pane in self.panes}
        if any(score is None for score in scores) or len(rankers) > 1:
            return None
        return int(np.argmax(np.array(scores, dtype=float)))


@dataclass(frozen=True)
class Standing:
    """A pipeline's place: points (400 are odds of ten to one), their 95 % interval, votes.

    Attributes:
        settled: whether there are ``MIN_PAIR_VOTES`` between it and another one; else points and
            interval say too little to be shown.
    """

    name: str
    points: float
    low: float
    high: float
    votes: int
    wins: float
    settled: bool = True


class VoteStore:
    """The votes of all visitors.

    Args:
        database: the history's; None for one that ends with this object.

    Raises:
        HistoryError: the database cannot be opened.
    """

    def __init__(self, database: Database | None = None) -> None:
        self._folder = None
        if database is None:
            self._folder = tempfile.TemporaryDirectory(prefix="easel-votes-",
                                                       ignore_cleanup_errors=True)
            database = Database(f"sqlite:///{Path(self._folder.name) / 'votes.sqlite'}")
        self._database = database

    def cast(self, vote: Vote) -> None:
        """Count a vote.

        Raises:
            VoteError: it was counted before, or the choice is not one of the panes.
            HistoryError: it cannot be written.
        """
        _check_choice(vote)
        with self._database.write() as session:
            if not _add(session, vote):
                raise VoteError(VOTED)

    def check(self, vote: Vote) -> None:
        """Refuse a vote as ``cast`` does, but count none.

        Raises:
            VoteError: one on the same was counted before, or the choice is not one of the panes.
            HistoryError: the database cannot be read.
        """
        _check_choice(vote)
        with self._database.read() as session:
            if session.get(CastVote, vote.comparison_id) is not None:
                raise VoteError(VOTED)

    def votes(self, kind: str | None = None, blind: bool | None = True) -> list[Vote]:
        """Votes in the order of their casting.

        Args:
            kind: only of prompts of this kind.
            blind: only blind votes, only open ones, or all where None.

        Raises:
            HistoryError: the database cannot be read.
        """
        query = select(CastVote).order_by(CastVote.cast_s, CastVote.comparison_id)
        if kind is not None:
            query = query.where(CastVote.kind == kind)
        if blind is not None:
            query = query.where(CastVote.blind.is_(blind))
        with self._database.read() as session:
            return [Vote(row.comparison_id, row.prompt, tuple(row.panes),
                         int(row.choice) if row.choice.isdigit() else row.choice,
                         row.blind, row.voter, row.cast_s) for row in session.scalars(query)]

    def take_over(self, folder: Path) -> int:
        """Move the votes of an older Easel here, once; returns how many there were.

        Args:
            folder: the data folder, which may hold the file that they were in.

        Raises:
            HistoryError: they cannot be written.
            VoteError: the older file cannot be read.
        """
        old = folder / OLD_FILE
        if not old.is_file():
            return 0
        try:
            with closing(sqlite3.connect(old, timeout=BUSY_S)) as connection:
                connection.row_factory = sqlite3.Row
                tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?",
                                            (OLD_TABLE,)).fetchall()
                rows = connection.execute(f"SELECT * FROM {OLD_TABLE}").fetchall() if tables else []
            votes = [_older(row) for row in rows]
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise VoteError("The votes of an older Easel in {} cannot be read ({}): move the file "
                            "away to go on without them.", OLD_FILE,
                            str(error).splitlines()[0]) from None
        with self._database.write() as session:
            for vote in votes:
                _add(session, vote)
        # Only once they are here for certain; a start that was killed before this does it again.
        try:
            old.replace(folder / MOVED)
        except OSError as error:
            logger.warning("%s was taken over but cannot be renamed: %s.", OLD_FILE, error)
        return len(votes)

    def close(self) -> None:
        """Give back a database of its own."""
        if self._folder is not None:
            self._database.close()
            self._folder.cleanup()


def _check_choice(vote: Vote) -> None:
    places = range(len(vote.panes))
    if vote.choice not in (*places, "tie", "bad") or isinstance(vote.choice, bool):
        raise VoteError("A vote names one of the panes, a tie, or that all are bad.")


def _add(session: Session, vote: Vote) -> bool:
    """Add a vote unless it is there already; returns whether it was added."""
    values = {"comparison_id": vote.comparison_id, "cast_s": vote.cast_s or time.time(),
              "voter": vote.voter, "prompt": vote.prompt, "kind": vote.kind,
              "blind": vote.blind, "choice": str(vote.choice),
              "panes": [dict(pane) for pane in vote.panes]}
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
    added = session.execute(insert(CastVote).values(values).on_conflict_do_nothing().returning(
        CastVote.comparison_id))
    return added.first() is not None


def _older(row: sqlite3.Row) -> Vote:
    """A row of the older table."""
    choice = str(row["choice"])
    return Vote(row["comparison_id"], row["prompt"], tuple(json.loads(row["panes"])),
                int(choice) if choice.isdigit() else choice, bool(row["blind"]), row["voter"],
                float(row["cast_s"]))


def pairs(votes: Iterable[Vote], names: Sequence[str]) -> Iterator[np.ndarray]:
    """For each vote the wins (N, N) of row over column; a tie is half a win for both.

    Panes of one pipeline say nothing of pipelines, so their part of a vote is left out, as is that
    of a pipeline without a name here; "all are bad" is a tie of all.
    """
    index = {name: i for i, name in enumerate(names)}
    for vote in votes:
        wins = np.zeros((len(names), len(names)))
        places = [index.get(str(pane["pipeline"])) for pane in vote.panes]
        for i, first in enumerate(places):
            for j, second in enumerate(places[:i]):
                if first == second or first is None or second is None:
                    continue
                if vote.choice in ("tie", "bad"):
                    wins[first, second] += 0.5
                    wins[second, first] += 0.5
                elif vote.choice == i:
                    wins[first, second] += 1
                elif vote.choice == j:
                    wins[second, first] += 1
        yield wins


def strengths(wins: np.ndarray) -> np.ndarray:
    """Points (N,) of the Bradley-Terry model that makes these wins (N, N) most likely."""
    import choix  # brings scipy's statistics: a second, for a leaderboard alone

    prior = PRIOR * (1 - np.eye(len(wins)))
    logits = choix.ilsr_pairwise_dense(wins + prior, max_iter=200, tol=1e-4)
    return MEAN_POINTS + POINTS_PER_DECADE / np.log(10) * (logits - logits.mean())


def leaderboard(votes: Sequence[Vote], draws: int = DRAWS, seed: int = 0) -> list[Standing]:
    """Pipelines by how often people chose them.

    The interval says what so few votes leave open: the share of wins between any two is drawn from
    what it may be after their votes, which is wide also where one of them won them all.

    Args:
        votes: all that count.
        draws: how often, for the intervals.
        seed: of that drawing.

    Returns:
        Those with enough votes first, the strongest of them first; empty where no vote is between
        two pipelines. Of more than ``MAX_NAMES``, which other Easels or later ones may have left in
        the table, those with most votes.
    """
    named = Counter(str(pane["pipeline"]) for vote in votes for pane in vote.panes)
    names = sorted(sorted(named, key=lambda name: (-named[name], name))[:MAX_NAMES])
    total, taken = np.zeros((len(names), len(names))), np.zeros(len(names), int)
    for wins in pairs(votes, names):
        total += wins
        taken += (wins + wins.T).any(1)
    if not total.any():
        return []
    between = total + total.T
    points = strengths(_wins(between, (total + JEFFREYS) / (between + 2 * JEFFREYS)))
    random = np.random.default_rng(seed)
    drawn = np.stack([strengths(_wins(between, random.beta(total + JEFFREYS, total.T + JEFFREYS)))
                      for _ in range(draws)])
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    return sorted((Standing(name, float(points[i]), float(low[i]), float(high[i]),
                            int(taken[i]), float(total[i].sum()),
                            bool(between[i].max() >= MIN_PAIR_VOTES))
                   for i, name in enumerate(names) if between[i].any()),
                  key=lambda standing: (not standing.settled, -standing.points))


def _wins(between: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Wins (N, N) of row over column, out of votes between them (N, N) and shares of the upper
    triangle."""
    upper = np.triu(shares, 1)
    return between * (upper + np.tril(1 - upper.T, -1))


def clip_agreement(votes: Iterable[Vote]) -> tuple[int, int]:
    """How many votes for a pane CLIP's scores agree with, and how many there are."""
    judged = [vote for vote in votes if isinstance(vote.choice, int)
              and vote.clip_choice() is not None]
    return sum(vote.clip_choice() == vote.choice for vote in judged), len(judged)

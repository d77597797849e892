"""Votes: counted once, kept, and turned into strengths that say how sure they are."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easel.compare.prompt_kinds import KINDS, kind_of
from easel.compare.votes import (
    MAX_NAMES,
    Vote,
    VoteError,
    VoteStore,
    clip_agreement,
    leaderboard,
    pairs,
    strengths,
)
from easel.history.database import Database
from easel.history.records import HistoryError

OLD_TABLE = """CREATE TABLE easel_votes (
    comparison_id VARCHAR(64) NOT NULL, cast_s FLOAT NOT NULL, voter VARCHAR(128) NOT NULL,
    prompt TEXT NOT NULL, kind VARCHAR(32) NOT NULL, blind BOOLEAN NOT NULL,
    choice VARCHAR(8) NOT NULL, panes TEXT NOT NULL, PRIMARY KEY (comparison_id))"""


def vote(number: int, choice: int | str, *names: str, prompt: str = "a pizza",
         scores: tuple[float | None, ...] = ()) -> Vote:
    filled = scores or tuple(0.5 - i / 10 for i in range(len(names)))
    return Vote(f"c{number}", prompt, tuple({"pipeline": n, "clip": s}
                                            for n, s in zip(names, filled, strict=True)), choice)


def test_a_vote_counts_once_however_often_it_is_cast(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'history.sqlite'}"
    database, other = Database(url), Database(url)  # two servers on one database
    books = [VoteStore(database), VoteStore(other)]
    together, refused = threading.Barrier(8), []

    def cast(number: int) -> None:
        together.wait()
        try:
            books[number % 2].cast(vote(1, 0, "a", "b"))
        except VoteError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=cast, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert refused == ["This comparison was voted on already; a vote counts once."] * 7
    assert [v.choice for v in books[1].votes()] == [0]
    database.close()
    other.close()


def test_votes_come_back_as_they_were_cast() -> None:
    book = VoteStore()
    cast = [vote(1, 1, "a", "b", prompt="two cats", scores=(0.25, None)),
            vote(2, "tie", "a", "b", "c", prompt='<script>"'), vote(3, "bad", "a", "b")]
    for each in cast:
        book.cast(each)
    found = book.votes()
    assert [(v.comparison_id, v.prompt, v.panes, v.choice) for v in found] == [
        (v.comparison_id, v.prompt, v.panes, v.choice) for v in cast]
    assert [v.comparison_id for v in book.votes("counts")] == ["c1"]
    assert book.votes(blind=False) == []


@pytest.mark.parametrize("choice", [2, -1, "left", True, 1.5, None])
def test_a_choice_that_is_none_is_refused(choice: object) -> None:
    book = VoteStore()
    with pytest.raises(VoteError, match="names one of the panes"):
        book.cast(vote(1, choice, "a", "b"))  # type: ignore[arg-type]
    assert book.votes() == []


def test_a_locked_database_is_waited_for_and_then_told(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    patient = Database(f"sqlite:///{path}")
    hasty = Database(f"sqlite:///{path}", busy_timeout_s=0.1)
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(HistoryError, match="in use by another program: try again"):
        VoteStore(hasty).cast(vote(1, 0, "a", "b"))
    assert VoteStore(hasty).votes() == [], "reads go on"
    threading.Timer(0.5, other.rollback).start()
    VoteStore(patient).cast(vote(1, 0, "a", "b"))
    assert len(VoteStore(hasty).votes()) == 1
    patient.close()
    hasty.close()


def older_file(folder: Path, votes: Sequence[Vote]) -> None:
    """The file that votes were in until revision 0003, as that code wrote it."""
    with closing(sqlite3.connect(folder / "votes.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(OLD_TABLE)
        connection.executemany("INSERT INTO easel_votes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [
            (v.comparison_id, 5.5 + i, "anna", v.prompt, v.kind, v.blind, str(v.choice),
             json.dumps(v.panes)) for i, v in enumerate(votes)])
        connection.commit()


def test_votes_of_an_older_easel_are_carried_over_once(tmp_path: Path) -> None:
    cast = [vote(1, 1, "a", "b", scores=(0.2, None)), vote(2, "tie", "a", "b"),
            vote(3, "bad", "b", "c", prompt="two cats")]
    older_file(tmp_path, cast)
    database = Database(f"sqlite:///{tmp_path / 'history.sqlite'}")
    book = VoteStore(database)
    book.cast(cast[0])  # a start that was killed after the first one
    assert book.take_over(tmp_path) == 3
    found = {v.comparison_id: v for v in book.votes()}
    assert {n: (v.choice, v.panes, v.prompt) for n, v in found.items()} == {
        v.comparison_id: (v.choice, v.panes, v.prompt) for v in cast}
    assert found["c3"].voter == "anna"
    assert found["c3"].cast_s == 7.5
    assert book.take_over(tmp_path) == 0
    assert not (tmp_path / "votes.sqlite").exists()
    with pytest.raises(VoteError, match="voted on already"):
        book.cast(vote(2, 0, "a", "b"))
    database.close()


def test_an_older_file_that_is_damaged_stays_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "votes.sqlite").write_bytes(b"not a database at all" * 100)
    book = VoteStore()
    with pytest.raises(VoteError, match=r"^The votes of an older Easel in votes.sqlite .*\.$"):
        book.take_over(tmp_path)
    assert (tmp_path / "votes.sqlite").is_file()
    book.close()


def test_strengths_are_those_of_the_model() -> None:
    """Wins in the very shares that known strengths predict give these strengths back."""
    known = np.array([0.0, 120.0, -200.0])
    odds = 10 ** ((known[:, None] - known[None]) / 400)
    wins = 10_000 * odds / (1 + odds) * (1 - np.eye(3))
    found = strengths(wins)
    assert found - found.mean() == pytest.approx(known - known.mean(), abs=0.5)


def test_the_better_one_leads_and_more_votes_say_so_more_surely() -> None:
    draw = random.Random(0)

    def cast(count: int) -> list[Vote]:
        return [vote(i, 0 if draw.random() < 0.8 else 1, "good", "poor") for i in range(count)]

    few, many = leaderboard(cast(12)), leaderboard(cast(400))
    assert [s.name for s in many] == ["good", "poor"]
    for standing in few + many:
        assert standing.low <= standing.points <= standing.high
    assert many[0].high - many[0].low < few[0].high - few[0].low
    assert many[0].low > many[1].high
    assert many[0].votes == 400


def test_few_votes_give_no_rank_and_a_clean_sweep_no_certainty() -> None:
    sweep = [vote(i, 0, "good", "poor") for i in range(10)]
    assert [s.settled for s in leaderboard(sweep[:9])] == [False, False]
    good, poor = leaderboard(sweep)
    assert good.settled
    assert poor.settled
    assert good.high - good.low > 200, "ten wins of ten leave much open"
    assert good.low > 1000 > poor.high
    third = [*sweep, vote(99, 1, "good", "new")]
    assert [(s.name, s.settled) for s in leaderboard(third)][-1] == ("new", False)


def test_ties_and_panes_of_one_pipeline() -> None:
    names = ["a", "b"]
    (tied,) = pairs([vote(1, "tie", "a", "b")], names)
    assert tied.tolist() == [[0, 0.5], [0.5, 0]]
    (same,) = pairs([vote(1, 0, "a", "a")], names)
    assert not same.any()
    (three,) = pairs([vote(1, 2, "a", "b", "a")], names)
    assert three.tolist() == [[0, 1], [0, 0]]
    assert leaderboard([vote(1, 0, "a", "a")]) == []
    even = leaderboard([vote(1, "tie", "a", "b"), vote(2, "bad", "a", "b")])
    assert [s.points for s in even] == pytest.approx([1000, 1000])


def test_names_that_were_made_up_cost_no_more_than_those_that_lead() -> None:
    real = [vote(i, i % 2, "a", "b") for i in range(30)]
    made_up = [vote(100 + i, 0, f"x{i}", f"y{i}") for i in range(400)]
    found = leaderboard([*made_up, *real], draws=3)
    assert len(found) <= MAX_NAMES
    assert [(s.name, s.votes) for s in found[:2]] == [
        (s.name, s.votes) for s in leaderboard(real, draws=3)]
    (cut,) = pairs([vote(1, 0, "a", "nobody", "b")], ["a", "b"])
    assert cut.tolist() == [[0, 1], [0, 0]], "what has no name here is left out of a vote"


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([0, 1, "tie", "bad"]), min_size=1, max_size=12))
def test_points_are_finite_and_even_on_average(choices: list[int | str]) -> None:
    found = leaderboard([vote(i, c, "a", "b") for i, c in enumerate(choices)], draws=5)
    assert np.isfinite([[s.points, s.low, s.high] for s in found]).all()
    assert np.mean([s.points for s in found]) == pytest.approx(1000, abs=0.1)


def test_how_often_clip_agrees() -> None:
    votes = [vote(1, 0, "a", "b"), vote(2, 1, "a", "b"), vote(3, "tie", "a", "b"),
             vote(4, 1, "a", "b", scores=(0.5, None))]
    assert clip_agreement(votes) == (1, 2)
    panes = tuple({**pane, "options": {"ranker": name}}
                  for pane, name in zip(votes[0].panes, ("one", "other"), strict=True))
    assert clip_agreement([replace(votes[0], panes=panes)]) == (0, 0), "no scores of one CLIP"


@pytest.mark.parametrize(("prompt", "kind"), [
    ("two dogs", "counts"), ("a red apple", "colours"), ("a pizza", "objects"),
    ("a cat left of a bus", "relations"), ("a fox in the snow", "places"),
    ("a watercolor painting of a rose", "media"), ("a firefighter", "people"),
    ("a mandolin", "objects"), ("Three red apples", "counts"),
])
def test_kinds_of_prompts(prompt: str, kind: str) -> None:
    assert kind_of(prompt) == kind
    assert kind in KINDS

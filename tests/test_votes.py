"""Votes: counted once, kept, and turned into strengths that say how sure they are."""

from __future__ import annotations

import random
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compare.kinds import KINDS, kind_of
from compare.votes import (
    Vote,
    VoteBook,
    VoteError,
    clip_agreement,
    leaderboard,
    pairs,
    strengths,
)


def vote(number: int, choice: int | str, *names: str, prompt: str = "a pizza",
         scores: tuple[float | None, ...] = ()) -> Vote:
    filled = scores or tuple(0.5 - i / 10 for i in range(len(names)))
    return Vote(f"c{number}", prompt, tuple({"pipeline": n, "clip": s}
                                            for n, s in zip(names, filled, strict=True)), choice)


def test_a_vote_counts_once_however_often_it_is_cast(tmp_path: Path) -> None:
    book = VoteBook(f"sqlite:///{tmp_path / 'votes.sqlite'}")
    together, refused = threading.Barrier(8), []

    def cast() -> None:
        together.wait()
        try:
            book.cast(vote(1, 0, "a", "b"))
        except VoteError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=cast) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert refused == ["This comparison was voted on already; a vote counts once."] * 7
    assert len(book.votes()) == 1
    book.close()
    again = VoteBook(f"sqlite:///{tmp_path / 'votes.sqlite'}")
    assert [v.choice for v in again.votes()] == [0]
    again.close()


def test_votes_come_back_as_they_were_cast() -> None:
    book = VoteBook()
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
    book = VoteBook()
    with pytest.raises(VoteError, match="names one of the panes"):
        book.cast(vote(1, choice, "a", "b"))  # type: ignore[arg-type]
    assert book.votes() == []


def test_a_locked_table_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "votes.sqlite"
    book = VoteBook(f"sqlite:///{path}")
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, other.rollback).start()
    book.cast(vote(1, 0, "a", "b"))
    assert len(book.votes()) == 1
    book.close()


def test_a_file_that_is_no_table_is_said(tmp_path: Path) -> None:
    (tmp_path / "votes.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(VoteError, match=r"^The table of votes cannot be opened: .*\.$"):
        VoteBook(f"sqlite:///{tmp_path / 'votes.sqlite'}")


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


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([0, 1, "tie", "bad"]), min_size=1, max_size=12))
def test_points_are_finite_and_even_on_average(choices: list[int | str]) -> None:
    found = leaderboard([vote(i, c, "a", "b") for i, c in enumerate(choices)], bootstraps=5)
    assert np.isfinite([[s.points, s.low, s.high] for s in found]).all()
    assert np.mean([s.points for s in found]) == pytest.approx(1000, abs=0.1)


def test_how_often_clip_agrees() -> None:
    votes = [vote(1, 0, "a", "b"), vote(2, 1, "a", "b"), vote(3, "tie", "a", "b"),
             vote(4, 1, "a", "b", scores=(0.5, None))]
    assert clip_agreement(votes) == (1, 2)


@pytest.mark.parametrize(("prompt", "kind"), [
    ("two dogs", "counts"), ("a red apple", "colours"), ("a pizza", "objects"),
    ("a cat left of a bus", "relations"), ("a fox in the snow", "places"),
    ("a watercolor painting of a rose", "media"), ("a firefighter", "people"),
    ("a mandolin", "objects"), ("Three red apples", "counts"),
])
def test_kinds_of_prompts(prompt: str, kind: str) -> None:
    assert kind_of(prompt) == kind
    assert kind in KINDS

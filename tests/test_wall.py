"""The wall of a class: one picture of each run, votes, what is hidden, and what a filter holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easel.history.records import HistoryError, NewPicture
from easel.history.store import History
from easel.serving.backend import LocalBackend
from easel.settings import Settings
from easel.wall import ballots
from easel.wall.filter import DEFAULT, FILE, Labels, LabelStore, WallFilter, is_public
from easel.wall.wall import MAX_PINNED, Wall
from pipelines.core.errors import Busy, EaselError, InvalidRequest
from pipelines.core.metadata import encode_png
from pipelines.engine import build_cache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.registry import Registry
from tests import postgres
from tests.conftest import missing_models
from tests.kept import drawn, new_picture, opened


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with opened(tmp_path / "data") as made:
        yield made


def shown(wall: Wall, visitor: str = "x", **how: Any) -> list[str]:
    return [picture.prompt for picture in wall.pictures(visitor, **how)]


def test_it_shows_the_best_of_each_run_from_now_on(history: History) -> None:
    drawn(history, "before", 1)
    wall = Wall(history)
    history.add("me", [new_picture("best", 2, job_id="a"), new_picture("second", 3, job_id="a")])
    drawn(history, "another", 4)
    assert shown(wall) == ["another", "best"]
    # A run that brings its pictures in parts, of which the second is better, and one that is not.
    drawn(history, "part", 10, job_id="b")
    drawn(history, "better part", 30, job_id="b")
    drawn(history, "worse part", 20, job_id="b")
    assert shown(wall) == ["better part", "another", "best"]
    again = new_picture("best", 2, job_id="a")
    [kept] = history.add("me", [NewPicture(again.data, again.facts, id="a" * 32)])
    history.add("me", [NewPicture(again.data, again.facts, id=kept.id)])
    assert shown(wall).count("best") == 1, "what is kept a second time is shown once"


def test_what_its_owner_deletes_or_takes_down_is_gone(history: History) -> None:
    wall = Wall(history)
    one, two = drawn(history, "one", 1), drawn(history, "two", 2)
    assert wall.find(one.id).sha256 == one.sha256
    history.delete("me", [one.id])
    with pytest.raises(InvalidRequest, match="Only your own"):
        wall.take_down(two.id, "somebody")
    wall.take_down(two.id, "me")
    assert shown(wall) == []
    for picture in (one, two):
        with pytest.raises(HistoryError, match="not on the wall"):
            wall.find(picture.id)
    history.restore("me", [one.id])
    assert shown(wall) == ["one"]
    assert history.get("me", two.id), "it stays in the history"
    history.delete("me", [one.id])
    history.purge("me")
    assert shown(wall, leads=True) == []


def test_a_vote_counts_once_and_hands_count_as_they_are_raised(history: History) -> None:
    wall = Wall(history)
    one, _ = drawn(history, "one", 1), drawn(history, "two", 2)
    for visitor in ("a", "b", "a"):
        wall.vote(one.id, visitor)
    wall.raise_hand(one.id, 1)
    wall.raise_hand(one.id, 1)
    wall.raise_hand(one.id, -1)
    picture = wall.pictures("a", order="votes")[0]
    assert (picture.prompt, picture.votes, picture.voted) == ("one", 3, True)
    assert wall.pictures("c", order="votes")[0].voted is False
    assert shown(wall) == ["two", "one"]
    wall.vote(one.id, "a", on=False)
    wall.vote(one.id, "a", on=False)
    assert wall.pictures("a")[1].votes == 2
    for _ in range(5):
        wall.raise_hand(one.id, -1)
    assert wall.pictures("a")[1].votes == 1, "no hand is raised less than not at all"
    with pytest.raises(HistoryError, match="not on the wall"):
        wall.vote("f" * 32, "a")
    # A run's next part does not take the place of what was voted for.
    drawn(history, "one, better", 90, job_id="job1")
    assert "one" in shown(wall)


def test_what_is_hidden_is_the_leaders_alone_and_what_is_pinned_comes_first(history: History,
                                                                           ) -> None:
    wall = Wall(history)
    pictures = [drawn(history, str(seed), seed) for seed in range(1, 5)]
    wall.pin(pictures[1].id)
    wall.hide(pictures[3].id)
    assert shown(wall) == ["2", "3", "1"]
    assert shown(wall, leads=True) == ["2", "4", "3", "1"]
    with pytest.raises(HistoryError):
        wall.find(pictures[3].id)
    with pytest.raises(HistoryError):
        wall.vote(pictures[3].id, "a")
    assert wall.find(pictures[3].id, leads=True)
    wall.hide(pictures[1].id)
    wall.show(pictures[3].id)
    assert shown(wall) == ["4", "3", "1"]
    wall.pin(pictures[0].id)
    wall.unpin(pictures[0].id)
    assert shown(wall, most=2) == ["4", "3"]
    for seed in range(10, 10 + MAX_PINNED):
        wall.pin(drawn(history, str(seed), seed).id)
    with pytest.raises(InvalidRequest, match="12 pictures are pinned"):
        wall.pin(pictures[0].id)
    assert wall.clear() == 4 + MAX_PINNED
    assert shown(wall, leads=True) == []


@pytest.mark.skipif(bool(postgres.why_not()), reason=postgres.why_not())
def test_it_is_the_same_on_postgresql(tmp_path: Path) -> None:
    with postgres.server() as url, opened(tmp_path / "data", url=url) as history:
        wall = Wall(history)
        one = drawn(history, "one", 1)
        drawn(history, "one again", 50, job_id="job1")
        two = drawn(history, "two", 2)
        wall.vote(two.id, "a")
        wall.vote(two.id, "a")
        wall.raise_hand(two.id, 1)
        assert [(p.prompt, p.votes) for p in wall.pictures("a", order="votes")] == [
            ("two", 2), ("one again", 0)]
        with pytest.raises(HistoryError):
            wall.find(one.id)
        wall.hide(two.id)
        assert shown(wall) == ["one again"]
        history.delete("me", [two.id])
        history.purge("me")
        assert wall.clear() == 1


# The filter ---------------------------------------------------------------------------------

def test_labels_are_checked_kept_and_read(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "data" / FILE)
    assert store.read() == DEFAULT
    store.write(Labels.checked([" a  gun", "blood", "A gun"], ['a "toy"', "", "café"]))
    assert store.read() == Labels(("a gun", "blood"), ('a "toy"', "café"))
    for held, fine in (([], ["a"]), (["a"], []), (["a"], ["A"]), (["x" * 201], ["a"])):
        with pytest.raises(InvalidRequest):
            Labels.checked(held, fine)
    store.path.write_text("held = 3")
    assert store.read() == DEFAULT, "a damaged file lets nothing more through"


@pytest.mark.skipif(bool(missing_models("clip-ranker")), reason="the ranker is not installed")
def test_a_public_models_pictures_wait_until_a_clip_has_looked(history: History, tmp_path: Path,
                                                               repository: Path) -> None:
    settings = Settings(device="cpu", data_dir=tmp_path)
    cache = build_cache(settings)
    backend = LocalBackend(Registry(), cache)
    labels = LabelStore(tmp_path / FILE)
    labels.write(Labels(("a red apple next to a blue car",), ("an orange cat", "a green tree")))
    wall = Wall(history)
    found = WallFilter(wall, backend, RANKER, labels)  # looks when it is told to
    try:
        samples = {name: next((repository / "assets" / "samples").glob(f"*{name}*")).read_bytes()
                   for name in ("apple", "cat")}
        for seed, (name, model) in enumerate([("apple", "public/x"), ("cat", "public/x"),
                                              ("apple", "embedded/dalle")], 1):
            facts = new_picture(f"{name} by {model}", seed, model=model).facts
            history.add("me", [NewPicture(samples[name], facts)])
        assert [is_public(picture) for picture in wall.unseen()] == [True, True]
        assert shown(wall) == ["apple by embedded/dalle"]
        found.look()
        assert shown(wall) == ["apple by embedded/dalle", "cat by public/x"]
        [held] = [p for p in wall.pictures("x", leads=True) if p.state == "held"]
        assert (held.prompt, held.label) == ("apple by public/x", "a red apple next to a blue car")
        with pytest.raises(HistoryError):
            wall.find(held.id)
        wall.show(held.id)
        assert "apple by public/x" in shown(wall)
    finally:
        backend.close()
        cache.close()


def test_what_cannot_be_looked_at_stays_unseen(history: History, tmp_path: Path) -> None:
    cache = build_cache(Settings(device="cpu", data_dir=tmp_path))
    backend = LocalBackend(Registry(), cache)
    wall = Wall(history)
    found = WallFilter(wall, backend, "openai/clip-vit-b-32", LabelStore(tmp_path / FILE))
    try:
        drawn(history, "one", 1, model="public/x")
        with pytest.raises(EaselError):
            found.look()
        assert shown(wall) == []
        assert [picture.state for picture in wall.pictures("x", leads=True)] == ["unseen"]
    finally:
        backend.close()
        cache.close()


# Over HTTP ----------------------------------------------------------------------------------


def test_where_votes_came_from_is_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ballots, "REMEMBERED", 2)
    box = ballots.Ballots(1)
    for picture in ("a", "b", "c"):
        box.cast(picture, "one", "203.0.113.1")
    box.cast("a", "two", "203.0.113.1")
    with pytest.raises(Busy):
        box.cast("c", "two", "203.0.113.1")
    for visitor in ("one", "two"):
        box.cast("c", visitor, "")  # at this machine itself


def test_a_picture_may_lack_most_facts(history: History) -> None:
    """Those of older Easels do."""
    wall = Wall(history)
    facts = {"prompt": "bare", "pipeline": "dalle", "seed": 5}
    history.add("me", [NewPicture(encode_png(np.full((8, 8, 3), 128, np.uint8), facts), facts)])
    assert shown(wall) == ["bare"]

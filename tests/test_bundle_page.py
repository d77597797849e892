"""Comparisons on the page that are saved as bundles, opened, drawn again and voted on."""

from __future__ import annotations

import errno
import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from easel.compare.bundle import (
    make_bundle,
    read_zip,
    write_folder,
    write_zip,
)
from easel.compare.plan import plan_comparison
from easel.compare.votes import VoteError, clip_agreement
from easel.history.records import NewPicture
from easel.serving.backend import LocalBackend
from easel.ui.compare.fold import cast_vote, fold_events, start_comparison
from easel.ui.compare.render import render_outcome, render_pane
from easel.ui.compare.share import bundle_of, open_comparison, save_comparison
from easel.ui.compare.state import Comparison
from easel.ui.parts.pictures import PictureStore
from easel.ui.playground import Playground
from easel.words import strings
from pipelines.core.errors import EaselError
from pipelines.registry import Registry
from tests.kept import new_picture
from tests.kept import opened as kept
from tests.noise import linear_cache
from tests.test_bundle import bundle
from tests.test_compare import PANES, SCRIPT
from tests.test_sweeps import SKETCH
from tests.watched_sketch import WatchedSketch


@pytest.fixture(scope="module")
def playground() -> Iterator[Playground]:
    registry = Registry()
    for pipeline in (SKETCH, WatchedSketch("etching", "Etching")):
        registry.register(pipeline)
    backend = LocalBackend(registry, linear_cache())
    yield Playground(registry, backend)
    backend.close()


STORE = PictureStore(gr.HTML())


def drawn(playground: Playground, blind: bool = False) -> Comparison:
    plan = plan_comparison(playground.registry, "a cat", PANES, seed=3, budget_s=5)
    comparison = start_comparison(playground, plan, "me", blind)
    events = playground.backend.compare(plan.requests, budget_s=plan.budget_s)
    list(fold_events(comparison, events, playground, STORE, 0.0))
    return comparison


def test_a_comparison_is_saved_opened_and_drawn_again(playground: Playground) -> None:
    comparison = drawn(playground)
    cast_vote(playground, comparison, 1)
    saved = Path(save_comparison(comparison, STORE))
    assert saved.name == "comparison-a-cat.zip"
    opened = open_comparison(read_zip(saved.read_bytes()), playground, STORE, "you")
    assert opened.choice == 1
    assert opened.plan == comparison.plan
    for ours, theirs in zip(opened.panes, comparison.panes, strict=True):
        assert [c.clip_score for c in ours.panel.cards] == [
            c.clip_score for c in theirs.panel.cards]
        assert [c.path.read_bytes() for c in ours.panel.cards] == [
            c.path.read_bytes() for c in theirs.panel.cards]
        assert ours.usage == theirs.usage
    again = bundle_of(opened)
    assert again.files == bundle_of(comparison).files
    replayed = start_comparison(playground, opened.plan, "you", blind=False)
    list(fold_events(replayed, playground.backend.compare(opened.plan.requests), playground, STORE,
                     0.0))
    assert [c.clip_score for p in replayed.panes for c in p.panel.cards] == [
        c.clip_score for p in comparison.panes for c in p.panel.cards]


def test_what_cannot_be_saved_or_opened_is_said(playground: Playground) -> None:
    plan = plan_comparison(playground.registry, "a cat", PANES)
    with pytest.raises(EaselError, match="no finished comparison"):
        bundle_of(start_comparison(playground, plan, "me", blind=False))
    with pytest.raises(EaselError, match="after the vote"):
        bundle_of(drawn(playground, blind=True))


def test_a_comparison_of_what_is_not_here_can_be_looked_at(playground: Playground) -> None:
    """Its pictures and facts are there; each pane says why it cannot be drawn again."""
    gone = {"pipeline": "nobody", "title": "No Body", "num_images": 1, "seed": 5,
            "options": {"model_dump": 1, "a b": [None]},
            "pictures": [{"seed": 5, "scores": {"clip": 0.25}}]}
    other = {**gone, "pipeline": "sketch", "title": "Sketch", "options": {"blur": SCRIPT}}
    data = write_zip(bundle(panes=[gone, other]))
    opened = open_comparison(read_zip(data), playground, STORE, "me")
    assert [pane.panel.title for pane in opened.panes] == ["No Body", "Sketch"]
    assert "cannot be drawn again here: There is no generator" in opened.panes[0].notice
    assert "cannot be drawn again here: Blur must be" in opened.panes[1].notice
    assert [len(pane.panel.cards) for pane in opened.panes] == [1, 1]
    for place in (0, 1):
        assert "cannot be drawn again here" in render_pane(opened, place)
    again = bundle_of(opened)
    assert again.files == read_zip(data).files
    assert [pane.options for pane in again.facts.panes] == [gone["options"], other["options"]]


def test_nobody_votes_for_a_generator_that_is_not_here(playground: Playground) -> None:
    """Anybody can write a file that names any, and each name costs the leaderboard time."""
    pane = {"pipeline": "sketch", "title": "Sketch", "num_images": 1, "seed": 5,
            "pictures": [{"seed": 5, "scores": {"clip": 0.25}}]}
    before = len(playground.votes.votes(blind=None))
    for blind in (False, True):
        data = write_zip(bundle(panes=[{**pane, "pipeline": "made up"}, pane], vote=None,
                                blind=blind))
        opened = open_comparison(read_zip(data), playground, STORE, "me")
        assert not opened.can_be_voted_on()
        with pytest.raises(VoteError, match="counts for generators that Easel knows"):
            cast_vote(playground, opened, 0)
    assert len(playground.votes.votes(blind=None)) == before
    shipped = bundle(panes=[{**pane, "pipeline": "kandinsky"}, pane], vote=None)
    assert "kandinsky" not in playground.registry.names()
    assert open_comparison(shipped, playground, STORE, "me").can_be_voted_on()


def test_what_a_comparison_keeps_in_memory_are_no_pictures(playground: Playground) -> None:
    comparison = drawn(playground)
    data = pickle.dumps([(pane.facts, pane.panel, pane.request) for pane in comparison.panes])
    pixels = sum(card.size_px[0] * card.size_px[1] * 3 for card in comparison.cards()
                 if card.size_px)
    assert len(data) < pixels
    assert comparison.size_bytes() < pixels + 2**15


def test_a_full_disk_is_told_and_leaves_nothing_half_written(
        playground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = drawn(playground)
    data = write_zip(bundle_of(comparison))

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fdopen(descriptor: int, mode: str) -> Full:
        os.close(descriptor)
        return Full()

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", fdopen)
        for act in (lambda: save_comparison(comparison, STORE),
                    lambda: open_comparison(read_zip(data), playground, STORE, "me"),
                    lambda: write_folder(bundle_of(comparison), tmp_path / "folder")):
            with pytest.raises(EaselError, match=r"could not be written.*: no space left on "
                                                 r"device\.$"):
                act()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert read_zip(Path(save_comparison(comparison, STORE)).read_bytes()).facts.prompt == "a cat"


def test_two_votes_on_the_same_pictures_count_once(playground: Playground) -> None:
    comparison = drawn(playground)
    data = write_zip(bundle_of(comparison))
    cast_vote(playground, comparison, 0)
    before = len(playground.votes.votes(blind=None))
    with pytest.raises(VoteError, match="voted on already"):
        cast_vote(playground, comparison, 1)
    for _ in range(2):  # saved before the vote, and opened by somebody else
        with pytest.raises(VoteError, match="voted on already"):
            cast_vote(playground, open_comparison(read_zip(data), playground, STORE, "you"), 1)
    assert len(playground.votes.votes(blind=None)) == before


def test_a_vote_on_a_zip_counts_where_the_history_knows_its_pictures(
        playground: Playground, tmp_path: Path) -> None:
    """Anybody can write a file with pictures, names, prompt and scores of their own."""
    picture = {"seed": 5, "scores": {"clip": 0.9}}
    pane = {"pipeline": "sketch", "title": "Sketch", "num_images": 1, "seed": 5,
            "pictures": [picture]}
    facts = {"prompt": "a cat", "blind": True,
             "panes": [pane, {**pane, "pipeline": "etching", "pictures": [
                 {**picture, "scores": {"clip": 0.1}}]}]}
    mine = [new_picture("a cat", seed, "sketch") for seed in (1, 2, 3, 4)]
    others = [new_picture("a cat", seed, "etching") for seed in (5, 6, 7, 8)]
    unknown = [new_picture("a cat", seed, "etching") for seed in range(20, 32)]

    with kept(tmp_path) as history:
        here = Playground(playground.registry, playground.backend, history=history)
        history.add("me", mine)
        history.add("you", others)

        def voted(prompt: str, *pictures: NewPicture) -> Comparison:
            made = make_bundle({**facts, "prompt": prompt}, [[each.data] for each in pictures])
            opened = open_comparison(read_zip(write_zip(made)), here, STORE, "me")
            with pytest.raises(VoteError, match="names one of the panes"):
                cast_vote(here, opened, "neither")
            cast_vote(here, opened, 0)
            assert opened.choice == 0
            return opened

        for first, second, prompt in (*((mine[0], each, "a cat") for each in unknown),
                                      (others[0], mine[0], "a cat"), (mine[0], others[0], "a dog")):
            opened = voted(prompt, first, second)
            assert not opened.counted
            assert strings.VOTE_UNCOUNTED in render_outcome(opened)
        made = make_bundle({**facts, "panes": [*facts["panes"], {**pane, "pictures": []}]},
                           [[mine[0].data], [others[0].data], []])
        opened = open_comparison(made, here, STORE, "me")
        cast_vote(here, opened, 0)
        assert not opened.counted, "nothing shows that the third one drew at all"
        assert here.votes.votes(blind=None) == []
        opened = voted("a cat", mine[0], others[0])
        assert opened.counted
        assert strings.VOTE_UNCOUNTED not in render_outcome(opened)
        vote, = here.votes.votes(blind=None)
        assert not vote.blind
        assert [pane["clip"] for pane in vote.panes] == [0.01, 0.05], "as drawn, not as written"
        assert clip_agreement([vote]) == (0, 1)


def test_the_vote_of_a_zip_that_a_program_made_up_is_said_not_to_count(
        playground: Playground) -> None:
    opened = open_comparison(read_zip(write_zip(bundle(vote=None))), playground, STORE, "me")
    before = len(playground.votes.votes(blind=None))
    cast_vote(playground, opened, "tie")
    assert strings.VOTE_UNCOUNTED in render_outcome(opened)
    assert len(playground.votes.votes(blind=None)) == before

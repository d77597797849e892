"""The shelf of comparisons: each visitor's own, and bounded in number and memory."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest

from easel.compare.plan import Plan
from easel.ui.compare import state
from easel.ui.compare.state import Comparison, Pane, RecentComparisons
from easel.ui.parts.panel import Panel
from pipelines.core.errors import EaselError
from pipelines.core.request import CheckedRequest
from tests.sketch import SketchOptions


def comparison(session: str, given: bytes | None = None) -> Comparison:
    requests = tuple(CheckedRequest("sketch", "a cat", 1, seed, SketchOptions(), given)
                     for seed in (1, 2))
    return Comparison(session, Plan(requests), [
        Pane(request, Panel("sketch", "Sketch", "a cat", 1)) for request in requests], (0, 1))


def kept(shelf: RecentComparisons, made: list[Comparison]) -> list[bool]:
    found = []
    for each in made:
        try:
            found.append(shelf.get(each.id, each.session, each.session) is each)
        except EaselError:
            found.append(False)
    return found


def test_one_visitor_pushes_out_only_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_EACH", 5)
    monkeypatch.setattr(state, "MAX_KEPT", 12)
    shelf = RecentComparisons()
    anna = [comparison("anna") for _ in range(3)]
    for each in anna:
        shelf.put(each, "anna")
    bert = [comparison("bert") for _ in range(40)]
    for each in bert:
        shelf.put(each, "bert")
        assert shelf.get(each.id, "bert", "bert") is each
    assert kept(shelf, anna) == [True] * 3
    assert kept(shelf, bert) == [False] * 35 + [True] * 5
    with pytest.raises(EaselError, match="no longer there"):
        shelf.get(anna[0].id, "bert", "bert")
    for session, visitor in (("anna", "bert"), ("bert", "anna")):  # both have to be right
        with pytest.raises(EaselError, match="no longer there"):
            shelf.get(anna[0].id, session, visitor)
    # A crowd of visitors: whoever has most makes room, down to one of theirs.
    crowd = [comparison(f"visitor {number}") for number in range(9)]
    for each in crowd:
        shelf.put(each, each.session)
    assert sum(kept(shelf, [*anna, *bert, *crowd])) == 12
    assert kept(shelf, crowd) == [True] * 9
    assert sum(kept(shelf, anna)) >= 1
    assert sum(kept(shelf, bert)) >= 1


def test_what_was_given_counts_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_EACH_BYTES", 2**20)
    monkeypatch.setattr(state, "MAX_KEPT_BYTES", 2**21)
    shelf = RecentComparisons()
    anna = comparison("anna", bytes(300_000))
    shelf.put(anna, "anna")
    assert 300_000 < anna.size_bytes() < 350_000, "both panes have the same picture"
    bert = [comparison("bert", bytes([number]) * 400_000) for number in range(20)]
    for each in bert:
        shelf.put(each, "bert")
    assert kept(shelf, [anna]) == [True]
    assert kept(shelf, bert) == [False] * 18 + [True] * 2
    huge = comparison("bert", bytes(5 * 2**20))
    shelf.put(huge, "bert")
    assert kept(shelf, [huge, *bert]) == [True] + [False] * 20, "the last one stays"
    curves: Any = {"loss": [(step, 0.5) for step in range(20_000)]}
    long = comparison("cora")
    long.panes[0].panel.losses = curves
    assert long.size_bytes() > 3_000_000


def test_the_memory_of_many_comparisons_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_EACH_BYTES", 2**23)
    monkeypatch.setattr(state, "MAX_KEPT_BYTES", 2**24)
    shelf = RecentComparisons()
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(60):
            shelf.put(comparison(f"{number % 6}", np.random.bytes(2**20)), f"{number % 6}")
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 2**24 + 2**22, "sixty times a megabyte came in"

"""The prompts that the page offers: what they ask for, and that it comes."""

from __future__ import annotations

import pytest

from benchmarks.chips import asked_for, draw_chips, offered, surprises
from benchmarks.judge.files import load_judge
from benchmarks.tasks import Wanted
from easel.serving.backend import LocalBackend
from easel.settings import Settings
from pipelines.engine import build_cache
from pipelines.registry import build_registry

# Right to whoever looked at them, though not to the judge.
SEEN_RIGHT = {"a purple umbrella", "an orange cat", "a watercolor painting of a cat"}


@pytest.mark.parametrize(("text", "wanted", "relation"), [
    ("a red apple next to a blue car", (Wanted("apple", 1, "red"), Wanted("car", 1, "blue")), None),
    ("a dog right of a chair", (Wanted("dog"), Wanted("chair")), "right of"),
    ("four yellow stars", (Wanted("star", 4, "yellow"),), None),
    ("a rocket in space", (Wanted("rocket"),), None)])
def test_a_prompt_is_read_by_the_names_in_it(text: str, wanted: tuple[Wanted, ...],
                                             relation: str | None) -> None:
    found = asked_for(text)
    assert (found.wanted, found.relation) == (wanted, relation)


def test_every_offered_prompt_asks_for_something() -> None:
    assert [text for text in (*offered(), *surprises(50)) if not asked_for(text).wanted] == []


@pytest.mark.weights("dalle", "clip-ranker")
def test_what_each_chip_says_is_drawn() -> None:
    assert set(offered()) >= SEEN_RIGHT
    backend = LocalBackend(build_registry(), build_cache(Settings(device="cpu")))
    try:
        found = [drawn for drawn, _ in draw_chips(offered(), "dalle", 1, backend, load_judge())]
    finally:
        backend.close()
    assert {each.prompt for each in found if not each.best_right} <= SEEN_RIGHT


@pytest.mark.weights("dalle", "clip-ranker")
def test_most_of_what_surprises_say_is_drawn() -> None:
    """The judge sees less than who looks: of 48 that were looked at it took 36 for right, and eyes
    more."""
    backend = LocalBackend(build_registry(), build_cache(Settings(device="cpu")))
    try:
        found = [drawn for drawn, _ in draw_chips(surprises(10), "dalle", 1, backend, load_judge())]
    finally:
        backend.close()
    wrong = [each.prompt for each in found if not each.best_right]
    assert len(wrong) <= 0.4 * len(found), wrong

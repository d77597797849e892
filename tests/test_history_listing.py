"""What a search over a whole history asks of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from easel.history.build import open_history
from easel.history.listing import list_pictures, listing_state, present_ids
from easel.history.records import NewPicture
from easel.history.store import History
from easel.settings import Settings


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = open_history(Settings(data_dir=tmp_path))
    yield made
    made.close()


def keep(history: History, owner: str, *prompts: str) -> list[str]:
    pictures = [NewPicture(f"{owner}{prompt}".encode(), {"prompt": prompt, "pipeline": "dalle"})
                for prompt in prompts]
    return [picture.id for picture in history.add(owner, pictures)]


def test_the_list_is_that_of_the_history(history: History) -> None:
    one, two = keep(history, "me", "a cat", "a dog")
    keep(history, "other", "a cow")
    history.delete("me", [one])
    three, = keep(history, "me", "an owl")
    shown = history.page("me").pictures
    assert [picture.id for picture in shown] == [three, two]
    assert [tuple(listed) for listed in list_pictures(history, "me")] == [
        (p.id, p.sha256, p.size_bytes, p.created_s, p.pipeline, p.prompt) for p in shown]
    assert list_pictures(history, "nobody") == []


def test_the_state_tells_every_change_of_the_list(history: History) -> None:
    seen = [listing_state(history, "me")]

    def note() -> None:
        state = listing_state(history, "me")
        assert state == listing_state(history, "me")
        assert state not in seen
        seen.append(state)

    ids = keep(history, "me", "a", "b", "c", "d")
    note()
    history.delete("me", ids[:1] + ids[3:])
    note()
    # The other two in their place: as many, with the same newest one or the same sum.
    history.delete("me", ids[1:3])
    history.restore("me", ids[:1] + ids[3:])
    note()
    keep(history, "other", "not mine")
    history.rate("me", ids[0], 5)
    assert listing_state(history, "me") == seen[-1]


def test_ids_that_are_there(history: History) -> None:
    one, two = keep(history, "me", "a", "b")
    foreign, = keep(history, "other", "c")
    history.delete("me", [two])
    asked = [one, two, foreign, *(f"{n}" for n in range(1200))]
    assert present_ids(history, "me", asked) == {one}
    assert present_ids(history, "me", []) == set()

"""Cases 40 and 41: many sessions, and many guesses of a password."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from easel.ui.guard.sessions import MAX_SESSIONS
from tests.served import App
from tests.trust.test_pictures import resident_mb


@pytest.fixture(scope="module")
def web(app: App) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=app.url, timeout=60) as made:
        yield made


def visit(web: httpx.Client, session: str) -> None:
    body = {"data": ["history"], "session_hash": session}
    web.post("gradio_api/run/unknown_words", json=body).raise_for_status()


def test_case_40_two_thousand_sessions_take_no_more_memory_than_fifty_megabytes(
        app: App, web: httpx.Client) -> None:
    for number in range(20):
        visit(web, f"before{number}")
    before_mb = resident_mb()
    for number in range(2000):
        visit(web, f"session{number}")
    assert resident_mb() - before_mb < 50
    assert len(app.page.app.state_holder.session_data) <= MAX_SESSIONS + 1


def test_case_40_a_session_keeps_what_changed_in_it_alone(app: App, web: httpx.Client) -> None:
    """Two of them do not see each other's page numbers and the like."""
    holder = app.page.app.state_holder
    states = [key for key, block in app.page.blocks.items() if block.stateful]
    assert states
    one, other = holder["one"], holder["other"]
    one[states[0]] = "changed"
    assert one[states[0]] == "changed"
    assert other[states[0]] != "changed"
    assert one.blocks_config.blocks is not other.blocks_config.blocks

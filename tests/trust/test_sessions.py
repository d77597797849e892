"""Cases 40 and 41: many sessions, and many guesses of a password."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import httpx
import pytest

from easel.guard.sessions import MAX_SESSIONS
from easel.guard.visitors import HEADER, new_token
from easel.history.lockout import MAX_WRONG, MAX_WRONG_AT
from easel.words.strings import SHARED_IN
from tests.served import App
from tests.small_models import small_cache
from tests.trust.test_pictures import resident_mb
from tests.watched_sketch import WatchedSketch


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


@pytest.fixture(scope="module")
def guarded() -> Iterator[App]:
    """A page with a history that is shared by those who know a password."""
    app = App([WatchedSketch()], small_cache(), shared_password="right")
    yield app
    app.close()


def sign_in(app: App, address: str, visitor: str, password: str) -> str:
    """What somebody at an address of this machine is told."""
    with httpx.Client(base_url=app.url, timeout=60, headers={HEADER: visitor},
                      transport=httpx.HTTPTransport(local_address=address)) as web:
        return web.post("gradio_api/run/sign_in", json={
            "data": [password], "session_hash": "guess"}).text


@pytest.mark.skipif(sys.platform != "linux", reason="this machine has one address there")
def test_case_41_who_guesses_passwords_waits_and_nobody_else(guarded: App) -> None:
    """An address, however many visitors it is; and a visitor; not those beside them."""
    wrong = [sign_in(guarded, "127.0.0.2", new_token(), f"wrong{n}")
             for n in range(MAX_WRONG_AT + 1)]
    assert "not the password" in wrong[0]
    assert "too many wrong passwords" in wrong[-1]
    assert "too many wrong passwords" in sign_in(guarded, "127.0.0.2", new_token(), "right")
    guesser, honest = new_token(), new_token()
    for number in range(MAX_WRONG):
        assert "not the password" in sign_in(guarded, "127.0.0.3", guesser, f"wrong{number}")
    assert "too many wrong passwords" in sign_in(guarded, "127.0.0.3", guesser, "right")
    assert SHARED_IN in sign_in(guarded, "127.0.0.3", honest, "right")
    assert SHARED_IN in sign_in(guarded, "127.0.0.1", new_token(), "right")

"""Who may change models: whoever sits at the machine, everyone, or who knows the password."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from easel.guard.visitors import COOKIE, UnknownVisitor
from easel.history import lockout
from easel.ui.models.admins import ModelAdmins
from easel.ui.models.render import render_models, render_wishes
from pipelines.core.errors import InvalidRequest
from tests.test_models_tab import inventory_in

LOCAL, ELSEWHERE = "127.0.0.1", "203.0.113.9"


def request(host: str = ELSEWHERE, visitor: str = "a", **headers: str) -> Any:
    return SimpleNamespace(client=SimpleNamespace(host=host), session_hash=None,
                           headers={name.rstrip("_").replace("_", "-"): text
                                    for name, text in headers.items()},
                           cookies={COOKIE: visitor * 43} if visitor else {})


@pytest.mark.parametrize(("who", "asked", "may"), [
    ("local", request(LOCAL), True), ("local", request("::1"), True),
    ("local", request(ELSEWHERE), False), ("local", request("testclient"), False),
    ("local", request(LOCAL, host_="127.0.0.1:7860"), True),
    ("local", request(LOCAL, host_="evil.example:7860"), False),  # rebinding
    ("local", request(LOCAL, X_Forwarded_For=ELSEWHERE), False),
    ("local", request(LOCAL, forwarded="for=203.0.113.9"), False),
    ("everyone", request(ELSEWHERE), True), ("everyone", request(LOCAL, via="1.1 proxy"), True),
    ("nobody", request(LOCAL), False)])
def test_who_may(who: Any, asked: Any, may: bool) -> None:
    admins = ModelAdmins(who)
    assert admins.may(asked) is may
    if may:
        admins.check(asked)
    else:
        with pytest.raises(InvalidRequest, match="only be changed at the machine"):
            admins.check(asked)


def test_a_password_lets_its_knower_in_and_nobody_else() -> None:
    admins = ModelAdmins("nobody", "wren")
    with pytest.raises(InvalidRequest, match="enter it above"):
        admins.check(request())
    with pytest.raises(InvalidRequest, match=r"^That is not the models' password\.$"):
        admins.enter(request(), "Wren")
    admins.enter(request(), "wren")
    assert admins.may(request())
    assert not admins.may(request(visitor="b"))
    with pytest.raises(UnknownVisitor, match="cannot know you"):
        admins.enter(request(visitor=""), "wren")
    assert not admins.may(request(visitor=""))


def test_guessing_is_slow_for_who_guesses_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(lockout.time, "monotonic", lambda: now[0])
    admins = ModelAdmins("nobody", "wren")
    for n in range(lockout.MAX_WRONG):
        with pytest.raises(InvalidRequest, match="That is not"):
            admins.enter(request(), str(n))
    with pytest.raises(InvalidRequest, match="too many wrong passwords"):
        admins.enter(request(), "wren")
    admins.enter(request(visitor="b"), "wren")
    now[0] += lockout.WINDOW_S + 1
    admins.enter(request(), "wren")
    assert admins.may(request())


def test_a_guesser_who_is_many_visitors_has_one_address() -> None:
    admins, guessed = ModelAdmins("nobody", "wren"), 0
    for visitor in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP":
        with pytest.raises(InvalidRequest) as caught:
            admins.enter(request(visitor=visitor), "Wren")
        guessed += "That is not" in str(caught.value)
    assert guessed == lockout.MAX_WRONG_AT
    with pytest.raises(InvalidRequest, match="too many"):
        admins.enter(request(visitor="_"), "wren")
    admins.enter(request(visitor="_", host="203.0.113.10"), "wren")


@pytest.mark.parametrize(("host", "source"), [
    ("203.0.113.9", "203.0.113.9"), ("::ffff:203.0.113.9", "203.0.113.9"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
    ("fe80::1%eth0", "fe80::/64"), ("testclient", "testclient"), ("", "")])
def test_what_counts_as_one_address(host: str, source: str) -> None:
    assert lockout.source_of(host) == source


def test_an_empty_password_is_none() -> None:
    admins = ModelAdmins("nobody", "")
    assert not admins.has_password
    with pytest.raises(InvalidRequest):
        admins.enter(request(), "")


def test_who_may_not_sees_no_buttons(tmp_path: Path) -> None:
    inventory = inventory_in(tmp_path)
    try:
        assert 'data-act="' in render_models(inventory)
        looked = render_models(inventory, may_act=False)
        assert 'data-act="' not in looked
        assert "you may look" in render_wishes(inventory, may_act=False)
        assert 'data-act="' not in render_wishes(inventory, may_act=False)
    finally:
        inventory.close()
        inventory.cache.close()

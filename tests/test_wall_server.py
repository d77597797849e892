"""The wall of a class on the running server: who may lead, whose votes count, what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from easel.guard.visitors import HEADER, visitor_named
from easel.history import lockout
from easel.ui.wall.routes import wall_routes
from easel.wall.wall import Wall
from pipelines.core.errors import EaselError
from tests.kept import drawn
from tests.served import App

PUPIL, OTHER, TEACHER = (letter * 43 for letter in "pot")
AFAR = {"x-forwarded-for": "203.0.113.9"}  # so that nobody is at the machine itself


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App(classroom=True, models_password="wren", queue_size=9)
    yield served
    served.close()


@pytest.fixture
def people(app: App) -> Iterator[dict[str, httpx.Client]]:
    """A pupil, another one, and a teacher who knows the password, none at the machine."""
    clients = {token: httpx.Client(base_url=app.url, timeout=300, headers={HEADER: token, **AFAR})
               for token in (PUPIL, OTHER, TEACHER)}
    assert act(clients[TEACHER], "enter", password="wren").status_code == 200
    yield clients
    app.backend.unsuspend()
    for client in clients.values():
        client.close()


def act(client: httpx.Client, what: str, picture: str = "", **fields: Any) -> httpx.Response:
    return client.post("wall/act", json={"act": what, "picture": picture, **fields})


def state(client: httpx.Client, **query: str) -> dict[str, Any]:
    answer = client.get("wall/state", params=query)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def put_up(app: App, prompt: str, seed: int, token: str = PUPIL) -> str:
    return drawn(app.history, prompt, seed, visitor_named(token), job_id=f"{prompt}{seed}").id


def test_a_hidden_pictures_file_is_not_served_to_others(app: App,
                                                        people: dict[str, httpx.Client]) -> None:
    picture = put_up(app, "a secret", 1)
    files = [f"wall/{picture}/{name}" for name in ("picture", "thumbnail")]
    kept = app.history.get(visitor_named(PUPIL), picture)
    for client in people.values():
        answers = [client.get(path) for path in files]
        assert [each.status_code for each in answers] == [200, 200]
        assert hashlib.sha256(answers[0].content).hexdigest() == kept.sha256
        assert answers[0].headers["cache-control"] == "private, no-cache"
    assert act(people[TEACHER], "hide", picture).status_code == 200
    for token in (PUPIL, OTHER):
        assert [people[token].get(path).status_code for path in files] == [404, 404]
        assert picture not in people[token].get("wall/state").text
    assert [people[TEACHER].get(path).status_code for path in files] == [200, 200]
    # Nor does the history give another visitor what was on the wall.
    assert people[OTHER].get(f"history/{picture}/picture").status_code == 404


@pytest.mark.parametrize("what", ["hide", "show", "pin", "unpin", "hand", "unhand", "clear", "stop",
                                  "go", "labels"])
def test_a_pupil_cannot_lead(app: App, people: dict[str, httpx.Client], what: str) -> None:
    picture = put_up(app, f"for {what}", 2)
    before = state(people[TEACHER])
    answer = act(people[PUPIL], what, picture, held="a", fine="b")
    assert (answer.status_code, answer.json()) == (403, {
        "detail": "Only who leads the class may do that."})
    assert state(people[TEACHER]) == before
    assert not app.backend.is_suspended()
    told = state(people[PUPIL])
    assert (told["leads"], told["may_enter"], told["labels"]) == (False, True, None)


def test_votes_and_own_pictures_are_of_whoever_asks(app: App, people: dict[str, httpx.Client],
                                                    ) -> None:
    picture = put_up(app, "mine", 3)

    def seen(token: str) -> dict[str, Any]:
        return next(each for each in state(people[token])["pictures"] if each["id"] == picture)

    assert act(people[OTHER], "vote", picture).status_code == 200
    assert act(people[OTHER], "vote", picture).status_code == 200
    assert (seen(OTHER)["votes"], seen(OTHER)["voted"], seen(OTHER)["own"]) == (1, True, False)
    assert (seen(PUPIL)["votes"], seen(PUPIL)["voted"], seen(PUPIL)["own"]) == (1, False, True)
    assert act(people[TEACHER], "hand", picture).status_code == 200
    ordered = [(each["id"], each["votes"])
               for each in state(people[PUPIL], order="votes")["pictures"]]
    votes = [count for _, count in ordered]
    assert votes == sorted(votes, reverse=True)
    assert (picture, 2) in ordered[:votes.index(0) if 0 in votes else None]
    assert act(people[OTHER], "take_down", picture).status_code == 400
    assert act(people[PUPIL], "take_down", picture).status_code == 200
    assert act(people[PUPIL], "vote", picture).status_code == 404


def test_made_up_visitors_have_no_more_votes_than_a_room_has_people(
        app: App, people: dict[str, httpx.Client]) -> None:
    picture = put_up(app, "stuffed", 4)
    room = app.playground.settings.queue_size

    def vote(number: int, address: str, what: str = "vote") -> httpx.Response:
        token = f"{number:02d}" * 21 + "x"
        return httpx.post(f"{app.url}wall/act", json={"act": what, "picture": picture}, timeout=300,
                          headers={HEADER: token, "x-forwarded-for": address})

    answers = [vote(number, "203.0.113.50") for number in range(room + 5)]
    assert [answer.status_code for answer in answers] == [200] * room + [400] * 5
    assert f"{room} visitors have voted" in answers[-1].json()["detail"]
    assert vote(0, "203.0.113.50").status_code == 200, "one's own vote stands"
    assert vote(0, "203.0.113.50", "unvote").status_code == 200
    assert vote(room + 1, "203.0.113.50").status_code == 200, "one was taken back"
    assert vote(room + 2, "203.0.113.51").status_code == 200, "another address"
    [seen] = [each for each in state(people[OTHER])["pictures"] if each["id"] == picture]
    assert seen["votes"] == room + 1


def test_stop_ends_everybodys_drawing_but_the_teachers(app: App, people: dict[str, httpx.Client],
                                                       ) -> None:
    fields = {"prompt": "a cat", "model": "sketch", "n": 1}
    assert act(people[TEACHER], "stop").json()["suspended"] is True
    refused = people[PUPIL].post("v1/images/generations", json=fields)
    assert refused.status_code >= 400
    assert "Drawing is stopped for everybody" in refused.json()["error"]["message"]
    assert people[TEACHER].post("v1/images/generations", json=fields).status_code == 200
    assert act(people[TEACHER], "go").json()["suspended"] is False
    answer = people[PUPIL].post("v1/images/generations", json={**fields, "prompt": "a door's cat"})
    assert answer.status_code == 200
    first = state(people[OTHER])["pictures"][0]
    assert (first["prompt"], first["by"]) == ("a door's cat", "Sketch")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"act": 3}', b'{"act": "fly"}',
                                  b'{"act": "vote", "picture": ["a"]}', b"[" * 9000])
def test_what_is_not_understood_is_refused_in_a_sentence(people: dict[str, httpx.Client],
                                                         body: bytes) -> None:
    answer = people[TEACHER].post("wall/act", content=body)
    assert (answer.status_code, list(answer.json())) == (400, ["detail"])
    assert people[TEACHER].post("wall/act", content=b" " * 300_000).status_code == 413


def test_what_is_sent_is_short_where_it_is_not_the_leaders(people: dict[str, httpx.Client],
                                                           ) -> None:
    """Held for as long as a client likes: of 2,000 connections half a gigabyte."""
    body, odd = b" " * 5000, "O pedido não contém o que esta função recebe."
    assert people[TEACHER].post("wall/act", content=body).status_code == 400, "read, and empty"
    for answer in (people[PUPIL].post("wall/act", content=body,
                                      headers={"accept-language": "pt"}),
                   people[PUPIL].request("GET", "wall/state", content=body,
                                         headers={"accept-language": "pt"})):
        assert (answer.status_code, answer.json()) == (413, {"detail": odd})


def test_nobody_leads_by_a_wrong_password_and_nobody_is_anonymous(app: App) -> None:
    with httpx.Client(base_url=app.url, headers=AFAR) as nobody:
        assert nobody.get("wall/state").status_code == 401
        assert act(nobody, "enter", password="wren").status_code == 401
        wrong = nobody.post("wall/act", json={"act": "enter", "password": "Wren"},
                            headers={HEADER: "w" * 43})
        assert (wrong.status_code, wrong.json()["detail"]) == (
            400, "That is not the models' password.")
        page = nobody.get("wall", headers={"accept": "text/html", "accept-language": "pt-BR"})
    assert 'lang="pt-BR"' in page.text
    assert "O mural" in page.text
    assert "easel_visitor=" in page.headers["set-cookie"], "who looks first is a visitor already"


def test_guessing_of_the_password_is_slow_from_one_address(
        app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockout, "WINDOW_S", 1e9)  # however long it takes here
    said = []
    with httpx.Client(base_url=app.url, headers={"x-forwarded-for": "198.51.100.7"}) as guesser:
        for number in range(lockout.MAX_WRONG_AT + 5):
            answer = guesser.post("wall/act", json={"act": "enter", "password": "Wren"},
                                  headers={HEADER: f"{number:043d}"})
            said.append((answer.status_code, answer.json()["detail"]))
        wrong, slow = ((400, text) for text in (
            "That is not the models' password.",
            "There were too many wrong passwords: try again in a minute."))
        assert said == [wrong] * lockout.MAX_WRONG_AT + [slow] * 5
        answer = guesser.post("wall/act", json={"act": "enter", "password": "wren"},
                              headers={HEADER: "n" * 43})
        assert (answer.status_code, answer.json()["detail"]) == slow, "the right one neither"
        answer = guesser.post("wall/act", json={"act": "enter", "password": "wren"},
                              headers={HEADER: "n" * 43, "x-forwarded-for": "198.51.100.8"})
        assert answer.status_code == 200, "nobody else is kept out"


def test_other_sites_act_for_nobody(app: App, people: dict[str, httpx.Client]) -> None:
    answer = people[TEACHER].post("wall/act", json={"act": "stop"},
                                  headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert not app.backend.is_suspended()


def test_without_a_class_nothing_is_shared_and_with_one_everybody_is_told() -> None:
    served = App()
    try:
        assert wall_routes(served.playground) == []
        with httpx.Client(base_url=served.url, headers={HEADER: PUPIL}) as client:
            assert [client.get(path).status_code for path in ("wall", "wall/state")] == [404, 404]
        drawn(served.history, "private", 1)
        assert Wall(served.history).pictures("x", leads=True) == []
        notes = [block for block in served.page.blocks.values()
                 if getattr(block, "elem_id", "") == "class-note"]
        assert notes == []
    finally:
        served.close()


def test_the_page_of_a_class_says_that_all_is_shown(app: App) -> None:
    with httpx.Client(base_url=app.url) as client:
        said = client.get("config").text
    assert "What you draw here is shown to everybody on the" in said
    assert "O que você desenha aqui é mostrado a todos no" in said


@pytest.mark.parametrize("name", ["embedded/vqgan", "nobody/knows"])
def test_a_filter_that_is_no_clip_is_refused(app: App, name: str) -> None:
    settings = app.playground.settings.model_copy(update={"classroom_filter": name})
    with pytest.raises(EaselError):
        wall_routes(replace(app.playground, settings=settings))

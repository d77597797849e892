"""The wall of a class: one picture of each run, votes, what is hidden, and what a filter holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from easel.guard.visitors import HEADER, visitor_named
from easel.history.records import HistoryError, KeptPicture, NewPicture
from easel.history.store import History
from easel.serving.backend import LocalBackend
from easel.serving.build import build_cache
from easel.settings import Settings
from easel.ui.wall.routes import wall_routes
from easel.wall.filter import DEFAULT, FILE, Labels, LabelStore, WallFilter, is_public
from easel.wall.wall import MAX_PINNED, Wall
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.core.metadata import encode_png
from pipelines.models.checkpoints.ids import RANKER
from pipelines.registry import Registry
from tests import postgres
from tests.conftest import missing_models
from tests.kept import new_picture, opened
from tests.served import App

PUPIL, OTHER, TEACHER = (letter * 43 for letter in "pot")
AFAR = {"x-forwarded-for": "203.0.113.9"}  # so that nobody is at the machine itself


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with opened(tmp_path / "data") as made:
        yield made


def shown(wall: Wall, visitor: str = "x", **how: Any) -> list[str]:
    return [picture.prompt for picture in wall.pictures(visitor, **how)]


def drawn(history: History, prompt: str, seed: int, owner: str = "me", **facts: Any) -> KeptPicture:
    return history.add(owner, [new_picture(prompt, seed, **facts)])[0]


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
    assert state(people[PUPIL], order="votes")["pictures"][0]["id"] == picture
    assert act(people[OTHER], "take_down", picture).status_code == 400
    assert act(people[PUPIL], "take_down", picture).status_code == 200
    assert act(people[PUPIL], "vote", picture).status_code == 404


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


def test_a_picture_may_lack_most_facts(history: History) -> None:
    """Those of older Easels do."""
    wall = Wall(history)
    facts = {"prompt": "bare", "pipeline": "dalle", "seed": 5}
    history.add("me", [NewPicture(encode_png(np.full((8, 8, 3), 128, np.uint8), facts), facts)])
    assert shown(wall) == ["bare"]

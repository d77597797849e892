"""A class's filter from end to end: the teacher's labels, and what the next picture meets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from easel.guard.visitors import HEADER
from easel.wall.filter import DEFAULT, FILE, Labels, LabelStore
from tests.served import App
from tests.small_models import small_cache
from tests.watched_sketch import WatchedSketch

PUPIL, TEACHER = (letter * 43 for letter in "pt")
AFAR = {"x-forwarded-for": "203.0.113.9"}  # so that nobody is at the machine itself
ONE, OTHER = "a red apple", "a blue car"


class PublicSketch(WatchedSketch):
    """One that leases a model which is not Easel's own, as a public generator does."""

    models = ("public/sketcher",)


@pytest.fixture
def app() -> Iterator[App]:
    served = App([WatchedSketch(), PublicSketch("public", "Public")], small_cache(),
                 classroom=True, classroom_filter="embedded/clip-ranker", models_password="wren",
                 queue_size=9)
    yield served
    served.close()


def client_of(app: App, token: str) -> httpx.Client:
    return httpx.Client(base_url=app.url, timeout=300, headers={HEADER: token, **AFAR})


def act(client: httpx.Client, what: str, **fields: Any) -> httpx.Response:
    return client.post("wall/act", json={"act": what, **fields})


def draw(client: httpx.Client, prompt: str, model: str) -> None:
    answer = client.post("v1/images/generations", json={
        "prompt": prompt, "model": model, "seed": 7, "options": {"steps": 2, "pause_s": 0}})
    assert answer.status_code == 200, answer.text


def judged(teacher: httpx.Client, prompt: str) -> dict[str, Any]:
    """What the teacher is told of a picture once the CLIP has looked at it."""
    end = time.monotonic() + 120
    while True:
        [told] = [each for each in teacher.get("wall/state").json()["pictures"]
                  if each["prompt"] == prompt]
        if told["state"] != "unseen":
            return told
        assert time.monotonic() < end, "nobody looks"
        time.sleep(0.05)


def seen(pupil: httpx.Client) -> set[str]:
    return {each["prompt"] for each in pupil.get("wall/state").json()["pictures"]}


def test_the_teachers_labels_decide_on_the_next_picture_of_a_public_model(app: App) -> None:
    """The same picture is held by a list and let through by the same list the other way round."""
    store = LabelStore(app.playground.settings.data_dir / FILE)
    with client_of(app, PUPIL) as pupil, client_of(app, TEACHER) as teacher:
        told = act(teacher, "enter", password="wren").json()["labels"]
        assert told == {"held": list(DEFAULT.held), "fine": list(DEFAULT.fine)}
        verdicts = {}
        for held, fine in ((ONE, OTHER), (OTHER, ONE)):
            answer = act(teacher, "labels", held=f"  {held}\n\n", fine=f"{fine}\n{fine}")
            assert answer.json()["labels"] == {"held": [held], "fine": [fine]}
            assert store.read() == Labels((held,), (fine,))
            draw(pupil, f"holding {held}", "public")
            verdicts[held] = judged(teacher, f"holding {held}")
        states = {held: each["state"] for held, each in verdicts.items()}
        assert sorted(states.values()) == ["held", "shown"], states
        [like] = [held for held, state in states.items() if state == "held"]
        assert verdicts[like]["label"] == like, "what the picture is like is said to the teacher"
        assert seen(pupil) == {f"holding {held}" for held, state in states.items()
                               if state == "shown"}
        picture = verdicts[like]["id"]
        assert pupil.get(f"wall/{picture}/picture").status_code == 404
        assert act(teacher, "show", picture=picture).status_code == 200
        assert pupil.get(f"wall/{picture}/picture").status_code == 200

        refused = act(teacher, "labels", held="", fine="x")
        assert (refused.status_code, list(refused.json())) == (400, ["detail"])
        assert act(pupil, "labels", held="a", fine="b").status_code == 403
        assert store.read() == Labels((OTHER,), (ONE,)), "what is refused changes nothing"
        draw(pupil, "of Easel's own", "sketch")
        assert "of Easel's own" in seen(pupil), "nobody looks at those"

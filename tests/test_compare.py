"""Comparisons through the real page's endpoints, and what may be said of them before a vote."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from easel.compare.bundle import FACTS, read_zip, write_zip
from easel.compare.plan import plan_comparison
from easel.serving.jobs import RunEvent, Usage
from easel.ui.compare.fold import cast_vote, fold_events, start_comparison
from easel.ui.compare.form import default_panes, panes_of, read_panes, render_forms
from easel.ui.compare.render import render_outcome, render_pane
from easel.ui.compare.share import bundle_of, open_comparison
from easel.ui.compare.state import Comparison, clip_favourite
from easel.ui.parts.pictures import PictureStore
from easel.words import strings
from pipelines.core.errors import EaselError, InvalidRequest
from pipelines.core.events import Preview, Progress
from pipelines.registry import Registry
from tests.served import App
from tests.watched_sketch import WatchedSketch

SCRIPT = '<img src=x onerror="alert(1)">'
PANES: list[dict[str, Any]] = [{"pipeline": "sketch", "num_images": 2, "seed": 5},
                               {"pipeline": "etching"}, {"pipeline": "sketch"}]
STORE = PictureStore(gr.HTML())
LONG = {"steps": 800, "pause_s": 0.02}


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App()
    yield served
    served.close()


@pytest.fixture(scope="module")
def client(app: App) -> Client:
    return app.client()


@pytest.fixture(scope="module")
def registry() -> Registry:
    made = Registry()
    made.register(WatchedSketch())
    made.register(WatchedSketch("etching", "Etching"))
    return made


def compare(client: Client, **fields: Any) -> tuple[list[str], dict[str, Any]]:
    return client.predict(**{"prompt": "a red apple", "panes": PANES, **fields},
                          api_name="/compare")


def test_panes_draw_with_their_own_settings_and_one_seed(client: Client) -> None:
    files, details = compare(client, seed=9)
    panes = details["panes"]
    assert [pane["phase"] for pane in panes] == ["done"] * 3
    assert [[p["seed"] for p in pane["pictures"]] for pane in panes[1:]] == [[9], [9]]
    assert {p["seed"] for p in panes[0]["pictures"]} == {5, 6}
    assert len(files) == 4
    assert all(pane["device_s"] > 0 for pane in panes)
    assert all(p["clip"] is not None for pane in panes for p in pane["pictures"])
    alone, _ = client.predict("a red apple", ["sketch"], 1, 9, None, None, api_name="/generate")
    assert np.array_equal(np.asarray(Image.open(files[-1])), np.asarray(Image.open(alone[0])))


def test_panes_may_have_prompts_of_their_own(client: Client, registry: Registry) -> None:
    panes = [{"pipeline": "sketch"}, {"pipeline": "sketch", "prompt": "a blue car"},
             {"pipeline": "etching", "prompt": ""}, {"pipeline": "etching", "prompt": None}]
    plan = plan_comparison(registry, "a red apple", panes)
    assert [each.prompt for each in plan.requests] == ["a red apple", "a blue car", "a red apple",
                                                       "a red apple"]
    assert plan.own_prompts == ("", "a blue car", "", "")
    own = [{"pipeline": "sketch", "prompt": "a cat"}, {"pipeline": "sketch", "prompt": "a dog"}]
    assert plan_comparison(registry, "", own).own_prompts == ("", "a dog"), "none is shared"
    _, details = compare(client, panes=panes[:2], seed=4)
    assert [pane["prompt"] for pane in details["panes"]] == ["a red apple", "a blue car"]
    before = client.predict(None, api_name="/leaders")["votes"]
    said = client.predict(details["comparison"], 1, api_name="/vote")
    assert said == {"choice": 1, "message": strings.VOTE_PROMPTS}
    assert client.predict(None, api_name="/leaders")["votes"] == before
    with pytest.raises(AppError, match="voted on already"):
        client.predict(details["comparison"], 0, api_name="/vote")


def test_a_comparison_with_prompts_of_panes_is_saved_and_opened(app: App) -> None:
    panes = [{"pipeline": "sketch", "seed": 1}, {"pipeline": "etching", "prompt": SCRIPT}]
    plan = plan_comparison(app.playground.registry, "a cat", panes, seed=3)
    comparison = start_comparison(app.playground, plan, "me", False)
    list(fold_events(comparison, app.backend.compare(plan.requests), app.playground, STORE, 0.0))
    assert "a cat" in render_pane(comparison, 0)
    assert SCRIPT not in render_pane(comparison, 1)
    assert f'<p class="pane-prompt">{escape(SCRIPT)}</p>' in render_pane(comparison, 1)
    saved = read_zip(write_zip(bundle_of(comparison)))
    assert saved.facts.version == 3
    assert [pane.prompt for pane in saved.facts.panes] == ["", SCRIPT]
    assert "prompt" not in saved.facts.requests()[0]
    opened = open_comparison(saved, app.playground, STORE, "me")
    assert opened.plan.own_prompts == ("", SCRIPT)
    assert [pane.panel.cards[0].prompt for pane in opened.panes] == ["a cat", SCRIPT]
    assert panes_of(opened)[1]["prompt"] == SCRIPT
    assert "prompt" not in panes_of(opened)[0]
    html = render_forms(app.playground.registry, panes_of(opened))
    assert SCRIPT not in html
    assert html.count(escape(SCRIPT)) == 1
    assert read_panes(json.dumps(panes_of(opened))) == panes_of(opened)


def test_a_comparison_of_one_prompt_is_saved_as_before(app: App) -> None:
    data = write_zip(bundle_of(drawn(app, blind=False)))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        facts = json.loads(archive.read(FACTS))
    assert facts["version"] == 2
    assert all("prompt" not in pane for pane in facts["panes"])


def test_a_blind_comparison_hides_the_prompts_of_panes(app: App) -> None:
    panes = [{"pipeline": "sketch"}, {"pipeline": "sketch", "prompt": "a dog"}]
    plan = plan_comparison(app.playground.registry, "a cat", panes)
    comparison = start_comparison(app.playground, plan, "me", True)
    assert not any("pane-prompt" in render_pane(comparison, place) for place in (0, 1))
    comparison.choice = "tie"
    assert all("pane-prompt" in render_pane(comparison, place) for place in (0, 1))


def test_panes_of_one_generator_say_what_tells_them_apart(app: App) -> None:
    panes = [{"pipeline": "sketch", "options": {"steps": 3}}, {"pipeline": "sketch"},
             {"pipeline": "etching"}]
    comparison = start_comparison(
        app.playground, plan_comparison(app.playground.registry, "a cat", panes), "me", False)
    said = [re.findall('<p class="pane-prompt">(.*?)</p>', render_pane(comparison, place))
            for place in range(3)]
    assert said == [["Steps: 3"], ["Steps: 6"], []]
    comparison.blind = True
    assert not any("pane-prompt" in render_pane(comparison, place) for place in range(3))


def test_a_time_budget_ends_every_pane(client: Client) -> None:
    panes = [{"pipeline": "sketch", "options": LONG},
             {"pipeline": "sketch", "options": LONG | {"pause_s": 0.05}}]
    files, details = compare(client, panes=panes, budget_s=0.4)
    assert len(files) == 2
    for pane in details["panes"]:
        assert pane["phase"] == "stopped"
        assert 0.4 <= pane["device_s"] < 4


def test_stop_ends_all_panes_of_this_client(app: App) -> None:
    mine, other = app.client(), app.client()
    job = mine.submit("a dog", [{"pipeline": "sketch", "options": LONG}] * 2, None, None, None,
                      api_name="/compare")
    end = time.monotonic() + 20
    while not any(d["panes"][1]["step"] for _, d in job.outputs()):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert other.predict(api_name="/stop") == 0
    assert mine.predict(api_name="/stop") == 1
    _, details = job.result(timeout=20)
    assert [pane["phase"] for pane in details["panes"]] == ["stopped", "stopped"]
    app.wait_until_idle()


def test_a_vote_counts_once_and_only_ones_own(app: App) -> None:
    client, other = app.client(), app.client()
    _, details = compare(client, panes=PANES[:2])
    before = client.predict(None, api_name="/leaders")
    for comparison, choice, says in (
            (details["comparison"], 2, "no pane 3"), (details["comparison"], "left", "names one"),
            (5, 0, "must be the id"), ("nobody", 0, "no longer there")):
        with pytest.raises(AppError, match=says):
            client.predict(comparison, choice, api_name="/vote")
    with pytest.raises(AppError, match="no longer there"):
        other.predict(details["comparison"], 0, api_name="/vote")
    assert client.predict(details["comparison"], 1, api_name="/vote") == {"choice": 1}
    with pytest.raises(AppError, match="voted on already"):
        client.predict(details["comparison"], 0, api_name="/vote")
    leaders = client.predict(None, api_name="/leaders")
    assert leaders["votes"] == before["votes"] + 1
    won, had = ({row["name"]: row["wins"] for row in found["standings"]}
                for found in (leaders, before))
    assert won["etching"] == had.get("etching", 0) + 1
    assert won["sketch"] == had.get("sketch", 0)
    with pytest.raises(AppError, match="no kind of prompt"):
        client.predict("feelings", api_name="/leaders")


@pytest.mark.parametrize(("fields", "says"), [
    ({"panes": "sketch"}, "list of objects"), ({"panes": []}, "2 to 4 panes, not 0"),
    ({"panes": [{"pipeline": "sketch"}]}, "2 to 4 panes, not 1"),
    ({"panes": [{"pipeline": "sketch"}] * 5}, "2 to 4 panes, not 5"),
    ({"panes": [{"pipeline": "sketch"}, 5]}, "list of objects"),
    ({"panes": [{"pipeline": "sketch"}, {}]}, "Pane B: There is no generator"),
    ({"panes": [{"pipeline": "sketch"}, {"pipeline": "etching", "size": 5}]},
     "Pane B has no field called 'size'"),
    ({"panes": [{"pipeline": "sketch", "options": [1]}, {"pipeline": "etching"}]},
     "options of pane A must be"),
    ({"panes": [{"pipeline": "sketch", "options": {"steps": 0}}, {"pipeline": "etching"}]},
     "Pane A: Steps must be"),
    ({"panes": [{"pipeline": "sketch", "num_images": 99}, {"pipeline": "etching"}]},
     "Pane A: Number of images"),
    ({"panes": [{"pipeline": "sketch", "prompt": 5}, {"pipeline": "etching"}]}, "Pane A: "),
    ({"panes": [{"pipeline": "sketch"}, {"pipeline": "etching", "prompt": "a" * 501}]}, "Pane B: "),
    ({"panes": [{"pipeline": "sketch"}, {"pipeline": "etching", "prompt": " "}]}, "Pane B: "),
    ({"panes": [{"pipeline": "sketch", "seed": -1}, {"pipeline": "etching"}]}, "Pane A: Seed"),
    ({"prompt": " "}, "prompt is empty"), ({"prompt": 5}, "must be text"),
    ({"seed": 2**32}, "Seed must be"), ({"budget_s": "many"}, "Seconds for each"),
    ({"budget_s": float("nan")}, "Seconds for each"), ({"budget_s": 0}, "Seconds for each"),
    ({"budget_s": True}, "Seconds for each"), ({"budget_s": 1e9}, "Seconds for each"),
    ({"budget_s": 10**400}, "Seconds for each"),
])
def test_what_cannot_be_compared_is_said_in_a_sentence(registry: Registry, says: str,
                                                       fields: dict[str, Any]) -> None:
    given = {"prompt": "a cat", "panes": PANES, **fields}
    with pytest.raises(InvalidRequest, match=says) as caught:
        plan_comparison(registry, **given)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_refusals_reach_the_client(client: Client, app: App) -> None:
    finished = app.sketch.finished
    with pytest.raises(AppError, match="Pane B: There is no generator called 'nobody'"):
        compare(client, panes=[{"pipeline": "sketch"}, {"pipeline": "nobody"}])
    assert app.sketch.finished == finished


def test_panes_without_a_seed_share_a_new_one(registry: Registry) -> None:
    plan = plan_comparison(registry, "a cat", PANES)
    seeds = [request.seed for request in plan.requests]
    assert seeds[0] == 5
    assert seeds[1] == seeds[2] is not None
    assert plan_comparison(registry, "a cat", PANES).requests[1].seed != seeds[1]


def test_what_the_forms_say_is_read(registry: Registry) -> None:
    assert read_panes(json.dumps(default_panes(registry))) == [
        {"pipeline": "sketch", "num_images": 1, "options": {}},
        {"pipeline": "etching", "num_images": 1, "options": {}}]
    for wrong in ("", "[1]", "{}", "[" * 100_000):
        with pytest.raises(InvalidRequest, match="reload the page"):
            read_panes(wrong)
    html = render_forms(registry)
    assert html.count("data-option=") == 4 * 2 * 4
    assert html.count("<form") == 4
    # Two panes, a generator in each, and what each generator's options are refused for.
    assert html.count(" hidden>") == 2 + 4 * 1 + 4 * 2


def drawn(app: App, blind: bool) -> Comparison:
    plan = plan_comparison(app.playground.registry, SCRIPT, PANES[1:], seed=3)
    comparison = start_comparison(app.playground, plan, "me", blind)
    events = app.backend.compare(plan.requests)
    for changed in fold_events(comparison, events, app.playground, STORE, 0.0):
        assert changed
    return comparison


def test_a_blind_comparison_names_nothing_until_the_vote(app: App) -> None:
    comparison = drawn(app, blind=True)
    comparison.order = (1, 0)
    running = start_comparison(app.playground, comparison.plan, "me", blind=True)
    list(fold_events(running, iter([
        RunEvent(i, event, Usage(1.0, 5)) for i in (0, 1) for event in
        (Progress(1, 6, losses={"loss": 1.0}), Preview(1, np.zeros((1, 8, 8, 3), np.uint8), (0,)))
    ]), app.playground, STORE, 0.0))
    for shown in (comparison, running):
        for place in (0, 1):
            html = render_pane(shown, place)
            assert f"Picture {place + 1}" in html
            for secret in ("Sketch", "Etching", "sketch", "etching", "CLIP", "of 6", "device",
                           "data-details", "gradio_api/file", "seed"):
                assert secret not in html
    cast_vote(app.playground, comparison, 0)
    assert comparison.choice == 1, "the left one was the second pane"
    html = render_pane(comparison, 0)
    assert "B · Sketch" in html
    assert "chosen" in html
    assert "CLIP 0." in html
    assert "You chose B · Sketch." in render_outcome(comparison)
    with pytest.raises(EaselError, match="voted on already"):
        cast_vote(app.playground, comparison, 0)


@pytest.mark.parametrize("agrees", [True, False])
def test_an_outcome_says_what_the_ranker_would_have_chosen(app: App, agrees: bool) -> None:
    comparison = drawn(app, blind=False)
    favourite = clip_favourite(comparison.panes)
    assert favourite is not None
    cast_vote(app.playground, comparison, favourite if agrees else 1 - favourite)
    letter, title = "AB"[favourite], comparison.panes[favourite].panel.title
    said = strings.CLIP_AGREES if agrees else strings.CLIP_DISAGREES.format(f"{letter} · {title}")
    assert said in render_outcome(comparison)


def test_texts_of_a_comparison_are_inert(app: App) -> None:
    comparison = drawn(app, blind=False)
    html = "".join(render_pane(comparison, place) for place in (0, 1))
    assert SCRIPT not in html
    assert "&lt;img src=x" in html


def test_a_vote_waits_for_pictures(app: App) -> None:
    plan = plan_comparison(app.playground.registry, "a cat", PANES)
    comparison = start_comparison(app.playground, plan, "me", blind=False)
    with pytest.raises(EaselError, match="needs pictures in at least two panes"):
        cast_vote(app.playground, comparison, 0)


def test_scores_that_do_not_compare_say_so(app: App) -> None:
    comparison = drawn(app, blind=False)
    panel = comparison.panes[0].panel
    panel.cards = tuple(type(card)(**{**card.__dict__, "guide_score": 0.9})
                        for card in panel.cards)
    html = render_pane(comparison, 0)
    assert "guide 0.900, not comparable" in html
    assert "guide" not in render_pane(comparison, 1)

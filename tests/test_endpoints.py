"""Endpoints of sweeps, bundles and rankings through the real page, with good and bad input."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from easel.compare.bundle import FACTS, read_zip
from easel.guard.turns import MAX_EACH, reading
from easel.guard.visitors import HEADER, asking, new_token, visitor_named
from easel.serving.jobs import Requester
from easel.words import strings
from pipelines.core.metadata import read_png
from tests.served import App

NAN = float("nan")
SCRIPT = "a cat <img src=x onerror=alert(1)>"
PANES = [{"pipeline": "sketch", "seed": 3, "options": {"steps": 2}}, {"pipeline": "etching"}]


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    served = App()
    yield served
    served.close()


@pytest.fixture(scope="module")
def client(app: App) -> Client:
    return app.client()


@pytest.fixture(scope="module")
def bundle(client: Client) -> str:
    """A saved comparison."""
    _, details = client.predict("a cat", PANES, 1, api_name="/compare")
    return client.predict(details["comparison"], api_name="/bundle_export")


def refusal(client: Client, endpoint: str, *args: Any) -> str:
    """The sentence with which a call is refused."""
    with pytest.raises(AppError) as caught:
        client.predict(*args, api_name=endpoint)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return sentence


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_sweep_draws_each_cell_as_it_is_drawn_alone(client: Client) -> None:
    files, details = client.predict(
        "a {red|blue} cat", "sketch", {"name": "steps", "values": [2, 5]}, None, 7,
        {"blur": "none"}, api_name="/sweep")
    assert details["x"] == {"name": "steps", "values": [2, 5]}
    assert details["y"]["name"] == "prompt"
    assert [(c["row"], c["column"], c["prompt"], c["seed"]) for c in details["cells"]] == [
        (0, 0, "a red cat", 7), (0, 1, "a red cat", 7), (1, 0, "a blue cat", 7),
        (1, 1, "a blue cat", 7)]
    assert details["left"] == 0
    assert len(files) == 5
    assert read_png(Path(files[0]).read_bytes())["easel"]["grid"]["x"]["values"] == [2, 5]
    alone, _ = client.predict("a blue cat", ["sketch"], 1, 7,
                              {"sketch": {"steps": 5, "blur": "none"}}, api_name="/generate")
    assert np.array_equal(pixels(files[4]), pixels(alone[0]))
    assert all(cell["id"] for cell in details["cells"]), "each cell is in the history"


def test_prompts_of_a_list_are_rows_with_options_of_their_own(client: Client) -> None:
    _, details = client.predict(
        "left out", "sketch", {"name": "seed", "values": "7..8"}, None, None, {"steps": 2},
        ["a red cat", {"prompt": "a dog", "options": {"steps": 3}}, "a red cat"],
        api_name="/sweep")
    assert details["y"] == {"name": "prompt", "values": ["a red cat", "a dog", "a red cat"]}
    assert [(c["prompt"], c["seed"]) for c in details["cells"]] == [
        ("a red cat", 7), ("a red cat", 8), ("a dog", 7), ("a dog", 8),
        ("a red cat", 7), ("a red cat", 8)]


def test_a_sweep_knows_the_words_of_ones_own_lists(app: App, client: Client) -> None:
    folder = Path(app.data.name) / "wildcards"
    folder.mkdir()
    (folder / "mood.txt").write_text("# moods\nquiet\n")
    _, details = client.predict("a __mood__ cat", "sketch", {"name": "steps", "values": [2]}, None,
                                7, None, api_name="/sweep")
    assert [cell["prompt"] for cell in details["cells"]] == ["a quiet cat"]


@pytest.mark.parametrize(("args", "says"), [
    ((5, "sketch"), "must be text"), ((" ", "sketch"), "prompt is empty"),
    (("a cat", "nobody"), "no generator called"), (("a cat", {}), "no generator called"),
    (("a cat", "sketch", "seed"), "An axis is an object"),
    (("a cat", "sketch", {"name": 5}), "An axis is an object"),
    (("a cat", "sketch", {"name": "seed", "more": 1}), "An axis is an object"),
    (("a cat", "sketch", {"name": "size", "values": [1]}), "no option called"),
    (("a cat", "sketch", {"name": "steps", "values": []}), "1 to 12 plain values"),
    (("a cat", "sketch", {"name": "steps", "values": [[1]]}), "1 to 12 plain values"),
    (("a cat", "sketch", {"name": "steps", "values": [{}]}), "1 to 12 plain values"),
    (("a cat", "sketch", {"name": "steps", "values": list(range(1, 99))}), "1 to 12 plain"),
    (("a cat", "sketch", {"name": "prompt", "values": ["a dog"]}), "braces of the prompt"),
    (("a cat", "sketch", {"name": "seed", "values": "1"}, {"name": "prompt", "values": "a dog"}),
     "braces of the prompt"),
    (("a cat", "sketch", {"name": "steps", "values": [-1]}), "Steps must be"),
    (("a cat", "sketch", {"name": "seed", "values": [2**32]}), "Seed must be"),
    (("a cat", "sketch", {"name": "seed", "values": "1..2"}, {"name": "seed", "values": "3"}),
     "axes are the same"),
    (("a cat", "sketch", {"name": "pause_s", "values": "nan"}), "Pause must be"),
    (("a cat", "sketch", None, None, -1), "Seed must be"),
    (("a cat", "sketch", None, None, None, [1]), "options must be an object"),
    (("a cat", "sketch", None, None, None, {"steps": 0}), "Steps must be"),
    (("a cat", "sketch", None, None, None, None, []), "a list with one at least"),
    (("a cat", "sketch", None, None, None, None, "a cat"), "a list with one at least"),
    (("a cat", "sketch", None, None, None, None, [5]), "A prompt of a grid is text"),
    (("a cat", "sketch", None, None, None, None, [{"prompt": "a", "seed": 1}]), "A prompt of"),
    (("a cat", "sketch", None, None, None, None, [""]), "prompt is empty"),
    (("a cat", "sketch", None, None, None, None, ["a"] * 37), "37 prompts are too many"),
    (("a cat", "sketch", {"name": "seed", "values": "1..4"}, None, None, None, ["a"] * 10),
     "The grid has 40 cells; 36 is the most"),
    (("a cat", "sketch", None, None, None, None, [{"prompt": "a", "options": {"stepz": 1}}]),
     "There is no option called"),
    (("a cat", "sketch", {"name": "prompt", "values": ""}, None, None, None, ["a", "b"]),
     "axes are the same"),
])
def test_wrong_sweeps_are_refused(app: App, client: Client, args: tuple[Any, ...], says: str,
                                  ) -> None:
    finished = app.sketch.finished
    padded = (*args, *(None,) * (7 - len(args)))
    assert says in refusal(client, "/sweep", *padded)
    assert app.sketch.finished == finished, "nothing ran"


def raw(app: App, endpoint: str, data: str) -> str:
    """What a call says whose JSON no client would write, such as NaN."""
    config = httpx.get(f"{app.url}config").json()
    index = next(d["id"] for d in config["dependencies"] if d["api_name"] == endpoint)
    session = "nan" + endpoint
    httpx.post(f"{app.url}gradio_api/queue/join", headers={"content-type": "application/json"},
               content=f'{{"data": {data}, "fn_index": {index}, "session_hash": "{session}"}}')
    with httpx.stream("GET", f"{app.url}gradio_api/queue/data", timeout=20,
                      params={"session_hash": session}) as events:
        for line in events.iter_lines():
            if "process_completed" in line:
                return json.loads(line.removeprefix("data:"))["output"]["error"]
    raise AssertionError("the call never ended")


def test_a_comparison_is_its_visitors_whoever_knows_the_name_of_their_session(
        app: App, bundle: str) -> None:
    mine, other = new_token(), new_token()
    session = "a session of mine"
    client = app.client(**{HEADER: mine})
    client.session_hash = session
    _, details = client.predict(handle_file(bundle), api_name="/bundle_open")

    def voted(token: str) -> httpx.Response:
        return httpx.post(f"{app.url}gradio_api/run/vote", headers={HEADER: token}, timeout=300,
                          json={"data": [details["comparison"], 9], "session_hash": session})

    assert "no longer there" in voted(other).json()["error"]
    assert "no pane 10" in voted(mine).json()["error"]
    stranger = app.client(**{HEADER: other})
    stranger.session_hash = session
    assert "no longer there" in refusal(stranger, "/bundle_export", details["comparison"])
    assert client.predict(details["comparison"], api_name="/bundle_export")


NOT_FINITE = "A number in the request is not finite"


@pytest.mark.parametrize(("endpoint", "data", "says"), [
    ("sweep", '["a cat", "sketch", {"name": "pause_s", "values": [NaN]}, null, 1, null]',
     NOT_FINITE),
    ("sweep", '["a cat", "sketch", {"name": "pause_s", "values": [1e999]}, null, 1, null]',
     NOT_FINITE),
    ("sweep", '["a cat", "sketch", null, null, NaN, null]', NOT_FINITE),
    ("compare", '["a cat", [{"pipeline": "sketch", "options": {"pause_s": NaN}}, '
                '{"pipeline": "etching"}], 1, null, null]', NOT_FINITE),
    ("compare", '["a cat", [{"pipeline": "sketch", "seed": NaN}, {"pipeline": "etching"}], '
                '1, null, null]', NOT_FINITE),
    ("compare", '["a cat", [{"pipeline": "sketch"}, {"pipeline": "etching"}], 1, NaN, null]',
     NOT_FINITE),
    ("compare", '["a cat", [{"pipeline": "sketch"}, {"pipeline": "etching"}], 1, Infinity, null]',
     NOT_FINITE),
    ("rerank", '[null, ["a cat"], null, null, NaN, null]', NOT_FINITE),
    ("rerank", '[null, [NaN], null, null, 0, null]', NOT_FINITE),
    ("rerank", '[null, ["a cat:NaN"], null, null, 0, null]', "weight"),
    ("vote", '["x", NaN]', NOT_FINITE),
])
def test_nan_and_infinity_are_refused(app: App, endpoint: str, data: str, says: str) -> None:
    finished = app.sketch.finished
    sentence = raw(app, endpoint, data)
    assert says in sentence
    assert sentence.endswith(".")
    assert app.sketch.finished == finished


def test_a_bundle_is_saved_opened_and_drawn_again(app: App, client: Client) -> None:
    files, details = client.predict(SCRIPT, PANES, 9, 30, api_name="/compare")
    bundle = client.predict(details["comparison"], api_name="/bundle_export")
    saved = read_zip(Path(bundle).read_bytes())
    assert saved.facts.prompt == SCRIPT
    assert saved.facts.budget_s == 30
    with zipfile.ZipFile(bundle) as archive:
        assert "<img src=x" not in archive.read("index.html").decode()

    stranger = app.client()
    opened, found = stranger.predict(handle_file(bundle), api_name="/bundle_open")
    assert [Path(f).read_bytes() for f in opened] == [Path(f).read_bytes() for f in files]
    assert found["prompt"] == SCRIPT
    assert found["vote"] is None
    assert found["requests"][0]["seed"] == 3

    again, drawn = stranger.predict(handle_file(bundle), api_name="/bundle_replay")
    assert drawn["comparison"] not in (found["comparison"], details["comparison"])
    for old, new in zip(files, again, strict=True):
        assert np.array_equal(pixels(old), pixels(new))

    assert stranger.predict(found["comparison"], 1, api_name="/vote") == {"choice": 1}
    assert not app.playground.votes.votes(blind=True)
    assert "voted on already" in refusal(client, "/vote", details["comparison"], 0)
    _, twice = stranger.predict(handle_file(bundle), api_name="/bundle_open")
    assert "voted on already" in refusal(stranger, "/vote", twice["comparison"], 0)
    assert [v.choice for v in app.playground.votes.votes(blind=None)
            if v.prompt == SCRIPT] == [1], "the same pictures are voted on once"


@pytest.mark.parametrize("endpoint", ["/bundle_open", "/bundle_replay"])
def test_a_visitor_reads_few_bundles_at_once_and_the_others_read_on(
        app: App, bundle: str, endpoint: str) -> None:
    mine = new_token()
    client, other = app.client(**{HEADER: mine}), app.client(**{HEADER: new_token()})
    with ExitStack() as turns:
        turns.enter_context(asking(Requester(visitor_named(mine))))
        for _ in range(MAX_EACH):
            turns.enter_context(reading.turn())
        sentence = refusal(client, endpoint, handle_file(bundle))
        assert f"Files of yours are being read {MAX_EACH} times already" in sentence
        assert other.predict(handle_file(bundle), api_name="/bundle_open")[0]
    assert client.predict(handle_file(bundle), api_name=endpoint)[0]


def test_a_visitor_reads_few_lots_of_pictures_at_once(app: App, client: Client) -> None:
    files, _ = client.predict("a cat", PANES, 1, api_name="/compare")
    mine = new_token()
    client = app.client(**{HEADER: mine})
    client.predict("a cat", ["sketch"], 1, 5, api_name="/generate")
    given = [handle_file(each) for each in files]
    calls: list[tuple[Any, ...]] = [
        ("/rerank", given, ["a cat"], None, None, 0, None),
        ("/inside_contrast", given, ["a cat", "a dog"], None), ("/history_export", None, None)]
    with asking(Requester(visitor_named(mine))), ExitStack() as turns:
        for _ in range(MAX_EACH):
            turns.enter_context(reading.turn())
        for each in calls:
            assert "Files of yours are being read" in refusal(client, *each)
    assert client.predict(None, None, api_name="/history_export")


def changed(bundle: str, folder: Path, change: str) -> Path:
    """A bundle that somebody has tampered with."""
    path = folder / "bad.zip"
    with zipfile.ZipFile(bundle) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in contents.items():
            if change == "picture" and name.endswith(".png"):
                data += b"x"
            if change == "facts" and name == FACTS:
                data = data.replace(b'"steps": 2', b'"steps": NaN')
            if change == "steps" and name == FACTS:
                data = data.replace(b'"steps": 2', b'"steps": -2')
            if change == "prompt" and name == FACTS:
                data = data.replace(b'"prompt": "a cat"', b'"prompt": "a dog"')
            if change == "seed" and name == FACTS:
                data = data.replace(b'"seed": 3', b'"seed": -3')
            new.writestr(name, data)
        if change == "traversal":
            new.writestr("../../outside.png", b"x")
        if change == "bomb":
            new.writestr("pictures/a-09.png", b"\0" * (40 * 2**20))
    return path


@pytest.mark.parametrize(("change", "says"), [
    ("traversal", "leads elsewhere"), ("bomb", "unpacks to more"),
    ("picture", "missing or was changed"), ("facts", "not valid JSON"),
    ("seed", "not as Easel writes them")])
@pytest.mark.parametrize("endpoint", ["/bundle_open", "/bundle_replay"])
def test_bad_bundles_are_refused(app: App, client: Client, bundle: str, tmp_path: Path,
                                 endpoint: str, change: str, says: str) -> None:
    finished = app.sketch.finished
    bad = changed(bundle, tmp_path, change)
    assert bad.stat().st_size < 2**20
    assert says in refusal(client, endpoint, handle_file(str(bad)))
    assert app.sketch.finished == finished
    assert not list(tmp_path.parent.glob("outside.png"))


def test_a_bundle_with_an_option_out_of_range_is_not_replayed(client: Client, bundle: str,
                                                              tmp_path: Path) -> None:
    bad = handle_file(str(changed(bundle, tmp_path, "steps")))
    assert "Steps must be" in refusal(client, "/bundle_replay", bad)


def test_a_bundle_with_an_option_out_of_range_is_opened_and_says_so(client: Client, bundle: str,
                                                                    tmp_path: Path) -> None:
    bad = handle_file(str(changed(bundle, tmp_path, "steps")))
    files, details = client.predict(bad, api_name="/bundle_open")
    whole, _ = client.predict(handle_file(bundle), api_name="/bundle_open")
    assert len(files) == len(whole) > 0
    said = [pane["message"] for pane in details["panes"]]
    assert any(re.fullmatch(r"This cannot be drawn again here: Steps must be .*, not -2\.", each)
               for each in said)


def test_a_vote_on_a_bundle_that_says_another_prompt_is_said_not_to_count(
        app: App, client: Client, bundle: str, tmp_path: Path) -> None:
    bad = handle_file(str(changed(bundle, tmp_path, "prompt")))
    _, details = client.predict(bad, api_name="/bundle_open")
    before = client.predict(None, api_name="/leaders")
    assert client.predict(details["comparison"], 0, api_name="/vote") == {
        "choice": 0, "message": strings.VOTE_UNCOUNTED}
    assert client.predict(None, api_name="/leaders") == before


def test_what_is_no_bundle_is_said(app: App, client: Client, tmp_path: Path) -> None:
    assert "no zip file" in refusal(client, "/bundle_open", None)
    (tmp_path / "no.zip").write_bytes(b"nothing")
    assert "no comparison that Easel saved" in refusal(client, "/bundle_replay",
                                                       handle_file(str(tmp_path / "no.zip")))
    assert "no longer there" in refusal(client, "/bundle_export", "nobody")
    assert "must be the id" in refusal(client, "/bundle_export", 5)
    _, details = client.predict("a cat", PANES, 1, api_name="/compare")
    assert "no longer there" in refusal(app.client(), "/bundle_export", details["comparison"])


@pytest.mark.weights("clip-ranker")
def test_rerank_takes_kept_pictures_uploads_prompts_against_and_several_clips(
        app: App, tmp_path: Path) -> None:
    mine, other = app.client(), app.client()
    _, details = mine.predict("a cat", ["sketch"], 3, 5, api_name="/generate")
    assert len(details["pictures"]) == 3
    ids = [p["id"] for p in mine.predict(None, 1, 3, api_name="/history_list")["pictures"]]
    Image.new("RGB", (80, 60), "red").save(tmp_path / "red.png")
    files, found = mine.predict([handle_file(str(tmp_path / "red.png"))], ["a red apple"],
                                ["snow", "a dog:0.5"], ["embedded/clip-ranker"] * 2, 2, ids,
                                api_name="/rerank")
    assert len(found["pictures"]) == 4
    assert found["pictures"][3] == "red.png"
    assert [p["weight"] for p in found["prompts"]] == [1, -1, -0.5]
    assert len(files) == 2
    assert found["kept"] == found["order"][:2]
    assert list(found["clips"]) == ["embedded/clip-ranker"]
    assert "no such picture in your history" in refusal(
        other, "/rerank", None, ["a cat"], None, None, 0, ids)


@pytest.mark.parametrize(("args", "says"), [
    (([], ["a cat"]), "no pictures"), ((None, [" "]), "no prompt to compare"),
    ((None, "a cat"), "lists of texts"), ((None, ["a cat"], None, ["nobody"]), "no CLIP called"),
    ((None, ["a cat"], None, [5]), "no CLIP called"),
    ((None, ["a cat"], None, None, -1), "Keep must be"),
    ((None, ["a cat"], None, None, 1.5), "Keep must be"),
    ((None, ["a cat"], None, None, True), "Keep must be"),
    ((None, ["a cat"], None, None, 0, ["nobody"]), "no such picture"),
    ((None, ["a cat"], None, None, 0, [5]), "list of texts"),
    ((None, ["a cat"], None, None, 0, ["x"] * 65), "65 pictures are too many"),
    ((None, ["a cat"] * 17), "17 prompts are too many"),
    ((None, ["x" * 501]), "more than 500 characters"),
])
def test_wrong_rankings_are_refused(client: Client, args: tuple[Any, ...], says: str) -> None:
    padded = (*args, *(None,) * (4 - len(args)), *((0,) if len(args) < 5 else ()),
              *((None,) if len(args) < 6 else ()))
    assert says in refusal(client, "/rerank", *padded)


def test_a_bomb_of_pixels_is_refused(client: Client, tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(data, "PNG")
    (tmp_path / "huge.png").write_bytes(data.getvalue())
    assert "picture" in refusal(client, "/rerank", [handle_file(str(tmp_path / "huge.png"))],
                                ["a cat"], None, None, 0, None)

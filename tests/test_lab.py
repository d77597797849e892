"""The lab through the page's server: classify, search, matrix and map, and who may see what."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from easel.guard.visitors import HEADER, new_token
from easel.history.listing import list_pictures
from easel.search.database import DATABASE, only_writer
from easel.search.query import Hit
from easel.search.snapshot import Item
from easel.settings import Settings
from easel.ui.lab.lab import Lab
from easel.ui.lab.outcomes import Classified, Matrix, PictureMap, classify_files
from easel.ui.lab.render import (
    render_bars,
    render_faults,
    render_hits,
    render_many,
    render_map,
    render_matrix,
    render_one,
    render_sorted,
)
from pipelines.core.images import load_image
from pipelines.engine import build_cache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.clip_features import embed_images, embed_texts
from pipelines.zero_shot import DEFAULT_TEMPLATE, class_features, class_texts, classify
from tests.lab import write_pictures
from tests.served import App
from tests.small_models import small_cache


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("allowed")
    write_pictures(folder, 4)
    write_pictures(folder / "below", 2, start=4)
    return folder


@pytest.fixture(scope="module")
def app(root: Path) -> Iterator[App]:
    served = App(cache=small_cache(), search_folders=str(root))
    yield served
    served.close()


@pytest.fixture(scope="module")
def client(app: App) -> Client:
    return app.client()


def refusal(client: Client, api_name: str, **fields: Any) -> str:
    with pytest.raises(AppError) as caught:
        client.predict(api_name=api_name, **fields)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_pictures_are_classified(client: Client, root: Path) -> None:
    files = [handle_file(root / f"picture-00{n}.png") for n in range(2)]
    found = client.predict(images=files, labels=["cat", "dog", "human"],
                           templates=["a picture of a {}", "{}"], api_name="/classify")
    assert found["labels"] == ["cat", "dog", "human"]
    assert found["logit_scale"] > 0
    assert [picture["name"] for picture in found["pictures"]] == [
        "picture-000.png", "picture-001.png"]
    for picture in found["pictures"]:
        logits = found["logit_scale"] * np.array(picture["similarities"])
        shares = np.exp(logits - logits.max())
        np.testing.assert_allclose(picture["probabilities"], shares / shares.sum(), atol=1e-3)
        assert picture["label"] == found["labels"][int(np.argmax(picture["probabilities"]))]


def test_a_folder_is_indexed_then_searched(client: Client, root: Path) -> None:
    assert refusal(client, "/search", place=str(root), text="a cat").endswith(
        "was not indexed with this CLIP yet: index it first.")
    job = client.submit(place=str(root), api_name="/index")
    last = job.result(60)
    assert last["finished"]
    first: Any = job.outputs()[0]
    assert first["total"] == 6
    assert last["message"] == "The index is up to date: 6 new, 0 known already."
    found = client.predict(place=str(root), text="", picture=handle_file(root / "picture-002.png"),
                           limit=3, api_name="/search")
    assert found["searched"] == 6
    assert found["hits"][0]["key"] == "picture-002.png"
    assert found["hits"][0]["similarity"] == pytest.approx(1, abs=1e-4)
    assert len(found["hits"]) == 3
    assert "path" not in found["hits"][0], "no path of the server is told"
    below = client.predict(place="below", api_name="/index")
    assert below["total"] + below["kept"] == 2, "another test may have been there before"
    groups = client.predict(place=str(root), threshold=0.99999, api_name="/near_duplicates")
    assert groups["groups"] == []


def test_the_matrix_is_a_softmax_both_ways(client: Client, root: Path) -> None:
    files = [handle_file(root / f"picture-00{n}.png") for n in range(3)]
    found = client.predict(images=files, texts=["a cat", "a dog"], api_name="/text_picture_matrix")
    texts, pictures = (np.array(found[f"softmax_over_{name}"]) for name in ("texts", "pictures"))
    assert texts.shape == pictures.shape == (2, 3)
    np.testing.assert_allclose(texts.sum(0), 1, rtol=1e-5)
    np.testing.assert_allclose(pictures.sum(1), 1, rtol=1e-5)
    assert not np.allclose(texts, pictures)


def test_the_map_colours_by_label(client: Client, root: Path) -> None:
    found = client.predict(place="uploads", labels=["cat", "dog"], api_name="/picture_map",
                           images=[handle_file(p) for p in sorted(root.glob("*.png"))])
    assert found["labels"] == ["cat", "dog"]
    assert len(found["pictures"]) == 4
    assert {picture["label"] for picture in found["pictures"]} <= {0, 1}
    points = np.array([[p["x"], p["y"]] for p in found["pictures"]])
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-4)
    assert points[:, 0].std() >= points[:, 1].std() > 0


@pytest.mark.parametrize(("api_name", "asked"), [
    ("/index", {}), ("/search", {"text": "a cat"}), ("/near_duplicates", {}), ("/picture_map", {})])
def test_uploads_that_cannot_be_read_are_named(client: Client, tmp_path: Path, api_name: str,
                                               asked: dict[str, Any]) -> None:
    paths, bad = write_pictures(tmp_path, 3, start=20), tmp_path / "bad.png"
    bad.write_bytes(f"no picture of {api_name}".encode())
    files = [handle_file(str(path)) for path in (*paths, bad)]
    found = client.predict(place="uploads", images=files, api_name=api_name, **asked)
    reason = "The file is not a PNG, JPEG or WebP picture."
    assert found["unreadable"] == [{"name": "bad.png", "reason": reason}]
    if api_name != "/index":  # which says so in its answer, also where there is nothing else
        said = refusal(client, api_name, place="uploads", images=files[3:], **asked)
        assert said == f"No picture can be read; bad.png: {reason}"


def test_visitors_search_and_sort_their_own_history_alone(app: App) -> None:
    one, other = (Client(app.url, verbose=False, analytics_enabled=False,
                         headers={HEADER: new_token()}) for _ in range(2))
    ids = {}
    for who, name in ((one, "one"), (other, "other")):
        file, _ = who.predict(prompt=f"from {name}", pipelines=["sketch"], num_images=2,
                              options={"sketch": {"steps": 1}}, seed=40, api_name="/generate")
        assert len(file) == 2
        listed = who.predict(api_name="/history_list")
        ids[name] = {picture["id"] for picture in listed["pictures"]}
    for who, name in ((one, "one"), (other, "other")):
        found = who.predict(place="history", text="a cat", api_name="/search")
        assert {hit["key"] for hit in found["hits"]} == ids[name]
        assert {hit["prompt"] for hit in found["hits"]} == {f"from {name}"}
        assert {hit["pipeline"] for hit in found["hits"]} == {"sketch"}
        none = who.predict(place="history", text="a cat", generators=["etching"],
                           api_name="/search")
        assert none["hits"] == []
        sorted_ = who.predict(place="history", labels=["cat", "dog"], api_name="/classify")
        assert [p["name"] for p in sorted_["pictures"]] == [f"from {name}"] * 2
    gone = next(iter(ids["one"]))
    one.predict(ids=[gone], api_name="/history_delete")
    found = one.predict(place="history", text="a cat", api_name="/search")
    assert {hit["key"] for hit in found["hits"]} == ids["one"] - {gone}


def test_a_history_is_listed_again_only_when_it_changed(
        app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    me = Client(app.url, verbose=False, analytics_enabled=False, headers={HEADER: new_token()})

    def draw(seed: int) -> None:
        me.predict(prompt="again", pipelines=["sketch"], num_images=1, seed=seed,
                   options={"sketch": {"steps": 1}}, api_name="/generate")

    def found() -> int:
        hits = me.predict(place="history", text="a cat", api_name="/search")["hits"]
        return len({hit["key"] for hit in hits})

    draw(70)
    assert found() == 1
    listed = []
    monkeypatch.setattr("easel.search.collections.list_pictures", lambda history, owner: (
        listed.append(owner), list_pictures(history, owner))[1])
    assert found() == 1
    assert listed == []
    draw(71)
    assert found() == 2
    assert len(listed) == 1


def test_a_history_that_is_being_indexed_is_searched_as_it_is(app: App) -> None:
    me = Client(app.url, verbose=False, analytics_enabled=False, headers={HEADER: new_token()})
    places = app.playground.settings.data_dir.resolve() / "search"

    def draw(seed: int) -> None:
        me.predict(prompt="busy", pipelines=["sketch"], num_images=1, seed=seed,
                   options={"sketch": {"steps": 1}}, api_name="/generate")

    before = set(places.glob("history-*"))
    draw(80)
    assert me.predict(place="history", text="a cat", api_name="/search")["searched"] == 1
    mine, = set(places.glob("history-*")) - before
    draw(81)
    with only_writer(mine):
        assert me.predict(place="history", text="a cat", api_name="/search")["searched"] == 1
    assert me.predict(place="history", text="a cat", api_name="/search")["searched"] == 2
    shutil.rmtree(mine)
    with only_writer(mine):
        assert refusal(me, "/search", place="history", text="a cat") == (
            "These pictures are being indexed already: try again when that is done.")


def test_a_folder_that_vanishes_and_comes_back_loses_nothing(client: Client, root: Path,
                                                             tmp_path: Path) -> None:
    write_pictures(root / "shy", 2, start=30)
    client.predict(place="shy", api_name="/index")
    (root / "shy").rename(tmp_path / "shy")
    for api_name, fields in (("/index", {}), ("/search", {"text": "a cat"}), ("/picture_map", {})):
        assert refusal(client, api_name, place="shy", **fields) == "The folder shy is not there."
    (tmp_path / "shy").rename(root / "shy")
    try:
        assert client.predict(place="shy", text="a cat", api_name="/search")["searched"] == 2
        assert client.predict(place="shy", api_name="/index")["kept"] == 2
    finally:
        shutil.rmtree(root / "shy")


def test_an_index_of_another_version_is_made_anew_when_told_to(client: Client, app: App) -> None:
    client.predict(place="below", api_name="/index")
    places = app.playground.settings.data_dir.resolve() / "search"
    for database in places.glob(f"folder-*/*/{DATABASE}"):
        with closing(sqlite3.connect(database)) as opened:
            opened.execute("UPDATE facts SET value = '99' WHERE name = 'version'")
            opened.commit()
    sentence = ("The index of these pictures was made by another version of Easel: allow a "
                "rebuild to make it again.")
    assert refusal(client, "/search", place="below", text="a cat") == sentence
    assert refusal(client, "/index", place="below") == sentence
    last = client.predict(place="below", rebuild=True, api_name="/index")
    assert (last["finished"], last["done"], last["kept"]) == (True, 2, 0)
    assert client.predict(place="below", text="a cat", api_name="/search")["searched"] == 2


def test_an_index_that_is_everybodys_is_made_anew_by_the_models_admins_alone(
        app: App, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.playground.admins, "who", "nobody")
    for api_name, fields in (("/index", {}), ("/classify", {"labels": ["a", "b"]})):
        assert refusal(client, api_name, place="below", rebuild=True, **fields) == (
            "Only who may change models here may make the index of a shared folder anew "
            "(EASEL_MODELS_BY).")
    assert client.predict(place="below", api_name="/index")["finished"]
    assert client.predict(rebuild=True, api_name="/index")["finished"], "of one's own history"


def test_labels_times_pictures_have_a_limit(client: Client,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("easel.ui.lab.outcomes.MAX_CELLS", 5)
    client.predict(place="below", api_name="/index")
    assert refusal(client, "/classify", place="below", labels=["a", "b", "c"]) == (
        "3 labels are too many for 2 pictures: 2 is the most.")
    found = client.predict(place="below", labels=["a", "b"], api_name="/classify")
    assert len(found["pictures"]) == 2


@pytest.mark.parametrize(("api_name", "fields", "sentence"), [
    ("/classify", {"labels": ["a", "b"]}, "There are no pictures: choose some files first."),
    ("/classify", {"labels": []},
     "There are no labels: type two or more, with commas between them."),
    ("/classify", {"labels": [str(n) for n in range(10_000)]},
     "10,000 labels are too many: 1,000 is the most."),
    ("/classify", {"labels": 5}, "Labels must be a list of texts."),
    ("/classify", {"labels": ["a", "b"], "model": None},
     "The CLIP must be the id of one, as text."),
    ("/classify", {"labels": ["a", "b"], "model": "embedded/dalle"},
     "The catalogue has no CLIP called 'embedded/dalle'."),
    ("/search", {"place": "/etc", "text": "x"}, "That folder is not among those that this Easel "
     "may search (EASEL_SEARCH_FOLDERS)."),
    ("/index", {"place": "../"}, "That folder is not among those that this Easel may search "
     "(EASEL_SEARCH_FOLDERS)."),
    ("/index", {"place": "gone"}, "The folder gone is not there."),
    ("/search", {"place": "history", "text": ""},
     "There is nothing to look for: give a text or a picture."),
    ("/search", {"place": "below", "text": "x", "threshold": "high"},
     "Threshold must be a number."),
    ("/search", {"place": "below", "text": "x", "limit": 1e300}, "Limit is too large."),
    ("/search", {"place": "below", "text": "x", "limit": 0},
     "The number of results must be 1 to 1,000."),
    ("/search", {"place": "below", "text": "x", "since": "soon"},
     "'soon' is not a day: write it as 2026-11-24."),
    ("/near_duplicates", {"place": "below", "threshold": 2},
     "The threshold of near-duplicates must be above 0 and at most 1."),
    ("/text_picture_matrix", {"texts": ["  "]}, "There are no texts: type one a line."),
    ("/picture_map", {"place": "below"}, "A map needs at least three pictures."),
])
def test_bad_input_is_one_sentence(client: Client, api_name: str, fields: dict[str, Any],
                                   sentence: str) -> None:
    client.predict(place="below", api_name="/index")
    assert refusal(client, api_name, **fields) == sentence


def outcome(app: App, paths: list[Path], labels: list[str]) -> Classified:
    lab_run = app.playground.runs.start("test", "visitor")
    *_, found = classify_files(Lab(app.playground), paths, labels, ["{}"], RANKER, lab_run)
    assert isinstance(found, Classified)
    return found


def test_what_is_shown_is_escaped_and_named(app: App, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    paths = write_pictures(tmp_path, 3)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    found = outcome(app, [*paths, bad], [evil, "dog"])
    assert found.unreadable == (("bad.png", "The file is not a PNG, JPEG or WebP picture."),)
    for html in (render_one(found), render_many(found), render_sorted(found),
                 render_bars([evil], [0.5]), render_faults([(evil, evil)])):
        assert "<script" not in html
        assert html.count("<img") == html.count(' alt="')
    assert render_many(found).count("<tr>") == 4
    assert "3" in render_sorted(found)
    paths[0].unlink()
    assert "The picture’s file is no longer there." in render_one(found)
    eye = np.eye(2, dtype=np.float32)
    matrix = Matrix(found.clip, (evil, "b"), ("x.png", evil), (paths[1], paths[2]), eye, eye, eye)
    html = render_matrix(matrix)
    assert "<script" not in html
    assert html.count("100.0 %") == 4
    assert "Texts that find their picture, in this order: 2 of 2;" in html


def test_the_map_shows_each_picture_once(app: App, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 3)
    items = tuple(Item(p.name, str(p), 0, 0, 0.0, "", '"><b>') for p in paths)
    html = render_map(PictureMap(items, np.array([[0, 0], [1, 2], [2, 1]], np.float32),
                                 np.array([0.6, 0.2], np.float32), ("cat", "dog"),
                                 np.array([0, 1, 1]), 9))
    assert html.count('class="dot"') == 3
    assert "<b>" not in html
    assert "--x:100.00%;--y:50.00%" in html
    assert "keep 80.0 % of the variance" in html
    assert "3 of 9 pictures are drawn" in html


def test_a_file_is_named_without_its_folders() -> None:
    item = Item("long/way/down/cat.png", "/nowhere.png", 0, 0, 0.0, "", "")
    html = render_hits([Hit(item, 0.5)], [False])
    assert "score grey" not in html
    assert "score grey" in render_hits([Hit(item, 0.5)], [True])
    assert ">cat.png</span>" in html
    assert 'title="long/way/down/cat.png"' in html


def test_the_ranker_tells_the_lessons_three_apart(repository: Path) -> None:
    """By the weights that are shipped: what a visitor sees after one click is right."""
    names = ["cat", "dog", "human"]
    pictures = [load_image((repository / "assets" / "lab" / f"{name}.png").read_bytes())
                for name in names]
    cache = build_cache(Settings(device="cpu"))
    try:
        with cache.lease(RANKER) as clip:
            squares = [np.asarray(Image.fromarray(picture).resize(
                (clip.image_size, clip.image_size), Image.Resampling.BICUBIC))
                for picture in pictures]
            directions = class_features(embed_texts(clip, class_texts(names, [DEFAULT_TEMPLATE])),
                                        len(names))
            found = classify(embed_images(clip, squares), directions, names, clip.logit_scale)
    finally:
        cache.close()
    assert [names[found.ranking(n)[0]] for n in range(3)] == names
    assert found.probabilities.diagonal().min() > 0.6


def test_the_example_of_the_lesson_is_shipped(repository: Path) -> None:
    for name in ("cat", "dog", "human"):
        with Image.open(repository / "assets" / "lab" / f"{name}.png") as image:
            assert image.size == (256, 256)

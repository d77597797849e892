"""Reranking by several prompts and CLIPs, from uploads and from the history."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from easel.compare.ranking import Ranking, rank_pictures, read_prompts
from easel.serving.backend import LocalBackend
from easel.ui.parts.pictures import PictureStore
from easel.ui.parts.uploads import read_small
from easel.ui.rerank.render import (
    render_bars,
    render_gallery,
    render_heat,
    render_ranking,
    render_table,
)
from easel.ui.rerank.sources import SourceFile, installed_clips, uploaded_files
from easel.ui.rerank.tab import _save
from pipelines.core.errors import InvalidImage, InvalidRequest
from pipelines.core.images import load_image, resize
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.clip_features import Features
from pipelines.rerank import rank
from tests.noise import noise_registry
from tests.small_models import small_cache
from tests.test_rerank import pictures

GUIDE = "embedded/clip-guide"
SCRIPT = '<img src=x onerror="alert(1)">'
TITLES = {RANKER: "ranker CLIP", GUIDE: SCRIPT}


def embed(vectors: np.ndarray, texts: dict[str, list[float]]) -> Any:
    """Features as given, in place of a CLIP's: the arithmetic is tested here."""
    def look(model_id: str, images: Any, asked: Any) -> Features:
        return Features(model_id, "", 8, 1.0, vectors * (2 if model_id == GUIDE else 1),
                        np.array([texts[text] for text in asked]))

    return look


def test_prompts_for_and_against_make_one_score() -> None:
    vectors = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    look = embed(vectors, {"a cat": [1.0, 0.0], "snow": [0.0, 1.0]})
    images = list(np.zeros((3, 8, 8, 3), np.uint8))
    only = rank_pictures(images, read_prompts(["a cat"]), [RANKER], look)
    assert only.order == (0, 1, 2)
    assert only.scores == pytest.approx([1, 0.6, 0])
    against = rank_pictures(images, read_prompts(["a cat:1"], ["snow:3"]), [RANKER], look)
    assert against.prompts == (("a cat", 1.0), ("snow", -3.0))
    assert against.scores == pytest.approx([0.25, 0.15 - 0.6, -0.75])
    both = rank_pictures(images, read_prompts(["snow"]), [RANKER, GUIDE, RANKER], look)
    assert both.order == (2, 1, 0)
    assert [judge.model_id for judge in both.judges] == [RANKER, GUIDE]
    assert both.judges[1].scores == pytest.approx(2 * both.judges[0].scores)
    assert both.scores.mean() == pytest.approx(0, abs=1e-9)
    assert both.scores.std() == pytest.approx(1)
    json.dumps(both.to_json(), allow_nan=False)


def test_the_real_backend_ranks_as_the_ranker_does() -> None:
    backend = LocalBackend(noise_registry(), small_cache())
    images = list(pictures(5))
    found = rank_pictures(images, read_prompts(["a red apple"]), [RANKER], backend.embed)
    with backend.cache.lease(RANKER) as clip:
        expected = rank(images, ["a red apple"], clip)[0]
    assert list(found.order) == expected["order"]
    assert found.scores == pytest.approx(expected["similarities"], abs=1e-5)
    two = rank_pictures(images, read_prompts(["a red apple", "snow"]), [RANKER, GUIDE],
                        backend.embed)
    assert two.judges[0].cosines.shape == (5, 2)
    assert sorted(two.order) == [0, 1, 2, 3, 4]
    backend.close()


@pytest.mark.parametrize(("wanted", "unwanted", "says"), [
    ([], [], "no prompt"), ([" ", ""], [""], "no prompt"), ([5], [], "list of texts"),
    (["a" * 501], [], "more than 500"), (["x"] * 17, [], "17 prompts are too many"),
    (["a:0"], [], "weights of the prompt are 0"), (["a:1000"], [], "weight of 'a' must"),
    ([":2"], [], "has no text"),
])
def test_wrong_prompts_are_refused(wanted: list[Any], unwanted: list[Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        read_prompts(wanted, unwanted)


def test_nothing_to_rank_is_said() -> None:
    look = embed(np.zeros((1, 2)), {})
    with pytest.raises(InvalidRequest, match="no pictures"):
        rank_pictures([], [("a", 1.0)], [RANKER], look)
    with pytest.raises(InvalidRequest, match="No CLIP is chosen"):
        rank_pictures([np.zeros((8, 8, 3), np.uint8)], [("a", 1.0)], [], look)
    with pytest.raises(InvalidRequest, match="no pictures"):
        uploaded_files([])
    with pytest.raises(InvalidRequest, match="65 pictures are too many"):
        uploaded_files(["a.png"] * 65)


def ranking() -> Ranking:
    vectors = np.array([[0.2, 0.4], [0.9, 0.1]])
    look = embed(vectors, {SCRIPT: [1.0, 0.0], "snow": [0.0, 1.0]})
    return rank_pictures(list(np.zeros((2, 8, 8, 3), np.uint8)), [(SCRIPT, 1.0), ("snow", -1.0)],
                         [RANKER, GUIDE], look)


def test_every_view_has_the_order_and_inert_texts() -> None:
    found, names = ranking(), [SCRIPT, "second"]
    thumbnails = list(np.zeros((2, 8, 8, 3), np.uint8))
    gallery = render_gallery(found, thumbnails, names, 1)
    assert gallery.count("<img src=\"data:") == 1
    assert 'alt="second"' in gallery
    bars, heat = render_bars(found, names), render_heat(found, names, TITLES)
    table = render_table(found, thumbnails, names, TITLES)
    whole = render_ranking(found, thumbnails, names, TITLES, 1)
    for html in (gallery, bars, heat, table, whole):
        assert SCRIPT not in html
    for html in (bars, heat, table):
        assert html.index("second") < html.rindex("&lt;img")
    assert table.count("<tr>") == 1 + 2
    assert table.count("data-sort=") == 2 + 2 * 2, "rank, score, and each prompt by each CLIP"
    assert whole.count("<img src=") == 2 + 1
    assert heat.count("<td style=") == 2 * 2 * 2
    assert "A score is the mean of the picture’s cosines" in whole
    assert "brought to the same mean" in whole
    judge = replace(found.judges[0], cosines=found.judges[0].cosines[:, :1])
    alone = Ranking(found.prompts[:1], (judge,), found.scores, found.order)
    assert "A score is the mean" not in render_ranking(alone, thumbnails, names, TITLES, 1)
    assert "0.900" in heat


def test_the_best_files_come_as_they_were_named_by_rank(tmp_path: Path) -> None:
    sources = []
    for name, colour in (("one.png", "red"), ("../two é.webp", "blue")):
        path = tmp_path / Path(name).name
        Image.new("RGB", (16, 8), colour).save(path)
        sources.append(SourceFile(path, name))
    path = _save(PictureStore(gr.HTML()), ranking(), sources, keep=2)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["01-two-e.webp", "02-one.png"]
        assert archive.read("02-one.png") == sources[0].path.read_bytes()


def test_uploads_are_checked_and_made_small(tmp_path: Path) -> None:
    Image.new("RGB", (1000, 500)).save(tmp_path / "large.png")
    assert read_small(tmp_path / "large.png").shape == (256, 512, 3)
    noise = np.random.default_rng(0).integers(0, 256, (300, 900, 3), np.uint8)
    for side_px in (900, 512, 7):
        Image.fromarray(noise).save(tmp_path / "noise.png")
        whole = load_image((tmp_path / "noise.png").read_bytes())
        assert np.array_equal(read_small(tmp_path / "noise.png", side_px),
                              resize(whole, side_px, max(1, round(300 * side_px / 900))))
    (tmp_path / "text.png").write_bytes(b"no picture")
    with pytest.raises(InvalidImage, match="not a PNG"):
        read_small(tmp_path / "text.png")


def test_clips_on_offer_are_those_that_are_here() -> None:
    clips = installed_clips()
    assert next(iter(clips)) == RANKER
    assert "laion/clip-vit-b-32" not in clips or len(clips) > 2

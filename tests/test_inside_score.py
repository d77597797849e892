"""Why a picture has its score: each figure against the CLIP asked directly."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.images import load_image
from pipelines.core.settings import EngineSettings
from pipelines.engine import build_cache
from pipelines.inside.score import (
    AGAINST,
    FOR,
    GREY,
    MAX_COVER,
    WhyScore,
    cell_worths,
    heat_map,
    without_words,
    word_worths,
)
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.clip_features import image_features, text_features
from pipelines.rerank import similarities
from tests.conftest import REPOSITORY
from tests.small_models import small_cache

APPLE = REPOSITORY / "assets" / "samples" / "1-a-red-apple-next-to-a-blue-car-at-the-beach.png"
PROMPT = "a red apple next to a blue car at the beach"


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def picture(side_px: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), np.uint8)


def test_each_word_is_left_out_once() -> None:
    found = without_words([("a red, red apple", 2.0), ("worm", -0.5)])
    assert found == [
        ("a", [("red, red apple", 2.0), ("worm", -0.5)]),
        ("red", [("a , red apple", 2.0), ("worm", -0.5)]),
        ("red", [("a red, apple", 2.0), ("worm", -0.5)]),
        ("apple", [("a red, red", 2.0), ("worm", -0.5)]),
        ("worm", [("a red, red apple", 2.0)])]
    assert without_words([("apple", 1.0)]) == []
    assert without_words([("apple", 1.0), ("worm", 0.0)])[0][0] == "worm"
    assert len(without_words([("word " * 99, 1.0)])) == 40


def test_words_and_cells_are_what_the_clip_says(cache: ModelCache) -> None:
    image = picture(32)  # as large as the small CLIP sees: nothing is resized
    with cache.lease(RANKER) as clip:
        whole, without = similarities([image], ["a red apple", "a apple"], clip)[0].tolist()
        words = word_worths(image, [("a red apple", 1.0)], clip)
        assert [word.text for word in words] == ["a", "red", "apple"]
        assert words[1].drop == pytest.approx(whole - without, abs=1e-6)
        cells = cell_worths(image, [("a red apple", 1.0)], clip)
        covered = image.copy()
        covered[4:16, 16:28] = GREY  # row 2, column 5, and what is around
        text = text_features(clip, ["a red apple"])
        there = float(image_features(clip, [covered]) @ text.t())
    assert cells.shape == (8, 8)
    assert cells[2, 5] == pytest.approx(whole - there, abs=1e-5)
    assert len(np.unique(cells)) > 32


def test_weights_of_a_prompt_count(cache: ModelCache) -> None:
    image = picture(32)
    with cache.lease(RANKER) as clip:
        apple, worm = similarities([image], ["a red apple", "a worm"], clip)[0].tolist()
        words = word_worths(image, [("a red apple", 2.0), ("worm", -1.0)], clip)
        [alone] = similarities([image], ["worm"], clip)[0].tolist()
    assert words[-1].text == "worm"
    assert words[-1].drop == pytest.approx((2 * apple - alone) / 3 - apple, abs=1e-6)
    found = WhyScore(image, "a red apple:2 | a worm:-1").answer(cache)
    assert found.score == pytest.approx((2 * apple - worm) / 3, abs=1e-6)


def test_a_prompt_of_one_word_has_cells_alone(cache: ModelCache) -> None:
    found = WhyScore(picture(), "  apple ").answer(cache)
    assert (found.words, found.tie) == ((), None)
    assert found.cells.shape == (8, 8)
    assert [piece.text for piece in found.pieces] == ["apple"]


def test_a_question_is_checked_and_can_be_stopped(cache: ModelCache) -> None:
    for prompt, said in (("", "The prompt is empty: say what the picture shows."),
                         (5, "The prompt must be text."), ("a\0", "NUL character"),
                         ("a " * 300, "The prompt has 599 characters; 500 is the most.")):
        with pytest.raises(InvalidRequest, match=said):
            WhyScore(picture(), prompt)  # type: ignore[arg-type]
    asked = []
    with cache.lease(RANKER) as clip, pytest.raises(Cancelled):
        word_worths(picture(), [("a cat " * 9, 1.0)], clip, None,
                    lambda: bool(asked.append(0)) or len(asked) > 1)
    with cache.lease(RANKER) as clip, pytest.raises(Cancelled):
        cell_worths(picture(), [("a cat", 1.0)], clip, lambda: True)


def test_the_heat_map_covers_what_counts() -> None:
    cells = np.zeros((8, 8), np.float32)
    cells[0, 0], cells[7, 7] = 0.2, -0.2
    found = heat_map(np.zeros((16, 24, 3), np.uint8), cells)
    assert found.shape == (16, 24, 3)
    assert np.array_equal(found[0, 0], np.round(np.array(FOR) * 0.65))
    assert np.array_equal(found[15, 23], np.round(np.array(AGAINST) * 0.65))
    assert not found[4, 4].any()
    assert not heat_map(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8))).any()


@pytest.mark.parametrize("size", [(61, 93), (5, 3), (1, 200)])
def test_every_pixel_of_the_heat_map_is_of_its_own_cell(size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    cells = np.random.default_rng(2).normal(size=(8, 8)).astype(np.float32)
    found = heat_map(image, cells)
    for (row, column), pixel in np.ndenumerate(np.empty(size)):
        worth = float(cells[row * 8 // size[0], column * 8 // size[1]])
        cover = MAX_COVER * abs(worth) / float(np.abs(cells).max())
        pixel = image[row, column] * (1 - cover) + np.array(FOR if worth > 0 else AGAINST) * cover
        assert np.array_equal(found[row, column], pixel.round())


def test_the_heat_map_of_a_large_picture_takes_little_more_than_the_picture() -> None:
    image = np.zeros((2000, 1500, 3), np.uint8)
    tracemalloc.start()
    try:
        heat_map(image, np.ones((8, 8), np.float32))
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 2 * image.nbytes


@pytest.mark.weights("clip-ranker")
def test_the_ranker_looks_at_what_it_scores() -> None:
    image = load_image(APPLE.read_bytes())
    cache = build_cache(EngineSettings(device="cpu"))
    found = WhyScore(image, PROMPT + " with a zzyzx").answer(cache)
    with cache.lease(RANKER) as clip, torch.no_grad():
        [score] = similarities([image], [PROMPT + " with a zzyzx"], clip)[0].tolist()
    assert found.score == score
    assert found.tie is not None
    assert 0 < found.tie < 0.1
    worth = {word.text: word.drop for word in found.words}
    assert worth["apple"] > 0.02
    assert worth["car"] > 0.02
    assert worth["next"] < worth["apple"]
    assert [word.text for word in found.words if word.known is False] == ["zzyzx"]
    # The apple is on the left, the car on the right; the sky above says little.
    assert np.abs(found.cells[:2]).mean() < np.abs(found.cells[3:7]).mean()
    cache.close()

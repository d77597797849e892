"""Ranking: order, shares, ties, several texts, pictures of any size."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.clip import ClipModel
from pipelines.rerank import (
    probabilities,
    rank,
    rank_candidates,
    ranking_order,
    similarities,
    weighted_scores,
)
from tests.small_models import small_cache


@pytest.fixture(scope="module")
def clip() -> Iterator[ClipModel]:
    with small_cache().lease(RANKER) as model:
        yield model


def pictures(count: int, height_px: int = 24, width_px: int = 24) -> np.ndarray:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 3, 3, 3), np.uint8)
    return coarse.repeat(height_px // 3, 1).repeat(width_px // 3, 2)


def test_each_text_has_an_order_of_its_own(clip: ClipModel) -> None:
    images = [*pictures(4), pictures(1, 30, 60)[0]]
    ranking = rank(images, ["a red apple", "two dogs at night"], clip)
    json.dumps(ranking, allow_nan=False)
    assert [entry["prompt"] for entry in ranking] == ["a red apple", "two dogs at night"]
    for entry in ranking:
        values = [entry["similarities"][i] for i in entry["order"]]
        assert values == sorted(values, reverse=True)
        assert sorted(entry["order"]) == [0, 1, 2, 3, 4]
        assert sum(entry["probabilities"]) == pytest.approx(1)
        assert int(np.argmax(entry["probabilities"])) == entry["order"][0]
    assert ranking[0]["similarities"] != ranking[1]["similarities"]


def test_similarities_are_cosines_of_the_features(clip: ClipModel) -> None:
    images = pictures(2, 33, 33)[:, :32, :32]
    pixels = torch.from_numpy(images.copy()).permute(0, 3, 1, 2) / 255
    expected = clip.encode_image(pixels) @ clip.encode_text(["a cat"]).t()
    found = similarities(list(images), ["a cat"], clip)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_equal_pictures_keep_their_order(clip: ClipModel) -> None:
    same = pictures(1).repeat(5, axis=0)
    assert ranking_order(torch.zeros(5)) == [0, 1, 2, 3, 4]
    ranked = rank_candidates(same, range(5), [("a cat", 1.0)], clip)
    assert [candidate.index for candidate in ranked] == [0, 1, 2, 3, 4]
    assert len({candidate.scores["clip"] for candidate in ranked}) == 1, "to the bit"
    assert ranked[0].scores["probability"] == pytest.approx(0.2, abs=1e-4)


def test_candidates_come_best_first_with_their_seeds(clip: ClipModel) -> None:
    images = pictures(4)
    ranked = rank_candidates(images, (7, 8, 9, 10), [("a cat", 1.0)], clip)
    cosines = similarities(list(images), ["a cat"], clip)[:, 0]
    assert [c.scores["clip"] for c in ranked] == sorted(cosines.tolist(), reverse=True)
    assert all(c.seed == 7 + c.index for c in ranked)
    assert all(np.array_equal(c.image, images[c.index]) for c in ranked)


def test_negative_texts_count_against_a_picture() -> None:
    cosines = torch.tensor([[0.5, 0.1], [0.5, 0.4]])
    plain = weighted_scores(cosines[:, :1], [3.0])
    torch.testing.assert_close(plain, cosines[:, 0])
    mixed = weighted_scores(cosines, [1.0, -1.0])
    torch.testing.assert_close(mixed, torch.tensor([0.2, 0.05]))
    assert ranking_order(mixed) == [0, 1]


def test_probabilities_are_a_softmax_with_the_logit_scale() -> None:
    shares = probabilities(torch.tensor([0.2, 0.1]), 10.0)
    torch.testing.assert_close(shares, torch.tensor([1.0, 0.0]).softmax(0))

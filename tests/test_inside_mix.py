"""Masks of codes, and two pictures in one grid, against the network asked directly."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.images import load_image
from pipelines.core.settings import EngineSettings
from pipelines.engine import build_cache
from pipelines.inside.codes import CODER, ReadCodes
from pipelines.inside.mask import MAX_SIDE, kept_codes, mask_of, shaped
from pipelines.inside.mix import MixCodes, over_pixels
from pipelines.models.cache.cache import ModelCache
from pipelines.models.pixels import to_uint8
from tests.conftest import REPOSITORY
from tests.small_models import small_cache

SAMPLES = sorted((REPOSITORY / "assets" / "samples").glob("*.png"))


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def picture(seed: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_shapes_keep_one_half() -> None:
    assert shaped("upper", 4).astype(int).tolist() == [[1] * 4] * 2 + [[0] * 4] * 2
    assert shaped("left", 4).astype(int).tolist() == [[1, 1, 0, 0]] * 4
    board = shaped("checker", 8).astype(int)
    assert board[:4, :4].tolist() == [[1, 1, 0, 0]] * 2 + [[0, 0, 1, 1]] * 2
    assert board.sum() == 32
    for side in (2, 3):
        assert 0 < shaped("checker", side).sum() < side * side


def test_a_mask_of_any_size_is_laid_over_the_codes() -> None:
    fine = np.zeros((32, 48), bool)
    fine[:, :24] = True
    assert np.array_equal(kept_codes(fine, 8), shaped("left", 8))
    assert np.array_equal(kept_codes(np.array([[True], [False]]), 8), shaped("upper", 8))
    third = np.zeros((6, 6), bool)
    third[:2] = True
    kept = kept_codes(third, 2)
    assert kept.tolist() == [[True, True], [False, False]], "most of what lies over it counts"


@pytest.mark.parametrize(("mask", "says"), [
    (np.ones((4, 4), bool), "The mask keeps all codes: leave some of them out."),
    (np.zeros((4, 4), bool), "The mask keeps none of the codes: keep some of them."),
    (np.eye(64, dtype=bool), "The mask keeps none of the codes: keep some of them."),
    ("round", "There is no mask called round; there are upper, left, checker."),
])
def test_masks_that_leave_nothing_to_do_are_refused(mask: Any, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kept_codes(mask, 8)
    assert str(caught.value) == says


def test_masks_are_told_by_name_or_in_rows() -> None:
    assert mask_of("checker") == "checker"
    for rows in ("10 01", "10\n01", [[1, 0], [0, 1]], [[True, False], [False, True]]):
        found = mask_of(rows)
        assert isinstance(found, np.ndarray)
        assert found.tolist() == [[True, False], [False, True]]
    for wrong in ("", " ", "round", "12", "10 1", [], [[]], [[1], [0, 1]], [[2]], [["x"]], [[None]],
                  [1, 0], None, 5, {}, [[0.0]], [[1] * (MAX_SIDE + 1)], [[1]] * (MAX_SIDE + 1),
                  "0" * (MAX_SIDE + 1)):
        with pytest.raises(InvalidRequest, match=r"^A mask is one of upper, left, checker, or rows "
                                                 r"of 0 and 1 .*, at most 512 × 512\.$"):
            mask_of(wrong)


def test_a_text_without_end_is_not_cut_into_rows() -> None:
    """Four million rows of one cell took a third of a gigabyte, and everybody's time for 12 s."""
    asked = "0 " * 2**21
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="at most 512 × 512"):
            mask_of(asked)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_codes_of_two_pictures_are_drawn_together(cache: ModelCache) -> None:
    one, other = picture(1), picture(2, 50, 90)
    found = MixCodes(one, other, "left").answer(cache)
    left, right = (ReadCodes(each).answer(cache) for each in (one, other))
    assert np.array_equal(found.grid[:, :4], left.grid[:, :4])
    assert np.array_equal(found.grid[:, 4:], right.grid[:, 4:])
    assert np.array_equal(found.one.grid, left.grid)
    assert np.array_equal(found.other.image, right.image), "of another size, squeezed"
    with cache.lease(CODER) as vqgan, torch.no_grad():
        drawn = to_uint8(vqgan.decode_indices(torch.from_numpy(found.grid)[None]))[0]
    assert np.array_equal(found.picture, drawn)
    assert np.array_equal(found.pasted[:, :16], left.reconstruction[:, :16])
    assert np.array_equal(found.pasted[:, 16:], right.reconstruction[:, 16:])
    assert np.array_equal(found.difference, np.abs(drawn.astype(int) - found.pasted))
    assert 0 < found.psnr_db < np.inf
    assert MixCodes(one, one, "checker").answer(cache).psnr_db == np.inf, "there is no edge"


def test_a_mask_covers_the_pixels_of_its_codes() -> None:
    over = over_pixels(shaped("left", 2), 6)
    assert over.shape == (6, 6, 1)
    assert over[..., 0].astype(int).tolist() == [[1, 1, 1, 0, 0, 0]] * 6


def test_mixing_is_refused_and_stopped(cache: ModelCache) -> None:
    with pytest.raises(InvalidRequest, match="keeps all codes"):
        MixCodes(picture(1), picture(2), np.ones((2, 2), bool)).answer(cache)
    with pytest.raises(Cancelled):
        MixCodes(picture(1), picture(2)).answer(cache, lambda: True)


@pytest.mark.weights("vqgan")
def test_the_embedded_decoder_blends_what_meets() -> None:
    cache = build_cache(EngineSettings(device="cpu"))
    one, other = (load_image(path.read_bytes()) for path in SAMPLES[:2])
    found = MixCodes(one, other, "left").answer(cache)
    middle = found.difference.shape[1] // 2
    # Strongest where the two meet; its norms and attention see all codes, so a little everywhere.
    columns = found.difference.astype(float).mean((0, 2))
    assert columns[middle - 4:middle + 2].mean() > 3 * np.median(columns)
    assert (columns > 0).all()
    cache.close()

"""A picture as codes: what a VQGAN reads and draws, against the network asked directly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from easel.ui.inside.codes import render_codes
from pipelines.core.errors import Cancelled, InvalidRequest
from pipelines.core.images import load_image
from pipelines.core.settings import EngineSettings
from pipelines.engine import build_cache
from pipelines.inside.codes import (
    CODER,
    Codes,
    LookAtCode,
    ReadCodes,
    codes_of,
    digits_of,
    others,
    patch_of,
)
from pipelines.models.cache.cache import ModelCache
from pipelines.models.pixels import from_uint8, to_uint8
from tests.conftest import REPOSITORY
from tests.small_models import LEARNED, small_cache

LEVELS = (5, 5, 5)  # of the small VQGAN
APPLE = REPOSITORY / "assets" / "samples" / "1-a-red-apple-next-to-a-blue-car-at-the-beach.png"


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def picture(side_px: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), np.uint8)


def test_codes_are_those_of_the_network(cache: ModelCache) -> None:
    image = picture()
    found = ReadCodes(image).answer(cache)
    with cache.lease(CODER) as vqgan, torch.no_grad():
        grid = vqgan.encode(from_uint8(image[None]))
        drawn = to_uint8(vqgan.decode_indices(grid))[0]
    assert np.array_equal(found.image, image), "the square is read as it is"
    assert np.array_equal(found.grid, grid[0].numpy())
    assert np.array_equal(found.reconstruction, drawn)
    assert (found.count, found.levels) == (125, (5, 5, 5))
    assert found.distinct == len(set(found.grid.flatten().tolist()))
    error = (image.astype(float) - drawn) ** 2
    assert found.psnr_db == pytest.approx(10 * np.log10(255**2 / error.mean()))
    assert np.array_equal(found.difference, np.abs(image.astype(int) - drawn))
    same = Codes(image, found.grid, image, 125)
    assert same.psnr_db == np.inf
    page = render_codes(found)
    assert "A code is 3 channels of 5 levels each: 5 · 5 · 5 = 125." in page
    assert "A code is" not in render_codes(same), "nobody knows its channels"


def test_pictures_of_any_size_are_read(cache: ModelCache) -> None:
    found = ReadCodes(np.zeros((50, 90, 3), np.uint8)).answer(cache)
    assert found.image.shape == found.reconstruction.shape == (32, 32, 3)
    assert found.grid.shape == (8, 8)


def test_a_code_has_digits_and_neighbours_one_step_away(cache: ModelCache) -> None:
    with cache.lease(CODER) as vqgan:
        assert digits_of(0, vqgan) == (0, 0, 0)
        assert digits_of(124, vqgan) == (4, 4, 4)
        assert digits_of(2 * 25 + 3 * 5 + 1, vqgan) == (2, 3, 1)
        latent = vqgan.lookup(torch.tensor([[[66]]]))[0, :, 0, 0]
        assert latent.tolist() == pytest.approx([0.0, 0.5, -0.5])
        *near, far = others(66, vqgan)[0]
        *distances, furthest = others(66, vqgan)[1]
    assert len(near) == 8
    assert np.unravel_index(far, LEVELS) == (0, 0, 4)
    assert furthest == pytest.approx((1 + 1.5**2 + 1.5**2) ** 0.5)
    # Six codes differ by one level in one of three channels, the rest in two.
    assert distances[:6] == pytest.approx([0.5] * 6)
    assert distances[6] == pytest.approx(0.5 * 2**0.5)
    for code in near[:6]:
        assert np.abs(np.subtract(np.unravel_index(code, LEVELS),
                                  np.unravel_index(66, LEVELS))).sum() == 1


def test_a_learned_codebook_has_neighbours_but_no_digits() -> None:
    built = small_cache(LEARNED)
    image = picture()
    found = LookAtCode(image, (3, 4)).answer(built)
    assert found.digits == ()
    with built.lease(CODER) as vqgan:
        book = vqgan.codebook
        distances = (book - book[found.code]).norm(dim=-1)
        assert found.nearest[0].distance == pytest.approx(float(distances.sort().values[1]))
    built.close()


def test_a_code_that_is_exchanged_changes_its_place(cache: ModelCache) -> None:
    image = picture()
    before = LookAtCode(image, (2, 5)).answer(cache)
    assert len(before.nearest) == 8
    near = before.nearest[3]
    after = LookAtCode(image, (2, 5), {(2, 5): near.code}).answer(cache)
    assert after.code == near.code
    assert np.abs(after.patch.astype(int) - near.patch).max() <= 1, "as it was promised"
    grid = ReadCodes(image).answer(cache).grid
    grid[2, 5] = near.code
    assert after.times == int((grid == near.code).sum())
    with cache.lease(CODER) as vqgan, torch.no_grad():
        drawn = to_uint8(vqgan.decode_indices(torch.from_numpy(grid[None])))[0]
    assert np.abs(after.picture.astype(int) - drawn).max() <= 1
    assert after.patch.shape == (12, 12, 3)
    assert np.array_equal(after.patch, after.picture[4:16, 16:28])


def test_a_patch_at_the_edge_is_smaller() -> None:
    drawn = picture()
    assert np.array_equal(patch_of(drawn, (0, 7), 4), drawn[:8, 24:])


@pytest.mark.parametrize(("place", "swaps", "says"), [
    ((8, 0), {}, "codes go from 0 to 7: there is none in row 8, column 0."),
    ((0, -1), {}, "there is none in row 0, column -1."),
    ((0, 0), {(9, 9): 3}, "there is none in row 9, column 9."),
    ((0, 0), {(1, 1): 125}, "Codes are numbers from 0 to 124, not 125."),
    ((0, 0), {(1, 1): -1}, "Codes are numbers from 0 to 124, not -1.")])
def test_places_and_codes_that_are_none_are_refused(cache: ModelCache, place: tuple[int, int],
                                                    swaps: dict, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        LookAtCode(picture(), place, swaps).answer(cache)


def test_stop_is_heard(cache: ModelCache) -> None:
    for question in (ReadCodes(picture()), LookAtCode(picture(), (0, 0))):
        with pytest.raises(Cancelled):
            question.answer(cache, lambda: True)


@pytest.mark.weights("vqgan")
def test_the_embedded_vqgan_keeps_a_picture_of_easels() -> None:
    cache = build_cache(EngineSettings(device="cpu"))
    with cache.lease(CODER) as vqgan:
        found = codes_of(load_image(APPLE.read_bytes()), vqgan)
    assert (found.grid.shape, found.count) == ((16, 16), 15_625)
    assert found.psnr_db > 22
    assert 16 < found.distinct <= 256
    cache.close()

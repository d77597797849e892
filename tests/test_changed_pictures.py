"""Pictures that differ from another one in a box: the same features, though less is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import Cancelled
from pipelines.models.changed_pictures import Changed, embed_changed
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.clip_features import embed_images
from pipelines.models.efficientnet import EfficientNet
from tests.small_models import small_cache
from tests.test_locked_clip import small_clip

SIDE = 64
spans = st.tuples(st.integers(0, SIDE - 1), st.integers(1, SIDE)).map(
    lambda ends: slice(ends[0], min(SIDE, ends[0] + ends[1])))
NETWORK = EfficientNet().eval().requires_grad_(False).double()


@given(spans, spans, st.integers(0, 9))
def test_a_begin_is_the_same_where_only_the_box_is_looked_at(rows: slice, columns: slice,
                                                             seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = torch.from_numpy(rng.random((1, 3, SIDE, SIDE)))
    begun = NETWORK.begin(pixels)
    changed = pixels.clone()
    changed[..., rows, columns] = torch.from_numpy(
        rng.random(changed[..., rows, columns].shape))
    torch.testing.assert_close(NETWORK.begin_again(begun, changed, (rows, columns)),
                               NETWORK.begin(changed), rtol=0, atol=1e-9)


def pictures(side: int) -> tuple[np.ndarray, list[Changed]]:
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (side, side, 3), np.uint8)
    found: list[Changed] = []
    for top, left in ((0, 0), (side // 3, side // 2), (side - 9, side - 5)):
        box = slice(top, top + 9), slice(left, left + 5)
        covered = whole.copy()
        covered[box] = 128
        found.append((covered, box))
    return whole, found


def test_features_are_those_of_whole_pictures() -> None:
    clip: Any = small_clip()
    whole, changed = pictures(clip.image_size)
    plain = embed_images(clip, [whole, *(image for image, _ in changed)])
    found = embed_changed(clip, whole, changed)
    np.testing.assert_allclose(found, plain, atol=1e-6)
    assert np.abs(plain[1:] - plain[0]).max() > 1e-4, "they differ"


def test_the_picture_is_looked_at_together_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clip: Any = small_clip()
    whole, changed = pictures(clip.image_size)
    batches, encode = [], clip.encode_image

    def counted(pixels: torch.Tensor, begun: torch.Tensor) -> torch.Tensor:
        batches.append(len(pixels))
        return encode(pixels, begun)

    monkeypatch.setattr(clip, "encode_image", counted)
    many = changed * 23  # more than are looked at between two looks whether to stop
    found = embed_changed(clip, whole, many)
    assert (sum(batches), min(batches[:16])) == (1 + len(many), 4)
    np.testing.assert_allclose(found[1:], np.tile(found[1:4], (23, 1)), atol=1e-6)
    batches.clear()
    np.testing.assert_allclose(embed_changed(clip, whole, []), found[:1], atol=1e-6)
    assert batches == [1]


def test_a_clip_of_another_kind_looks_at_whole_pictures() -> None:
    cache = small_cache()
    try:
        with cache.lease(RANKER) as clip:
            whole, changed = pictures(clip.image_size)
            plain = embed_images(clip, [whole, *(image for image, _ in changed)])
            np.testing.assert_allclose(embed_changed(clip, whole, changed), plain, atol=1e-6)
    finally:
        cache.close()


def test_it_is_stopped() -> None:
    clip: Any = small_clip()
    with pytest.raises(Cancelled):
        embed_changed(clip, *pictures(clip.image_size), cancelled=lambda: True)

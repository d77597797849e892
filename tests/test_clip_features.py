"""Repeated texts and pictures are computed once, and a full device is met with a smaller batch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.core.errors import OutOfMemory
from pipelines.models.batches import in_batches
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.clip import ClipModel
from pipelines.models.clip_features import (
    IMAGES_A_CORE,
    Embeddings,
    embed_images,
    image_features,
    text_features,
)
from pipelines.rerank import rank
from pipelines.vqgan_clip.guides import Guide
from pipelines.weighted_prompts import WeightedPrompt
from tests.conftest import REPOSITORY
from tests.noise import LinearLoader
from tests.small_models import small_cache

TEXTS = ["a red apple", "two dogs at night", "a blue car"]


@pytest.fixture
def cache() -> Iterator[ModelCache]:
    """Small models on the CPU."""
    made = small_cache()
    yield made
    made.close()


@pytest.fixture
def pictures() -> list[np.ndarray]:
    """Five pictures of two sizes."""
    noise = np.random.default_rng(0)
    return [noise.integers(0, 256, (side, side, 3), np.uint8) for side in (32, 32, 48, 48, 48)]


def counted(clip: ClipModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that the CLIP is really given from now on."""
    batches: list[int] = []
    encode_text, encode_image = clip.encode_text, clip.encode_image

    def text(texts: Sequence[str]) -> Tensor:
        batches.append(len(texts))
        return encode_text(texts)

    def image(pixels: Tensor) -> Tensor:
        batches.append(len(pixels))
        return encode_image(pixels)

    monkeypatch.setattr(clip, "encode_text", text)
    monkeypatch.setattr(clip, "encode_image", image)
    return batches


def test_features_are_those_of_the_clip(cache: ModelCache, pictures: list[np.ndarray]) -> None:
    with cache.lease(RANKER) as clip:
        alone = torch.cat([clip.encode_text([text]) for text in TEXTS])
        assert torch.equal(text_features(clip, TEXTS), alone)
        once, again = image_features(clip, pictures), image_features(clip, pictures)
        assert torch.equal(once, again)
        assert torch.allclose(once.norm(dim=1), torch.ones(5), atol=1e-5)


def test_what_repeats_is_computed_once(cache: ModelCache, pictures: list[np.ndarray],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    with cache.lease(RANKER) as clip:
        batches = counted(clip, monkeypatch)
        first = rank(pictures, TEXTS[:2], clip)
        assert sorted(batches) == [1, 1, 5]
        batches.clear()
        assert rank(pictures, TEXTS[:2], clip) == first
        assert batches == []
        rank([*pictures[:2], pictures[0]], TEXTS, clip)
        assert batches == [1], "one new text"
        Guide(clip, [WeightedPrompt(TEXTS[0]), WeightedPrompt("a worm", -1.0)])
        assert batches == [1, 1], "the guide knows the prompt that the ranker was asked"
    hits, misses = cache.embeddings.hits, cache.embeddings.misses
    # Of three pictures two are distinct, and only those are asked for.
    assert (hits, misses) == (7 + 2 + 2 + 1, 2 + 5 + 1 + 1)


def test_a_core_looks_at_no_more_pictures_than_its_cache_holds(
        cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)
    with cache.lease(RANKER) as clip:
        side = clip.image_size
        pictures = list(noise.integers(0, 256, (66, side, side, 3), np.uint8))
        alone = np.concatenate([embed_images(clip, [each]) for each in pictures])
        batches = counted(clip, monkeypatch)
        np.testing.assert_allclose(embed_images(clip, pictures), alone, atol=1e-5)
    assert sum(batches) == len(pictures)
    assert max(batches) <= IMAGES_A_CORE


def test_a_text_does_not_depend_on_its_neighbours(cache: ModelCache) -> None:
    with cache.lease(RANKER) as clip:
        together = text_features(clip, TEXTS)
    other = small_cache()
    with other.lease(RANKER) as clip:
        assert torch.equal(text_features(clip, TEXTS[2:]), together[2:])
    other.close()


def test_features_outlast_the_model_only_where_its_weights_are_known(
        cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.loader, "fingerprint", lambda model_id: "f" * 64)
    for known, expected in ((True, 1), (False, 2)):
        if not known:
            monkeypatch.setattr(cache.loader, "fingerprint", lambda model_id: None)
        cache.evict_idle()
        before = cache.embeddings.misses
        for _ in range(2):
            with cache.lease(RANKER) as clip:
                text_features(clip, ["a cat"])
            cache.evict_idle()
        assert cache.embeddings.misses - before == expected


def test_memory_is_bounded_and_the_longest_unused_leave() -> None:
    memory = Embeddings(budget_bytes=3 * 4 * 8)
    for key in ("a", "b", "c", "a", "d"):
        memory.rows([key], lambda missing: torch.ones(len(missing), 8))
    assert memory.used_bytes == 3 * 4 * 8
    assert (memory.hits, memory.misses) == (1, 4)
    memory.rows(["a", "c", "d"], lambda missing: pytest.fail("they are here"))
    memory.rows(["b"], lambda missing: torch.zeros(len(missing), 8))
    assert memory.misses == 5


def test_rows_keep_their_order_and_repeats_are_computed_once() -> None:
    asked: list[list[int]] = []

    def compute(missing: list[int]) -> Tensor:
        asked.append(missing)
        return torch.tensor([[float(i)] for i in missing])

    memory = Embeddings()
    assert memory.rows(["x", "y", "x", "z"], compute).flatten().tolist() == [0, 1, 0, 3]
    assert memory.rows(["z", "w", "y"], compute).flatten().tolist() == [3, 1, 1]
    assert asked == [[0, 1, 3], [1]]


class SmallDevice:
    """Runs out of memory above so many rows at once."""

    def __init__(self, rows: int) -> None:
        self.rows, self.batches = rows, []

    def run(self, batch: Sequence[int]) -> Tensor:
        """A row for each, or no memory."""
        self.batches.append(len(batch))
        if len(batch) > self.rows:
            raise torch.OutOfMemoryError("full")
        return torch.tensor([[item] for item in batch])


def test_a_full_device_is_tried_once_more_at_half_the_batch() -> None:
    freed: list[int] = []

    def make_room() -> int:
        freed.append(1)
        return 0

    device = SmallDevice(5)
    rows = in_batches(device.run, range(20), 8, make_room)
    assert rows.flatten().tolist() == list(range(20))
    assert device.batches == [8, 4, 4, 4, 4, 4]
    assert freed == [1]
    with pytest.raises(OutOfMemory, match="no memory left for 4 pictures at once"):
        in_batches(SmallDevice(3).run, range(20), 8, make_room)
    with pytest.raises(OutOfMemory, match="no memory left for a single picture"):
        in_batches(SmallDevice(0).run, [1], 8, make_room)


def test_ranking_on_a_full_device_evicts_the_idle_and_goes_on(
        pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    cache = small_cache()
    with cache.lease("embedded/vqgan"):
        pass
    with cache.lease(RANKER) as clip:
        encode, batches = clip.encode_image, []

        def small_device(pixels: Tensor) -> Tensor:
            batches.append(len(pixels))
            if len(pixels) > 3:
                raise torch.OutOfMemoryError("full")
            return encode(pixels)

        monkeypatch.setattr(clip, "encode_image", small_device)
        assert len(rank(pictures, ["a cat"], clip)[0]["order"]) == 5
        assert batches == [5, 3, 2]
        here = {m.model_id for m in cache.stats().models if m.state == "device"}
        assert here == {RANKER}
        monkeypatch.setattr(clip, "encode_image", lambda pixels: SmallDevice(0).run(range(9)))
        with pytest.raises(OutOfMemory):
            rank([picture[::-1] for picture in pictures], ["a cat"], clip)
        monkeypatch.setattr(clip, "encode_image", encode)
        assert len(rank([picture[::-1] for picture in pictures], ["a cat"], clip)) == 1
    cache.close()


def test_models_without_features_are_left_alone() -> None:
    cache = ModelCache(LinearLoader())
    with cache.lease("linear/8") as layer:
        assert not hasattr(layer, "remembered")


def test_a_clip_is_asked_in_one_way() -> None:
    """All else takes features from ``clip_features``, which remembers them and minds the device."""
    users = {path.relative_to(REPOSITORY).as_posix() for floor in ("pipelines", "easel")
             for path in (REPOSITORY / floor).rglob("*.py")
             if re.search(r"(?<!def )encode_(text|image)\(", path.read_text("utf-8"))}
    assert users == {"pipelines/models/clip.py", "pipelines/models/clip_features.py",
                     "pipelines/models/changed_pictures.py",  # the same, for parts of pictures
                     "pipelines/models/clip_pair.py",  # a CLIP itself, made of two
                     # Whose pictures have gradients, and who looks at these.
                     "pipelines/vqgan_clip/optimise.py", "pipelines/inside/loop.py"}

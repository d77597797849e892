"""Pieces of work on all cores: in order, alone on their core, and torch stays as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pipelines.core.cpu_pool import on_every_core
from pipelines.models.clip import ClipModel
from pipelines.models.clip_features import IMAGES_AT_ONCE, embed_images
from tests.small_models import SmallLoader


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_pieces_meet_each_other_but_keep_their_order(two_threads: None) -> None:
    both = threading.Barrier(2, timeout=20)

    def work(piece: int) -> tuple[int, int]:
        both.wait()  # only passes where two pieces run at once
        return piece * piece, torch.get_num_threads()

    assert on_every_core(work, range(6)) == [(n * n, 1) for n in range(6)]
    assert torch.get_num_threads() == 2
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2], "what the pieces set for themselves holds for nobody else"


def test_one_thread_needs_no_pool() -> None:
    threads = on_every_core(lambda piece: threading.current_thread(), range(3))
    assert set(threads) == {threading.current_thread()}


def test_an_error_in_a_piece_is_raised(two_threads: None) -> None:
    def work(piece: int) -> int:
        if piece == 1:
            raise ValueError("the second")
        return piece

    with pytest.raises(ValueError, match="the second"):
        on_every_core(work, range(4))
    assert on_every_core(lambda piece: piece, range(4)) == [0, 1, 2, 3]


def test_pictures_have_the_same_features_however_they_are_shared_out(two_threads: None) -> None:
    clip = SmallLoader().load("embedded/clip-ranker", torch.device("cpu"), torch.float32)
    assert isinstance(clip, ClipModel)
    side = clip.image_size
    pictures = list(np.random.default_rng(0).integers(
        0, 256, (IMAGES_AT_ONCE + 5, side, side, 3), dtype=np.uint8))
    shared = embed_images(clip, pictures)
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        together = clip.encode_image(pixels).numpy()
    assert shared.shape == together.shape
    assert np.allclose(shared, together, atol=1e-5)
    assert not any(tensor.requires_grad for tensor in map(torch.from_numpy, shared))

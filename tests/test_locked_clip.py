"""The next ranker's network: its words, its cells, and what it shares with other CLIPs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.models import locked_clip
from pipelines.models.efficientnet import EfficientNet
from pipelines.models.feature_maps import (
    COARSE_CHANNELS,
    FINE_CHANNELS,
    MIDDLE_CHANNELS,
    FeatureMaps,
    Gather,
    feature_maps,
)
from pipelines.models.locked_clip import LockedClip, build, words_of
from pipelines.rerank import rank
from tests.test_pretrained import small_encoder

SMALL = {"image_size": 64, "embed_dim": 32, "cell_width": 32, "cell_blocks": 1, "width": 32,
         "layers": 1, "text_width": 32, "text_layers": 1, "word_width": 16, "most_words": 6}


def small_clip() -> LockedClip:
    """A ranker with random weights, differing pictures and texts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = build(SMALL)
        clip.image, clip.text = EfficientNet(), small_encoder()
    return clip.eval().requires_grad_(False)


def test_words_are_what_a_text_says_without_its_punctuation() -> None:
    assert words_of("A red, red Apple!", 40) == ["a", "red", ",", "red", "apple"]
    assert words_of("um pássaro", 40) == ["um", "pássaro"]
    assert words_of("one two three", 2) == ["one", "two"]
    assert words_of("…", 40) == [","]


def test_maps_are_of_the_three_scales_and_of_the_mean_colours(generator: torch.Generator) -> None:
    pixels = torch.rand(2, 3, 64, 64, generator=generator)
    maps = feature_maps(EfficientNet().eval().requires_grad_(False), pixels)
    assert maps.fine.shape == (2, 8, 8, FINE_CHANNELS)
    assert maps.middle.shape == (2, 4, 4, MIDDLE_CHANNELS)
    assert maps.coarse.shape == (2, 2, 2, COARSE_CHANNELS)
    corner = 2 * pixels[1, :, :8, 56:].mean((1, 2)) - 1
    torch.testing.assert_close(maps.fine[1, 0, 7, -3:], corner)


def test_cells_are_gathered_where_they_lie(generator: torch.Generator) -> None:
    gather = Gather(8)
    maps = FeatureMaps(*(torch.zeros(1, side, side, channels) for side, channels in (
        (8, FINE_CHANNELS), (4, MIDDLE_CHANNELS), (2, COARSE_CHANNELS))))
    plain = gather(maps)
    for name, at, cells in (("fine", (3, 6), {(1, 3)}), ("middle", (2, 1), {(2, 1)}),
                            ("coarse", (1, 0), {(2, 0), (2, 1), (3, 0), (3, 1)})):
        changed = FeatureMaps(*(x.clone() for x in maps))
        getattr(changed, name)[0, at[0], at[1]] = torch.randn(
            getattr(maps, name).shape[-1], generator=generator)
        moved = (gather(changed) - plain).abs().amax(-1)[0] > 1e-6
        assert {tuple(cell) for cell in moved.nonzero().tolist()} == cells, name
    sample = FeatureMaps(*(3 + 2 * torch.randn(60, *x.shape[1:], generator=generator)
                           for x in maps))
    gather.measure(sample)
    torch.testing.assert_close(gather.mean, torch.full_like(gather.mean, 3), atol=0.6, rtol=0)
    torch.testing.assert_close(gather.scale, torch.full_like(gather.scale, 0.5), atol=0.1, rtol=0)


def test_it_has_the_interface_of_a_clip(generator: torch.Generator) -> None:
    clip = small_clip()
    pixels = torch.rand(2, 3, 80, 48, generator=generator, requires_grad=True)
    features = clip.encode_image(pixels)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(2))
    features[0, 0].backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0, "VQGAN+CLIP may follow it"
    images = [np.zeros((30, 40, 3), np.uint8), np.full((20, 20, 3), 200, np.uint8)]
    found = rank(images, ["a dog"], clip)  # type: ignore[arg-type]
    assert sorted(found[0]["order"]) == [0, 1]
    assert clip.logit_bias == pytest.approx(-10)
    assert clip.logit_scale == pytest.approx(np.e**2.3, rel=1e-3)
    with pytest.raises(TypeError):
        build({"width": 3})


def test_features_of_a_text_do_not_depend_on_what_was_read_before_or_beside_it(
        monkeypatch: pytest.MonkeyPatch) -> None:
    alone = small_clip().encode_text(["two red cats"])
    clip = small_clip()
    clip.encode_text(["a dog and a red cat", "cats"])
    assert torch.equal(clip.encode_text(["two red cats"]), alone)
    beside = clip.encode_text(["dog", "two red cats"])[1:]
    torch.testing.assert_close(beside, alone)
    assert not torch.allclose(clip.encode_text(["red two cats"]), alone), "order counts"
    monkeypatch.setattr(locked_clip, "KNOWN_WORDS", 5)
    clip.encode_text(["one", "and", "a red", "the dog", "of cats"])
    assert len(clip._known) <= 5
    assert torch.equal(clip.encode_text(["two red cats"]), alone)

"""Two CLIPs as one: cosines are the mean of both, by the share of the one beside."""

from __future__ import annotations

import pytest
import torch

from pipelines.models.clip import ClipModel
from pipelines.models.clip_pair import ClipPair, build
from pipelines.models.efficientnet import EfficientNet
from tests.small_models import SmallLoader
from tests.test_locked_clip import SMALL
from tests.test_pretrained import small_encoder


def pair(share: float) -> ClipPair:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = build(SMALL | {"beside_share": share})
        clip.image, clip.text = EfficientNet(), small_encoder()
    beside = SmallLoader().load("embedded/clip-narrow", torch.device("cpu"), torch.float32)
    assert isinstance(beside, ClipModel)
    clip.beside = beside
    return clip.eval().requires_grad_(False)


def test_a_cosine_is_the_mean_of_both(generator: torch.Generator) -> None:
    pixels = torch.rand(3, 3, 80, 48, generator=generator)
    texts = ["a red cat", "two dogs"]

    def cosines(clip: ClipPair | torch.nn.Module) -> torch.Tensor:
        pictures, said = clip.encode_image(pixels), clip.encode_text(texts)  # type: ignore[operator]
        torch.testing.assert_close(pictures.norm(dim=-1), torch.ones(3))
        torch.testing.assert_close(said.norm(dim=-1), torch.ones(2))
        return pictures @ said.T

    own, other = cosines(pair(0.0)), cosines(pair(0.0).beside)
    assert not torch.allclose(own, other, atol=0.01)
    torch.testing.assert_close(cosines(pair(0.3)), 0.7 * own + 0.3 * other)
    torch.testing.assert_close(cosines(pair(1.0)), other)
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match="share"):
            pair(share)


def test_a_gradient_reaches_the_picture_through_both(generator: torch.Generator) -> None:
    for share in (0.0, 1.0):
        pixels = torch.rand(1, 3, 64, 64, generator=generator, requires_grad=True)
        pair(share).encode_image(pixels).sum().backward()
        assert pixels.grad is not None
        assert pixels.grad.abs().sum() > 0

"""The guide's picture tower: its gradient draws a picture from the picture's own embedding."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor

from pipelines.models.clip import build
from training.data import World
from training.patch_code import begin_as_patch_code, patches_of
from training.train_clip import recall_loss

SIZE_PX = 32


def tower(heads: int = 16, width: int = 64) -> VisionTransformer:
    torch.manual_seed(0)
    visual = build({
        "embed_dim": 512,
        "vision_cfg": {"image_size": SIZE_PX, "layers": 1, "width": width, "head_width": 32,
                       "patch_size": 8, "pool_type": "tok", "attentional_pool": True,
                       "attn_pooler_queries": 1, "attn_pooler_heads": heads},
        "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1},
    }).visual
    assert isinstance(visual, VisionTransformer)
    return visual


def pictures(count: int, split: str) -> Tensor:
    world = World()
    sampler = world.sampler(split, kinds={"single": 1.0})
    # On white, which the code stands for by nothing.
    return world.render([replace(sampler.sample(i), background="white") for i in range(count)],
                        SIZE_PX)


def features(visual: VisionTransformer, seen: Tensor) -> Tensor:
    return F.normalize(visual((seen - 0.5) / 0.5), dim=-1)


def test_following_the_gradient_draws_the_picture() -> None:
    visual = tower()
    begin_as_patch_code(visual, pictures(60, "test-code"))
    wanted = pictures(8, "test-code-others")
    with torch.no_grad():
        target = features(visual, wanted)
    drawn = torch.ones_like(wanted)
    peak = torch.zeros(())
    for _ in range(40):
        drawn = drawn.detach().requires_grad_()
        (gradient,) = torch.autograd.grad((features(visual, drawn) * target).sum(), drawn)
        size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
        peak = torch.maximum(peak, size)
        drawn = (drawn + 0.06 * gradient / peak).clamp(0, 1)
    start = (1 - wanted).square().mean((1, 2, 3)).sqrt()
    end = (drawn.detach() - wanted).square().mean((1, 2, 3)).sqrt()
    assert (end < 0.6 * start).all()
    assert float((end / start).mean()) < 0.4


def test_a_patch_moves_the_numbers_of_its_own_head_most() -> None:
    visual = tower()
    begin_as_patch_code(visual, pictures(60, "test-code"))
    white = torch.ones(1, 3, SIZE_PX, SIZE_PX)
    other = white.clone()
    other[:, :, 8:16, 16:24] = 0.2  # the patch in row 1, column 2
    with torch.no_grad():
        change = (visual(2 * other - 1) - visual(2 * white - 1)).view(16, -1).norm(dim=1)
    assert int(change.argmax()) == 1 * 4 + 2


def test_patches_are_differences_from_white() -> None:
    seen = torch.ones(1, 3, 16, 16)
    seen[0, :, 8:, :8] = 0
    cut = patches_of(seen, 8)
    assert cut.shape == (4, 192)
    assert cut.abs().amax(1).tolist() == [0, 0, 2, 0]


@pytest.mark.parametrize(("options", "message"), [
    ({"heads": 8}, "8 heads cannot look at 16 patches"),
    ({"width": 32}, "a width of 32 cannot tell 16 places apart"),
])
def test_towers_of_another_shape_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        begin_as_patch_code(tower(**options), torch.ones(2, 3, SIZE_PX, SIZE_PX))


def test_recall_is_lost_by_what_is_missing() -> None:
    plain, finished = F.normalize(torch.randn(2, 1, 16), dim=-1)
    right, direction = recall_loss(finished, finished, plain[0])
    wrong, _ = recall_loss(plain, finished, plain[0])
    assert float(right) < 1e-5
    assert float(direction) > 1 - 1e-5
    assert float(wrong) > 0.5

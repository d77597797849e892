"""The guide's gradient is trained: it comes to point from an unfinished picture to the finished."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.clip import build
from training.denoise import pull_loss, unfinished

CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1},
}


def squares(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """White pictures with a square of one of three colours, and which."""
    colours = torch.randint(3, (count,), generator=generator)
    pictures = torch.ones(count, 3, 32, 32)
    pictures[:, :, 8:24, 8:24] = torch.eye(3)[colours][:, :, None, None]
    return pictures, colours


def test_unfinished_pictures_lie_on_the_way() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures, _ = squares(64, generator)
    finished, begun = unfinished(pictures, generator)
    assert finished.shape == begun.shape == pictures.shape
    assert begun.min() >= 0
    assert begun.max() <= 1
    distance = (begun - finished).square().mean((1, 2, 3)).sqrt()
    assert distance.min() < 0.1 < 0.3 < distance.max()
    again = unfinished(pictures, torch.Generator().manual_seed(1))
    assert torch.equal(again[1], unfinished(pictures, torch.Generator().manual_seed(1))[1])


def test_the_gradient_learns_to_point_at_the_picture() -> None:
    torch.manual_seed(0)
    clip, table = build(CLIP), torch.nn.Embedding(3, 32)
    optimizer = torch.optim.AdamW([*clip.visual.parameters(), *table.parameters()], lr=2e-3)
    generator = torch.Generator().manual_seed(0)

    def loss(count: int) -> Tensor:
        pictures, colours = squares(count, generator)
        finished, begun = unfinished(pictures, generator)
        return pull_loss(begun, finished, F.normalize(table(colours), dim=-1),
                         clip.encode_image)[0]

    before = float(loss(64).detach())
    for _ in range(60):
        optimizer.zero_grad()
        loss(16).backward()
        optimizer.step()
    after = float(loss(64).detach())
    assert before > 0.8
    assert after < before - 0.25

"""The guide's own failures: they move towards their captions and make room for new ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.vqgan import VQGAN, VQGANConfig
from training.failures import LIFE_STEPS, Failures

CONFIG = VQGANConfig(resolution=32, ch=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(),
                     z_channels=8, embed_dim=3, n_embed=125, levels=(5, 5, 5))


class MeanColour(nn.Module):
    """Features of a picture are its mean colour; those of a text its id's own."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.eye(3))

    def encode_image(self, pictures: Tensor) -> Tensor:
        return pictures.mean((2, 3)) @ self.table.t()

    def encode_text(self, ids: Tensor) -> Tensor:
        return F.one_hot(ids[:, 0], 3).float()


def pool(count: int = 6) -> Failures:
    torch.manual_seed(0)
    return Failures(VQGAN(CONFIG), 16, count, 4, seed=1)


def test_pictures_move_towards_their_captions() -> None:
    failures, module = pool(), MeanColour()
    ids = torch.tensor([[0], [1], [2]])
    failures.ages.zero_()
    pictures, said, scores = torch.empty(0), ids, []
    for _ in range(30):
        pictures, said = failures.step(ids, module.encode_text, module.encode_image, module)
        features = F.normalize(module.encode_image(pictures), dim=-1)
        scores.append(float((features * module.encode_text(said)).sum(-1).mean().detach()))
    assert pictures.shape == (4, 3, 16, 16)
    assert said.shape == (4, 1)
    assert sum(scores[-5:]) > sum(scores[:5])
    assert module.table.grad is None
    assert module.table.requires_grad


def test_an_old_picture_makes_room() -> None:
    failures, module = pool(4), MeanColour()
    failures.step(torch.tensor([[0]]), module.encode_text, module.encode_image, module)
    failures.ages.fill_(LIFE_STEPS)
    failures.step(torch.tensor([[2]]), module.encode_text, module.encode_image, module)
    assert failures.ages.tolist() == [2, 2, 2, 2]
    assert failures.ids is not None
    assert failures.ids.flatten().tolist() == [2, 2, 2, 2]

"""``models.json``: PSNR and the share of right captions, on small untrained models."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from benchmarks.models import clip_figures, hard_pairs, psnr_db, says, top1_of_100, vqgan_figures
from pipelines.models.clip import ClipModel
from pipelines.models.vqgan import VQGAN, VQGANConfig
from pipelines.world.hard_negatives import hard_negative
from pipelines.world.scenes import Scene
from training.data import World


@pytest.fixture(scope="module")
def world() -> World:
    return World()


class KnowsTheAnswer(nn.Module):
    """A CLIP whose picture number n is told by its first pixel, and whose texts by a table."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self.texts, self.image_size = texts, 8

    def encode_image(self, pixels: Tensor) -> Tensor:
        numbers = (pixels[:, 0, 0, 0] * 1000).round().long()
        return torch.nn.functional.one_hot(numbers, len(self.texts) + 1).float()

    def encode_text(self, texts: list[str]) -> Tensor:
        numbers = [self.texts.index(t) if t in self.texts else len(self.texts) for t in texts]
        return torch.nn.functional.one_hot(torch.tensor(numbers), len(self.texts) + 1).float()


def numbered(count: int) -> Tensor:
    return (torch.arange(count) / 1000).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)


def test_psnr_of_a_known_error() -> None:
    target = torch.full((2, 3, 8, 8), 0.5)
    output = target + torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)
    assert psnr_db(output, target) == pytest.approx([20.0, 40.0], abs=1e-3)


def test_whoever_knows_every_caption_is_always_right(world: World) -> None:
    sampler = world.sampler("bench")
    scenes: list[Scene] = []
    texts: list[str] = []
    seed = 0
    while len(scenes) < 200:
        scene = sampler.sample(seed)
        if says(scene, world, "true") not in texts:
            scenes.append(scene)
            texts.append(says(scene, world, "true"))
        seed += 1
    clip = KnowsTheAnswer(texts)
    assert top1_of_100(clip, numbered(200), scenes, world) == 1.0  # type: ignore[arg-type]
    assert hard_pairs(clip, numbered(200), scenes, world) > 0.99  # type: ignore[arg-type]
    backwards = numbered(200).flip(0)
    assert top1_of_100(clip, backwards, scenes, world) < 0.05  # type: ignore[arg-type]


def test_hard_captions_differ_little_and_are_the_same_every_time(world: World) -> None:
    scene = world.sampler("bench").sample(3)
    wrong = hard_negative(scene, random.Random("x"), world.by_id)
    assert says(scene, world, "true") == says(scene, world, "true")
    assert says(scene, world, "true") != says(wrong, world, "true")


def test_an_untrained_clip_guesses(world: World) -> None:
    from pipelines.models.checkpoints.vocabulary import load_vocabulary
    from pipelines.models.clip import build

    torch.manual_seed(0)
    module = build({
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16,
                       "head_width": 16},
        "text_cfg": {"context_length": 32, "vocab_size": 3072, "width": 32, "heads": 2,
                     "layers": 1}})
    clip = ClipModel(module.eval(), load_vocabulary(), 32)
    figures = clip_figures(clip, world, 100)
    assert 0.2 < figures["hard_pairs"] < 0.8
    assert figures["top1_of_100"] < 0.2


def test_an_untrained_vqgan_is_measured(world: World) -> None:
    torch.manual_seed(0)
    config = VQGANConfig(resolution=256, ch=32, ch_mult=(1, 1, 1), num_res_blocks=1,
                         attn_resolutions=(), z_channels=32, embed_dim=4, n_embed=256,
                         patch_size=4, levels=(4, 4, 4, 4))
    figures = vqgan_figures(VQGAN(config).eval(), world, 4)
    assert 0 < figures["psnr_db"] < 20
    assert 0 < figures["codes_used"] <= 1

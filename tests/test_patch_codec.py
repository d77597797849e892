"""The VQGAN of patches, and what makes its pictures look real."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.vqgan import VQGAN, VQGANConfig, build, config_dict
from training import train_vqgan
from training.adversarial import Discriminator, adaptive_weight, crops, perceptual_loss
from training.export import export
from training.loop import Loop

CONFIG = VQGANConfig(resolution=64, patch_widths=(8, 12, 16), patch_depths=(1, 1, 1), z_channels=8,
                     embed_dim=3, n_embed=60, levels=(5, 4, 3))


def small() -> VQGAN:
    torch.manual_seed(0)
    return VQGAN(CONFIG)


def maps(pictures: Tensor) -> list[Tensor]:
    return [F.avg_pool2d(pictures, 4), F.avg_pool2d(pictures, 8) - 0.5]


def test_sixteen_pixels_share_a_code_and_come_back() -> None:
    model = small()
    pixels = torch.rand(2, 3, 64, 96) * 2 - 1
    latents = model.encode_latents(pixels)
    assert latents.shape == (2, 3, 4, 6)
    assert model.downsampling == 16
    codes = model.encode(pixels)
    assert codes.shape == (2, 4, 6)
    assert 0 <= int(codes.min()) <= int(codes.max()) < 60
    assert model.decode_indices(codes).shape == pixels.shape
    again = build(config_dict(CONFIG))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.encode(pixels), codes)


def test_patches_overlap_on_the_way_in_and_out() -> None:
    model = small()
    pixels = torch.zeros(1, 3, 64, 64)
    moved = pixels.clone()
    moved[..., 15, 15] = 1.0  # the last pixel of a code's own square
    changed = (model.encode_latents(moved) - model.encode_latents(pixels)).abs().amax(1)[0] > 1e-7
    assert changed[1, 1], "the next code sees it as well"
    latents = torch.zeros(1, 3, 4, 4)
    other = latents.clone()
    other[..., 1, 1] = 1.0
    seen = (model.decode(other) - model.decode(latents)).abs().amax(1)[0] > 1e-6
    assert seen[16:32, 16:32].all()
    assert seen[14, 20], "no seam at the border of a square"


def test_the_adversarial_weight_makes_both_pull_alike() -> None:
    last = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
    weight = adaptive_weight((3 * last).sum(), (0.01 * last).sum(), last)
    assert float(weight) == pytest.approx(300, rel=0.05)
    assert not weight.requires_grad
    assert float(adaptive_weight((3 * last).sum(), (0 * last).sum(), last)) == 1e4


def test_the_perceptual_loss_is_none_of_equals_and_reaches_the_output() -> None:
    target = torch.rand(2, 3, 32, 32) * 2 - 1
    output = target.flip(0).clone().requires_grad_()
    assert float(perceptual_loss(maps, target, target, 2)) == pytest.approx(0, abs=1e-6)
    loss = perceptual_loss(maps, output, target, 2)
    assert float(loss.detach()) > 0.01
    loss.backward()
    assert output.grad is not None
    assert float(output.grad.abs().sum()) > 0
    first = perceptual_loss(maps, output.detach(), target, 1)
    assert float(first) != pytest.approx(float(loss.detach()))


def test_crops_are_of_one_place() -> None:
    pictures = torch.arange(2 * 3 * 20 * 30).view(2, 3, 20, 30).float()
    first, second = crops(pictures, pictures + 0.5, 8, torch.Generator().manual_seed(1))
    assert first.shape == (2, 3, 8, 8)
    assert torch.equal(second - first, torch.full_like(first, 0.5))
    whole, _ = crops(pictures, pictures, 64, torch.Generator())
    assert torch.equal(whole, pictures)


RUN: dict[str, Any] = {
    "name": "vqgan-test", "minutes": 1e-4, "batch_size": 2, "lr": 1e-3, "jitter": 0.0,
    "decoder_only": False, "gradient_weight": 0.5, "square_weight": 2.0,
    "discriminator_from": -1.0, "discriminator_alone": 0, "discriminator_weight": 0.4,
    "crop_px": 48,
    "mixed_precision": "no", "warmup_steps": 1, "perceptual": "some/features",
    "model": config_dict(CONFIG)}


def test_a_run_keeps_its_discriminator_and_goes_on_with_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_vqgan, "export", partial(export, folder=tmp_path / "weights"))
    monkeypatch.setattr(train_vqgan, "Loop", partial(Loop, runs_dir=tmp_path / "runs"))
    monkeypatch.setattr(train_vqgan, "evaluate", partial(train_vqgan.evaluate, scenes=16))
    monkeypatch.setattr(train_vqgan, "feature_maps", lambda model_id, device: maps)
    assert train_vqgan.train(RUN | {"export_as": "another"}) > 0
    checkpoint = tmp_path / "runs" / "vqgan-test" / "checkpoint.pt"
    saved = torch.load(checkpoint, weights_only=True)
    kept = saved["extra"]["discriminator"]
    fresh = Discriminator(torch.device("cpu"))
    assert kept["network"].keys() == fresh.network.state_dict().keys()
    assert (tmp_path / "weights" / "another" / "model.safetensors").exists()
    assert "patch networks" in (tmp_path / "weights" / "another" / "README.md").read_text()
    about = json.loads((tmp_path / "weights" / "another" / "config.json").read_text())
    assert about["architecture"] == "vqgan"
    loop = Loop(RUN, VQGAN(CONFIG), tmp_path / "runs")
    realism = train_vqgan.Realism(loop, RUN, maps)
    assert realism.discriminator is not None
    for name, tensor in realism.discriminator.network.state_dict().items():
        assert torch.equal(tensor, kept["network"][name])
    assert realism.discriminator.optimizer.state_dict()["state"]


def test_the_decoder_hears_a_discriminator_that_has_learnt(tmp_path: Path) -> None:
    torch.manual_seed(0)
    loop = Loop(RUN, VQGAN(CONFIG), tmp_path / "runs")
    realism = train_vqgan.Realism(loop, RUN | {"discriminator_alone": 2}, maps)
    target = torch.rand(2, 3, 64, 64) * 2 - 1
    heard = []
    for _ in range(4):
        output = loop.model.decode(torch.zeros(2, 3, 4, 4))
        _, figures = realism.add((output - target).abs().mean(), output, target)
        heard.append("looks" in figures)
        realism.update()
    assert heard == [False, False, True, True]

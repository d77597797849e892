"""The training of the patch discriminator: its pairs, its loss, and that it goes on and exports."""

from __future__ import annotations

import json
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.models.checkpoints.embedded import load
from pipelines.models.checkpoints.entries import CatalogueEntry, ModelFile
from pipelines.models.patch_discriminator import PatchDiscriminator
from pipelines.models.vqgan import VQGAN
from tests.conftest import REPOSITORY
from tests.small_models import GRID
from training import train_discriminator
from training.adversarial import hinge_loss
from training.data import World
from training.export import export
from training.loop import Loop
from training.train_discriminator import evaluate, pairs, train

SHIPPED = tomllib.loads(
    (REPOSITORY / "training" / "configs" / "discriminator.toml").read_text())
RUN: dict[str, Any] = SHIPPED | {
    "name": "discriminator-test", "batch_size": 4, "warmup_steps": 1, "threads": 0,
    "mixed_precision": "no", "model": {"width": 8, "layers": 2}}


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def vqgan() -> VQGAN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VQGAN(GRID).eval().requires_grad_(False)


def test_the_hinge_loss_asks_for_a_margin_and_no_more() -> None:
    none = torch.zeros(2, 3)
    assert float(hinge_loss(none, none)) == 2
    assert float(hinge_loss(none + 5, none - 1)) == 0
    assert float(hinge_loss(none - 1, none + 0.5)) == pytest.approx(2 + 1.5)


def test_a_pair_is_a_scene_and_its_codes_drawn_both_in_eight_bits(world: World) -> None:
    sampler, model = world.sampler("test-discriminator"), vqgan()
    scenes = [sampler.sample(i) for i in range(4)]
    real, fake = pairs(world, scenes, model, 2)
    assert real.shape == fake.shape == (4, 3, 32, 32)
    for pixels in (real, fake):
        steps = (pixels + 1) * 127.5
        torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    torch.testing.assert_close(real[2:], world.render(scenes[2:], 32) * 2 - 1, atol=0.005, rtol=0)
    squeezed = torch.nn.functional.avg_pool2d(world.render(scenes[:2], 64) * 2 - 1, 2)
    assert (real[:2] - squeezed).abs().mean() < 0.03
    again = model.decode_indices(model.encode(real[2:])).clamp(-1, 1)
    torch.testing.assert_close(fake[2:], again, atol=0.01, rtol=0)


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> dict[str, float]:
    """Train until that many steps are done in all."""
    class Short(Loop):
        @property
        def progress(self) -> float:
            return min(1.0, self.step / steps)

    monkeypatch.setattr(train_discriminator, "Loop", partial(Short, runs_dir=folder / "runs"))
    monkeypatch.setattr(train_discriminator, "export", partial(export, folder=folder / "weights"))
    monkeypatch.setattr(train_discriminator, "load_vqgan", lambda name: vqgan())
    monkeypatch.setattr(train_discriminator, "evaluate", partial(evaluate, scenes=16))
    return train(RUN)


def test_a_run_goes_on_where_it_was_and_exports_what_the_product_loads(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One schedule for both, or the parts would learn at other rates.
    monkeypatch.setattr(Loop, "_schedule", lambda _: 1.0)
    whole = trained(tmp_path / "whole", monkeypatch, 4)
    trained(tmp_path / "parts", monkeypatch, 2)
    parts = trained(tmp_path / "parts", monkeypatch, 4)
    assert parts == pytest.approx(whole, abs=0.02)
    folder = tmp_path / "whole" / "weights" / "discriminator"
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == "patch_discriminator"
    assert config["config"]["right"] == pytest.approx(whole["patches"], abs=1e-3)
    assert config["config"]["resolution"] == 32
    entry = CatalogueEntry(id="embedded/discriminator", title="x", family="features",
                           licence="Apache-2.0", source="x",
                           files=(ModelFile(name="model.safetensors"),))
    model = load(folder, entry)
    assert isinstance(model, PatchDiscriminator)
    state = torch.load(tmp_path / "whole" / "runs" / RUN["name"] / "checkpoint.pt",
                       weights_only=True)
    assert (state["step"], state["scenes"]) == (4, 16)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value.float(), state["ema"][name].float(), atol=2e-3, rtol=2e-3)
    assert "never heard it" in (folder / "README.md").read_text()


def test_a_discriminator_learns_to_tell_a_blur_from_a_scene(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """An untrained VQGAN draws grey; some steps are enough to know that, on unseen scenes too."""
    monkeypatch.setattr(Loop, "_schedule", lambda _: 1.0)
    torch.manual_seed(0)
    before = evaluate(PatchDiscriminator(train_discriminator.DiscriminatorConfig(32, 8, 2)).eval(),
                      world, vqgan(), scenes=16)
    after = trained(tmp_path, monkeypatch, 100)
    assert before["patches"] < 0.7
    assert after["patches"] > 0.8
    assert after["pairs"] > 0.9

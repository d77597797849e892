"""The trainers of CLIP and VQGAN: they learn one batch by heart, and a whole run makes weights."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.formats import loader
from pipelines.models.clip import build
from pipelines.models.vqgan import VQGAN, VQGANConfig
from pipelines.world.hard_negatives import other_medium
from pipelines.world.scenes import MEDIA
from tests.small_models import clip_config
from tests.test_vqgan import SMALL
from training import train_clip, train_vqgan
from training.attack import PictureLoss
from training.data import World, prefetched
from training.export import export
from training.loop import Loop
from training.pairs import Bank, Pairs, labels_of

RUN: dict[str, Any] = {"seed": 3, "batch_size": 4, "lr": 3e-3, "muon_lr": 0.02, "warmup_steps": 1,
                       "ema_decay": 0.5, "mixed_precision": "no", "minutes": 1e-4}
CLIP_RUN = RUN | {"name": "clip-test", "split": "train-test", "jitter": 0.3, "degraded": 0.0,
                  "uncaptioned": 0.25, "reconstructed": 0.0, "model": clip_config(32)}
VQGAN_RUN = RUN | {
    "name": "vqgan-test", "jitter": 0.25, "decoder_only": False,
    "gradient_weight": 0.5, "square_weight": 2.0, "discriminator_from": 2.0,
    "model": SMALL | {"embed_dim": 3, "n_embed": 60, "levels": [5, 4, 3], "patch_size": 2}}


def entry(family: str) -> CatalogueEntry:
    return CatalogueEntry.model_validate({
        "id": "some/model", "title": "test", "family": family, "loader": "embedded",
        "licence": "MIT", "source": "made by a test", "files": []})


def test_a_clip_learns_one_batch_by_heart() -> None:
    torch.manual_seed(0)
    clip = build(CLIP_RUN["model"])
    batch = Pairs(CLIP_RUN, World(), Bank(Path("none"))).batch(0)
    pictures, ids, labels = batch
    assert pictures.shape == (5, 3, 32, 32)
    optimizer, logits = torch.optim.AdamW(clip.parameters(), 2e-3), torch.empty(0)
    for _ in range(150):
        text = F.normalize(clip.encode_text(ids), dim=-1)
        loss, logits = PictureLoss(clip, lambda x: clip.encode_image(2 * x - 1), text,
                                   labels)(pictures)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits = logits.detach()
    assert logits[:4].argmax(1).tolist() == [0, 1, 2, 3], logits
    assert float(logits[4].max()) < float(logits[:4, :4].diagonal().min()), "it shows nothing"


def test_captions_have_as_many_hard_negatives_as_are_asked_for() -> None:
    changes = {"negatives": 3, "other_media": 1.0, "in_medium": 1.0, "batch_size": 6,
               "kinds": {"single": 1.0}}
    pairs = Pairs(CLIP_RUN | changes, World(), Bank(Path("none")))
    pictures, ids, labels = pairs.batch(0)
    assert len(ids) == 6 + 3 * 6
    assert labels.shape == (len(pictures), len(ids))
    assert labels[:6, :6].diagonal().eq(1).all()
    assert labels.eq(1).sum() == 6
    scenes = [pairs.sampler.sample(k) for k in range(50)]
    assert {s.kind for s in scenes} == {"single"}
    assert all(s.medium for s in scenes)
    rng = random.Random(0)
    for scene in scenes:
        wrong = other_medium(scene, rng)
        assert wrong.medium in MEDIA
        assert wrong.medium != scene.medium
        assert wrong.objects == scene.objects


def test_pictures_are_compared_within_their_group_and_never_with_the_same_words() -> None:
    said = torch.tensor([[1, 5], [1, 6], [1, 5], [1, 7]])  # the third says what the first says
    wrong = torch.tensor([[1, 8], [1, 9], [1, 8], [1, 5]])
    labels = labels_of(torch.cat([said, wrong]), 4, 1, group=2)
    assert labels.tolist() == [
        [1, -1, 0, 0, -1, -1, 0, 0],
        [-1, 1, 0, 0, -1, -1, 0, 0],
        [0, 0, 1, -1, 0, 0, -1, 0],  # the last one's hard negative is true of it
        [0, 0, -1, 1, 0, 0, -1, -1],
        [-1] * 8]  # nothing is true of a picture that shows nothing
    together = labels_of(said, 4, 0, group=4)
    assert together[0].tolist() == [1, -1, 0, -1]


def test_processes_plan_the_same_batches() -> None:
    pairs = Pairs(CLIP_RUN, World(), Bank(Path("none")))
    made = prefetched(pairs.plan, pairs.draw, 3, workers=2)
    for step in range(3, 6):
        pictures, ids, labels = next(made)
        expected = pairs.batch(step)
        assert torch.allclose(pictures, expected[0], atol=1e-4)
        assert torch.equal(ids, expected[1])
        assert torch.equal(labels, expected[2])
    made.close()


def test_a_vqgan_learns_one_batch_by_heart() -> None:
    torch.manual_seed(0)
    model, world = VQGAN(VQGANConfig(**VQGAN_RUN["model"])), World()
    sampler = world.sampler("train-test", kinds={"single": 1.0})
    pixels = world.render([sampler.sample(i) for i in range(4)], 32) * 2 - 1
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    measured = []
    for _ in range(200):  # scenes of the wide world take longer than plain ones
        quantised, _ = model.quantize(model.encode_latents(pixels))
        output = model.decode(quantised)
        measured.append(train_vqgan.psnr_db(output.detach(), pixels))
        loss = (output - pixels).abs().mean() + train_vqgan.gradient_loss(output, pixels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert measured[-1] > measured[0] + 6


@pytest.mark.parametrize(("trainer", "config", "family"), [
    (train_clip, CLIP_RUN, "clip"), (train_vqgan, VQGAN_RUN, "vqgan")])
def test_a_run_ends_with_weights_that_load(trainer: Any, config: dict[str, Any], family: str,
                                           tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "weights"
    monkeypatch.setattr(trainer, "export", partial(export, folder=weights))
    monkeypatch.setattr(trainer, "Loop", partial(Loop, runs_dir=tmp_path / "runs"))
    monkeypatch.setattr(trainer, "evaluate", partial(trainer.evaluate, **(
        {"count": 100} if family == "clip" else {"scenes": 16})))
    figures = trainer.train(config)
    assert figures
    folder = weights / config["name"].removesuffix("-test" if family == "vqgan" else "")
    card = (folder / "README.md").read_text()
    assert "Command: `python -m training.train_" in card
    loaded = loader("embedded")(folder, entry(family))
    saved = torch.load(tmp_path / "runs" / config["name"] / "checkpoint.pt", weights_only=True)
    module = loaded.module if family == "clip" else loaded
    assert isinstance(module, torch.nn.Module)
    for name, tensor in module.state_dict().items():
        assert torch.allclose(tensor.float(), saved["ema"][name].float(), rtol=1e-3,
                              atol=1e-3), name

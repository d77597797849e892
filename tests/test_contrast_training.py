"""The training that Inside plays back: its loss, its pairs, its moments, and that it goes on."""

from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pipelines.inside import replay
from pipelines.world.scenes import uses_held_out
from tests.conftest import REPOSITORY
from tests.small_models import clip_config
from training import train_contrast
from training.data import World
from training.loop import Loop
from training.train_contrast import contrastive_loss, scenes_of, train

SHIPPED = tomllib.loads((REPOSITORY / "training" / "configs" / "contrast.toml").read_text())
RUN: dict[str, Any] = SHIPPED | {
    "name": "contrast-test", "minutes": 1e9, "batch_size": 4, "warmup_steps": 1,
    "mixed_precision": "no", "threads": 0, "moments": [0, 2],
    "model": {**clip_config(32), "init_logit_bias": None}}


def test_the_loss_is_cross_entropy_both_ways_without_captions_of_the_same_words() -> None:
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    labels, own = 2 * torch.eye(3) - 1, torch.arange(3)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2
    assert contrastive_loss(logits, labels) == pytest.approx(float(expected))
    labels[0, 1] = labels[1, 0] = 0  # the second caption says what the first says
    moved = logits.clone()
    moved[0, 1] += 5
    moved[1, 0] -= 5
    assert contrastive_loss(moved, labels) == pytest.approx(float(contrastive_loss(logits, labels)))
    assert contrastive_loss(moved, labels) < contrastive_loss(moved, 2 * torch.eye(3) - 1)


def test_the_pairs_show_what_their_captions_say_and_training_may_show_it_too() -> None:
    world = World()
    pairs = SHIPPED["pairs"]
    scenes = scenes_of(pairs, world.sampler("eval-contrast"), SHIPPED["pairs_seed"])
    assert len(scenes) == len({pair["text"] for pair in pairs}) == 12
    known = set(SHIPPED["things"])
    for pair, scene in zip(pairs, scenes, strict=True):
        assert [thing.concept for thing in scene.objects] == pair["things"]
        assert {thing.colour for thing in scene.objects} == {pair.get("colour")}
        assert known >= set(pair["things"])
        assert not uses_held_out(scene)
    assert [pair["text"] for pair in pairs] == list(replay.replayed_pairs().texts)
    assert known <= set(world.by_id)


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> dict[str, Any]:
    """Train until that many steps are done in all, and what was written."""
    class Short(Loop):
        @property
        def progress(self) -> float:
            return min(1.0, self.step / steps)

    monkeypatch.setattr(train_contrast, "Loop", partial(Short, runs_dir=folder / "runs"))
    return train(RUN, folder / "written")


def test_a_run_that_goes_on_keeps_its_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              ) -> None:
    # One schedule for both, or the parts would learn at other rates.
    monkeypatch.setattr(Loop, "_schedule", lambda _: 1.0)
    whole = trained(tmp_path / "whole", monkeypatch, 3)
    trained(tmp_path / "parts", monkeypatch, 1)
    parts = trained(tmp_path / "parts", monkeypatch, 3)
    assert [each["step"] for each in whole["moments"]] == [0, 2, 3]
    assert [each["pictures_seen"] for each in whole["moments"]] == [0, 8, 12]
    for one, other in zip(whole["moments"], parts["moments"], strict=True):
        assert one["step"] == other["step"]
        assert one["training_loss"] == pytest.approx(other["training_loss"], abs=1e-3)
        torch.testing.assert_close(torch.tensor(one["similarities"]),
                                   torch.tensor(other["similarities"]), rtol=0, atol=1e-3)
    first, last = whole["moments"][0]["similarities"], whole["moments"][-1]["similarities"]
    assert first != last, "it learned"

    monkeypatch.setattr(replay, "REPLAY_DIR", tmp_path / "whole" / "written")
    replay._facts.cache_clear()
    try:
        assert replay.replayed(3).step == 3
        assert replay.replayed_pairs().steps == (0, 2, 3)
        assert all(path.is_file() for path in replay.replayed_pairs().paths)
    finally:
        replay._facts.cache_clear()

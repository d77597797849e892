"""The trainer of the guide's cell tower."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.models.checkpoints.formats import loader
from pipelines.models.clip import build
from tests.test_clip_cells import config
from tests.test_trainers import RUN, entry
from training import train_cells
from training.data import World
from training.export import export, load_exported
from training.loop import Loop
from training.train_clip import STATISTICS

CELLS_RUN: dict[str, Any] = RUN | {
    "name": "clip-guide", "run": "cells-test", "split": "train-test", "recall": 6, "chosen": 5,
    "denoise_kinds": {"single": 1.0}, "cells": {"width": 24, "heads": 2, "layers": 1}}


def test_cells_that_show_something_are_chosen_more_often() -> None:
    torch.manual_seed(0)
    plain = torch.randn(16, 4)
    finished = plain.expand(200, -1, -1).clone()
    finished[:, 3:6] += 1
    chosen = train_cells.informative(finished, plain, 6)
    assert chosen.shape == (200, 6)
    assert all(len(set(row)) == 6 for row in chosen.tolist())
    often = torch.bincount(chosen.flatten(), minlength=16) / 200
    assert (often[3:6] > 0.8).all(), often
    assert (often[6:] > 0.1).all(), "plain cells are learned too"
    assert (often[6:] < 0.5).all(), often


def test_a_run_ends_with_a_guide_that_loads_and_can_be_trained_again(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "clip-guide"
    torch.manual_seed(0)
    before = build(config())
    described = config() | {"mean": STATISTICS[0], "std": STATISTICS[1]}
    export(before, "clip-guide", "clip", described, "# A guide\n\n- Command: `train it`", tmp_path)
    monkeypatch.setattr(train_cells, "FOLDER", shipped)
    monkeypatch.setattr(train_cells, "export", partial(export, folder=tmp_path))
    monkeypatch.setattr(train_cells, "Loop", partial(Loop, runs_dir=tmp_path / "runs"))
    monkeypatch.setattr(train_cells, "evaluate", partial(train_cells.evaluate, count=100))
    figures = train_cells.train(CELLS_RUN)
    assert figures["with"] != figures["without"]
    loaded: Any = loader("embedded")(shipped, entry("clip"))
    saved = torch.load(tmp_path / "runs" / "cells-test" / "checkpoint.pt", weights_only=True)["ema"]
    now = loaded.module.state_dict()
    for name, tensor in before.state_dict().items():
        assert torch.allclose(now[name].float(), tensor, atol=1e-3), "only the tower was trained"
    assert any(name.startswith("cells.") for name in now)
    for name, tensor in now.items():
        assert torch.allclose(tensor.float(), saved[name].float(), rtol=1e-3, atol=1e-3), name

    assert train_cells.train(CELLS_RUN | {"run": "again"}).keys() == figures.keys()
    card = (shipped / "README.md").read_text()
    assert card.count("## Cell tower") == 1
    assert "- Command: `train it`" in card
    # The other trainer of this model begins with what is there, and leaves the tower out.
    load_exported(build(config()), shipped / "model.safetensors", optional="cells.")
    with pytest.raises(RuntimeError, match="cells"):
        load_exported(build(config()), shipped / "model.safetensors")


def test_captions_of_the_same_thing_are_compared_with_unseen_pictures() -> None:
    torch.manual_seed(0)
    clip: Any = build(config() | {"cells": {"width": 24, "heads": 2, "layers": 1}})
    drafts = train_cells.Drafts(CELLS_RUN, World(), 32)

    def cells_of(pictures: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return clip.cells.cells_of(clip.encode_image(pictures * 2 - 1))

    plain = cells_of(torch.ones(1, 3, 32, 32))[0]
    found = train_cells.recall(clip, drafts, cells_of, plain)
    assert found["with"] == pytest.approx(found["without"], abs=1e-5), "it was not trained yet"
    assert -1 <= found["with"] < 0.9

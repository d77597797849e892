"""The judge's trainer: a run of one step ends with a judge that loads, and its figures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks.judge import train as train_judge
from benchmarks.judge.files import load_judge
from training.loop import Loop, load_config
from training.make_codes import CONFIGS

CONFIG = CONFIGS / "judge.toml"
SHORT = ["minutes=1e-6", "batch_size=4", "threads=1", "compile=false", "native=0.0",
         "reconstructions=0", "reconstructed=0.0", "evaluation_scenes=8",
         "model.widths=[8, 16, 16]", "model.depths=[1, 1, 1]", "model.neck=16"]


@pytest.mark.usefixtures("amx")
def test_a_run_ends_with_a_judge_that_loads(tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_judge, "Loop", partial(Loop, runs_dir=tmp_path / "runs"))
    figures = train_judge.train(load_config(CONFIG, SHORT), tmp_path / "judge.safetensors")
    assert figures["scenes"] == 4
    assert set(figures["renders"]) == set(figures["reconstructed"])
    assert all(0 <= share <= 1 for share in figures["renders"].values())
    judge = load_judge(tmp_path / "judge.safetensors")
    assert len(judge.sha256) == 64
    assert (tmp_path / "runs" / "judge" / "checkpoint.pt").is_file()

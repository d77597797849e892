"""The trainers' loop: it resumes where it was, ends when told to, and learns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipelines.models.transformer import FeedForward
from tests.conftest import REPOSITORY
from training.export import export, keep_share, load_exported
from training.loop import Loop, default_precision, fast_autocast, load_config, parse_arguments
from training.muon import AT_ONCE, BatchedMuon, orthogonalised

CONFIG: dict[str, Any] = {"name": "small", "minutes": 1e9, "lr": 3e-3, "muon_lr": 0.02,
                          "warmup_steps": 1, "ema_decay": 0.9, "mixed_precision": "no"}


class Small(nn.Module):
    """A matrix that AdamW trains, and a layer whose matrices Muon trains."""

    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Linear(4, 32)
        self.mlp = FeedForward(32)
        self.outward = nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outward(self.mlp(self.inward(x)))


def run(folder: Path, steps: int, **changes: Any) -> tuple[Loop[Small], list[float]]:
    """Train for some steps, save, and return the loop with its losses."""
    torch.manual_seed(0)
    loop = Loop(CONFIG | changes, Small(), runs_dir=folder)
    losses: list[float] = []
    for step in loop.steps():
        x = torch.randn(64, 4, generator=torch.Generator().manual_seed(step))
        loss = (loop.prepared(x)[:, 0] - x[:, 0] * x[:, 1]).square().mean()
        loop.backward(loss)
        losses.append(float(loss.detach()))
        if len(losses) == steps:
            break
    loop.step += 1  # the step that the break left unfinished in the books
    loop.save()
    return loop, losses


@pytest.mark.usefixtures("amx")
def test_it_learns(tmp_path: Path) -> None:
    loop, losses = run(tmp_path, 150)
    assert len(loop.optimizers) == 2
    assert sum(losses[-10:]) < 0.4 * sum(losses[:10])


@pytest.mark.usefixtures("amx")
def test_a_resumed_run_goes_on_as_if_it_had_never_ended(tmp_path: Path) -> None:
    whole, losses = run(tmp_path / "whole", 12)
    run(tmp_path / "parts", 5)
    resumed, later = run(tmp_path / "parts", 7)
    assert later == pytest.approx(losses[5:], rel=1e-5)
    assert resumed.step == whole.step == 12
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_run_that_is_told_to_end_keeps_its_steps(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    loop = Loop(CONFIG, Small(), runs_dir=tmp_path)

    def train() -> None:
        for step in loop.steps():
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        train()
    assert signal.getsignal(signal.SIGTERM) is before, "what comes after the steps can be ended"
    assert Loop(CONFIG, Small(), runs_dir=tmp_path).step == 3


def test_the_budget_ends_a_run(tmp_path: Path) -> None:
    loop = Loop(CONFIG | {"minutes": 1e-9}, Small(), runs_dir=tmp_path)
    assert [step for step in loop.steps()] == [0]
    assert loop.progress == 1


def test_options_change_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text("lr = 1.0\n[model]\ndim = 3\n")
    assert load_config(path, ["lr=0.5", "model.dim=4", 'name="x"']) == {
        "lr": 0.5, "model": {"dim": 4}, "name": "x"}


def test_a_gpu_has_a_section_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text("lr = 1.0\nsteps = 2\n[gpu]\nlr = 2.0\n[gpu.model]\ndim = 8\n")
    assert load_config(path, []) == {"lr": 1.0, "steps": 2}
    found = load_config(path, ["model.dim=9"], gpu=True)
    assert found == {"lr": 2.0, "steps": 2, "model": {"dim": 9}}


@pytest.mark.parametrize(("tiles", "instruction", "trained", "frozen"), [
    (True, True, torch.bfloat16, torch.bfloat16),
    (False, True, torch.bfloat16, torch.float32),
    (False, False, torch.float32, torch.float32)], ids=["amx", "avx512_bf16", "neither"])
def test_precision_follows_what_the_cpu_is_fast_at(
        tiles: bool, instruction: bool, trained: torch.dtype, frozen: torch.dtype,
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities",
                        lambda: {"amx_bf16": tiles, "avx512_bf16": instruction})
    assert default_precision(cpu=True) == ("bf16" if trained == torch.bfloat16 else "no")
    with fast_autocast(torch.device("cpu")):
        assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == frozen
    loop = Loop(CONFIG | {"mixed_precision": ""}, Small(), runs_dir=tmp_path)
    with loop.accelerator.autocast():
        assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == trained
    _, muon = (wrapped.optimizer for wrapped in loop.optimizers)
    assert isinstance(muon, BatchedMuon)
    assert muon.dtype == trained


@pytest.mark.parametrize("int8", [False, True])
def test_a_run_begins_with_shipped_weights(tmp_path: Path, int8: bool) -> None:
    shipped, begun = nn.Linear(128, 64), nn.Linear(128, 64)
    path = export(shipped, "small", "none", {}, "A test.", tmp_path, int8=int8)
    load_exported(begun, path)
    assert begun.weight.dtype == torch.float32
    assert torch.allclose(begun.weight, shipped.weight, atol=1e-3)


def test_a_run_refuses_weights_of_another_shape(tmp_path: Path) -> None:
    path = export(nn.Linear(8, 4), "small", "none", {}, "A test.", tmp_path)
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_exported(nn.Linear(4, 8), path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_muon_steps_as_torchs_does(dtype: torch.dtype) -> None:
    """Of matrices of several shapes, some each other's transposed, one without a gradient."""
    found = []
    shapes = [(48, 16), (16, 48), (48, 16), (16, 16), *[(8, 12)] * (AT_ONCE + 1)]
    for muon in (torch.optim.Muon, partial(BatchedMuon, dtype=dtype)):
        generator = torch.Generator().manual_seed(3)
        several = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        start = [p.detach().clone() for p in several]
        optimizer = muon([{"params": several[:2]}, {"params": several[2:]}], lr=0.02,
                         weight_decay=0.1)
        for _ in range(3):
            for p in several[:-1]:
                p.grad = torch.randn(p.shape, generator=generator)
            optimizer.step()
        found.append([p.detach() - begun for p, begun in zip(several, start, strict=True)])
    assert not found[0][-1].any()
    assert not found[1][-1].any()
    for theirs, ours in zip(*found, strict=True):
        assert (theirs - ours).norm() <= 0.03 * theirs.norm()


def test_what_is_brought_near_to_orthogonal_is() -> None:
    matrices = torch.randn(3, 16, 48, generator=torch.Generator().manual_seed(3))
    values = torch.linalg.svdvals(orthogonalised(matrices, (3.4445, -4.775, 2.0315), 5, 1e-7))
    assert values.min() > 0.5
    assert values.max() < 1.3


@pytest.mark.parametrize(("share", "expected"), [(0.0, 3.0), (0.5, 2.0), (1.0, 1.0)])
def test_a_share_of_exported_weights_is_kept(tmp_path: Path, share: float, expected: float) -> None:
    begun, trained = nn.Linear(4, 4), nn.Linear(4, 4)
    for layer, value in ((begun, 1.0), (trained, 3.0)):
        for parameter in layer.parameters():
            nn.init.constant_(parameter, value)
    path = export(begun, "small", "small", {}, "card", tmp_path)
    keep_share(trained, path, share)
    assert all(torch.all(p == expected) for p in trained.parameters())


def test_freed_memory_is_kept_by_a_process_that_trains_alone(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run in this process changed in the C library would last for all tests after it."""
    asked: list[str] = []
    monkeypatch.setattr("training.loop.keep_freed_memory", lambda: asked.append("kept"))
    run(tmp_path, 1)
    assert asked == []
    monkeypatch.setattr("sys.argv", ["train", "--set", "minutes=3"])
    assert parse_arguments("dalle.toml")["minutes"] == 3
    assert asked == ["kept"]


def test_keeping_freed_memory_needs_no_glibc() -> None:
    """In a process of its own, as it lasts; nothing is asked of a library without mallopt."""
    code = ("import ctypes, types; from training import loop; loop.keep_freed_memory(); "
            "loop.ctypes = types.SimpleNamespace(CDLL=lambda _: object()); "
            "loop.keep_freed_memory()")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, timeout=120)

"""What every trainer shares: configuration, a timed schedule, EMA weights, resumable checkpoints.

A run is bounded by minutes rather than steps, because the same command serves a laptop and a GPU.
The learning rate follows the share of the budget that is spent, also across resumed runs.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import json
import math
import os
import signal
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pipelines.models.precision import fast_bfloat16
from training.muon import BatchedMuon

RUNS_DIR = Path(__file__).resolve().parents[1] / "runs"
CHECKPOINT_EVERY_S = 240.0
# mallopt(3): M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_MAX; a threshold of -1 never trims.
_MALLOC = {-1: -1, -2: 1 << 28, -4: 0}
ModelT = TypeVar("ModelT", bound=nn.Module)


def load_config(path: Path, overrides: list[str], gpu: bool = False) -> dict[str, Any]:
    """Read a TOML configuration and apply ``section.key=value`` overrides (values as TOML).

    Args:
        path: the file.
        overrides: applied last.
        gpu: whether what the section ``gpu`` says holds.
    """
    config = tomllib.loads(path.read_text())
    for_gpu = config.pop("gpu", {})
    if gpu:
        config |= for_gpu
    for override in overrides:
        name, _, value = override.partition("=")
        section, _, key = name.rpartition(".")
        target = config.setdefault(section, {}) if section else config
        target[key] = tomllib.loads(f"x = {value}")["x"]
    return config


def parse_arguments(default_config: str) -> dict[str, Any]:
    """Command line of a trainer: ``--config FILE`` and ``--set section.key=value``, repeatable."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--config", type=Path, default=Path(__file__).parent / "configs" / default_config
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    keep_freed_memory()  # this process does nothing but train
    return load_config(arguments.config, arguments.set, torch.cuda.is_available())


def default_precision(cpu: bool) -> str:
    """ "bf16" where the device multiplies matrices faster in it, else "no"."""
    device = torch.device("cpu" if cpu else "cuda")
    return "bf16" if multiplies_bfloat16(device) else "no"


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies large matrices of bfloat16 faster than those of float32.

    A CPU does with tiles (AMX) or with AVX-512's instruction for it, which doubles the rate; one
    that has neither emulates it, and a step of DALL·E took five minutes there.
    """
    if device.type != "cpu":
        return fast_bfloat16(device, large=True)
    has = torch.cpu.get_capabilities()
    return bool(has.get("amx_bf16", False) or has.get("avx512_bf16", False))


def fast_autocast(device: torch.device) -> torch.autocast:
    """Context in which frozen models compute in bfloat16 where that is faster, else in float32."""
    return torch.autocast(device.type, torch.bfloat16, fast_bfloat16(device, large=True))


class Loop(Generic[ModelT]):
    """One resumable training run in ``runs/<name>``.

    Args:
        config: with ``name``, ``minutes``, ``lr``, and optionally ``threads``, ``warmup_steps``,
            ``ema_decay``, ``mixed_precision`` ("bf16" or "no"; by default what is faster),
            ``weight_decay``, ``betas``, and ``muon_lr``: with it the matrices of the model's blocks
            are trained by Muon.
        model: the network to train.
        runs_dir: where runs are kept.
    """

    def __init__(self, config: dict[str, Any], model: ModelT, runs_dir: Path = RUNS_DIR) -> None:
        self.config = config
        if config.get("threads"):
            torch.set_num_threads(config["threads"])
        cpu = not torch.cuda.is_available()
        if not cpu:
            torch.set_float32_matmul_precision("high")
        self.accelerator = Accelerator(
            mixed_precision=config.get("mixed_precision") or default_precision(cpu), cpu=cpu
        )
        self.device = self.accelerator.device
        self.folder = runs_dir / config["name"]
        self.folder.mkdir(parents=True, exist_ok=True)
        optimizers = _optimizers(model, config, self.device)
        self.ema: ModelT = copy.deepcopy(model).requires_grad_(False).to(self.device)
        self.model: ModelT = model
        self.prepared, *self.optimizers = self.accelerator.prepare(model, *optimizers)
        self.step, self.scenes, self.seconds = 0, 0, 0.0
        self.extra: dict[str, Any] = {}
        self._sums: dict[str, float | Tensor] = {}
        self._since, self._logged_step = time.monotonic(), 0
        self._saved = time.monotonic()
        self._resume()

    @property
    def progress(self) -> float:
        """Share of the time budget that is spent, in [0, 1]."""
        return min(1.0, self.seconds / (60 * self.config["minutes"]))

    def steps(self) -> Iterator[int]:
        """Step numbers until the budget is spent; keeps time, the schedule and checkpoints.

        SIGTERM ends the process after the step, with a checkpoint to go on from.
        """
        stopped = threading.Event()
        with _on_terminate(stopped.set):
            yield from self._steps(stopped)

    def _steps(self, stopped: threading.Event) -> Iterator[int]:
        while self.progress < 1:
            started = time.monotonic()
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["peak_lr"] * self._schedule()
            yield self.step
            self.step += 1
            self.seconds += time.monotonic() - started
            self._average()
            if stopped.is_set() or time.monotonic() - self._saved > CHECKPOINT_EVERY_S:
                self.save()
            if stopped.is_set():
                raise SystemExit(f"{self.config['name']} stopped; the same command goes on")
        self.save()

    def backward(self, loss: Tensor) -> None:
        """Back-propagate, clip the gradient norm at ``clip`` (1.0), and step the optimiser."""
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.prepared.parameters(), self.config.get("clip", 1.0))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def log(self, every: int = 50, /, **values: float | Tensor) -> None:
        """Add to the running means and print them every ``every`` steps."""
        for key, value in values.items():
            # Left on the device until it is printed: reading a number waits for a GPU.
            shown = value.detach() if isinstance(value, Tensor) else value
            self._sums[key] = self._sums.get(key, 0.0) + shown
        steps = self.step + 1 - self._logged_step
        if steps < every:
            return
        seconds = time.monotonic() - self._since
        means = {key: float(total) / steps for key, total in self._sums.items()}
        shown = "  ".join(f"{key} {value:.4f}" for key, value in means.items())
        print(
            f"{self.config['name']} step {self.step + 1}  scenes {self.scenes}  "
            f"{self.seconds / 60:.1f} of "
            f"{self.config['minutes']} min  {seconds / steps * 1000:.0f} ms/step  {shown}",
            flush=True,
        )
        record = {
            "step": self.step + 1,
            "scenes": self.scenes,
            "seconds": round(self.seconds),
            **means,
        }
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        self._sums, self._since, self._logged_step = {}, time.monotonic(), self.step + 1

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "scenes": self.scenes,
            "seconds": self.seconds,
            "extra": self.extra,
        }
        temporary = self.folder / "checkpoint.tmp"
        torch.save(state, temporary)
        os.replace(temporary, self.folder / "checkpoint.pt")
        self._saved = time.monotonic()

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.scenes, self.seconds = state["step"], state["scenes"], state["seconds"]
        self.extra = state["extra"]
        self._logged_step = self.step
        print(
            f"resumed {self.config['name']} at step {self.step}, {self.scenes} scenes", flush=True
        )

    def _schedule(self) -> float:
        warm = min(1.0, (self.step + 1) / self.config.get("warmup_steps", 200))
        return warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * self.progress)))

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.get("ema_decay", 0.999), (1 + self.step) / (10 + self.step))
        sources, averages = self.model.state_dict(), self.ema.state_dict()
        moved = [name for name, value in averages.items() if value.dtype.is_floating_point]
        torch._foreach_lerp_([averages[name] for name in moved],
                             [sources[name].to(averages[name]) for name in moved], 1 - decay)
        for name in averages.keys() - set(moved):
            averages[name].copy_(sources[name])


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, in all of the process; nothing where it is not glibc.

    It gives tensors of more than 32 MB back to the system at once, and the next ones, of the same
    sizes in every step, are mapped and zeroed anew: a third of a step of DALL·E on two cores.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in _MALLOC.items():
            mallopt(parameter, value)


@contextmanager
def _on_terminate(act: Callable[[], None]) -> Iterator[None]:
    """Act on SIGTERM inside ``with``; afterwards the signal does what it did before.

    Only the main thread may ask for that: in others nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _optimizers(model: nn.Module, config: dict[str, Any], device: torch.device,
                ) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the matrices inside the model's blocks and AdamW beside it.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
    """
    decay = config.get("weight_decay", 0.05)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    hidden = [p for name, p in named
              if config.get("muon_lr") and p.ndim == 2 and ("blocks." in name or "mlp." in name)]
    chosen = {id(p) for p in hidden}
    rest = [p for _, p in named if id(p) not in chosen]
    lr = config["lr"]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": decay, "peak_lr": lr},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0, "peak_lr": lr},
    ]
    betas = tuple(config.get("betas", (0.9, 0.98)))
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
    ]
    if hidden:
        group = {"params": hidden, "peak_lr": config["muon_lr"]}
        dtype = torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
        optimizers.append(BatchedMuon([group], dtype, lr=config["muon_lr"], weight_decay=decay))
    return optimizers


def due(step: int, every: int) -> bool:
    """Whether something that is done every so many steps is done after this one; 0 is never."""
    return every > 0 and step % every == every - 1


def compiled(function: Callable, config: dict[str, Any]) -> Callable:
    """``torch.compile`` the function where the configuration asks for it."""
    return torch.compile(function, dynamic=False) if config.get("compile") else function

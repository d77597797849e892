"""The judge's files: ``benchmarks/weights/judge.safetensors`` and ``judge.json`` beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.judge.model import Judge, JudgeConfig, Verdict, config_dict, look_at

WEIGHTS_PATH = Path(__file__).resolve().parents[1] / "weights" / "judge.safetensors"


@dataclass(frozen=True)
class TrainedJudge:
    """A judge that knows the names of what it sees.

    Attributes:
        network: in evaluation mode, float32.
        concept_ids: ids of its concepts, in training order.
        sha256: of the weights file, in hex.
        figures: what its trainer measured.
    """

    network: Judge
    concept_ids: tuple[str, ...]
    sha256: str
    figures: Mapping[str, Any]

    def __call__(self, images: Tensor) -> list[Verdict]:
        """Judge (N, 3, H, W) float pictures in [0, 1] or (N, H, W, 3) uint8 ones."""
        return look_at(self.network, self.concept_ids, images)


def save_judge(network: Judge, concept_ids: Sequence[str], figures: Mapping[str, Any],
               path: Path = WEIGHTS_PATH) -> None:
    """Write the weights as fp16 and their description beside them.

    Raises:
        ValueError: a weight is not finite in fp16.
    """
    tensors = {name: (t.half() if t.dtype.is_floating_point else t).contiguous().cpu()
               for name, t in network.state_dict().items()}
    if any(not t.isfinite().all() for t in tensors.values() if t.dtype.is_floating_point):
        raise ValueError("the judge's weights are not finite in fp16")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, metadata={"format": "pt"})
    os.replace(temporary, path)
    about = {"config": config_dict(network.config), "figures": dict(figures),
             "concepts": list(concept_ids)}
    path.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")


def load_judge(path: Path = WEIGHTS_PATH) -> TrainedJudge:
    """Read the judge.

    Raises:
        FileNotFoundError: it was not trained yet.
    """
    about = json.loads(path.with_suffix(".json").read_text())
    config: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v
                              for k, v in about["config"].items()}
    network = Judge(JudgeConfig(**config))
    network.load_state_dict({k: v.float() if v.dtype == torch.float16 else v
                             for k, v in load_file(path).items()})
    network.eval().requires_grad_(False)
    network.to(memory_format=torch.channels_last)
    return TrainedJudge(network, tuple(about["concepts"]),
                        hashlib.sha256(path.read_bytes()).hexdigest(), about["figures"])

"""Write trained weights where the product loads them: safetensors, configuration, model card."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

WEIGHTS_DIR = Path(__file__).resolve().parents[1] / "assets" / "weights"


def export(
    model: nn.Module,
    name: str,
    architecture: str,
    config: dict[str, Any],
    card: str,
    folder: Path = WEIGHTS_DIR,
) -> Path:
    """Save a model as fp16 safetensors beside its configuration and card.

    Args:
        model: the network, usually the averaged (EMA) weights.
        name: folder under ``assets/weights``.
        architecture: key of the builder that ``pipelines.weights`` calls.
        config: arguments of that builder and whatever else the loader needs.
        card: text of the model card, Markdown.
        folder: where the weights live.

    Returns:
        Path of the weights file.
    """
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: (value.half() if value.dtype.is_floating_point else value).contiguous().cpu()
        for key, value in model.state_dict().items()
    }
    if any(not torch.isfinite(t).all() for t in tensors.values() if t.dtype.is_floating_point):
        raise ValueError(f"{name}: weights are not finite in fp16")
    temporary = target / "model.safetensors.tmp"
    save_file(tensors, temporary, metadata={"format": "pt"})
    os.replace(temporary, target / "model.safetensors")
    description = {"architecture": architecture, "config": config}
    (target / "config.json").write_text(json.dumps(description, indent=2) + "\n")
    (target / "README.md").write_text(card.strip() + "\n")
    return target / "model.safetensors"

"""Write trained weights where the product loads them: safetensors, configuration, model card."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipelines.models.checkpoints.int8 import from_int8, to_int8

WEIGHTS_DIR = Path(__file__).resolve().parents[1] / "assets" / "weights"


def export(
    model: nn.Module,
    name: str,
    architecture: str,
    config: dict[str, Any],
    card: str,
    folder: Path = WEIGHTS_DIR,
    int8: bool = False,
) -> Path:
    """Save a model as fp16 safetensors beside its configuration and card.

    Args:
        model: the network, usually the averaged (EMA) weights.
        name: folder under ``assets/weights``.
        architecture: key of the builder that ``pipelines.models.checkpoints.loading`` calls.
        config: arguments of that builder and whatever else the loader needs.
        card: text of the model card, Markdown.
        folder: where the weights live.
        int8: large matrices in 8 bits.

    Returns:
        Path of the weights file.
    """
    target = folder / name
    state_dict = to_int8(model.state_dict()) if int8 else model.state_dict()
    _save_half(state_dict, target / "model.safetensors")
    description = {"architecture": architecture, "config": config}
    (target / "config.json").write_text(json.dumps(description, indent=2) + "\n")
    (target / "README.md").write_text(card.strip() + "\n")
    return target / "model.safetensors"


def export_diffusers(
    parts: Mapping[str, Any], name: str, card: str, facts: Mapping[str, Any],
    folder: Path = WEIGHTS_DIR, int8: bool = False,
) -> Path:
    """Save models as a folder in diffusers' layout: fp16 safetensors, each with its configuration.

    Args:
        parts: diffusers models by the name of their folder.
        name: folder under ``assets/weights``.
        card: text of the model card, Markdown.
        facts: what ``model_index.json`` also says.
        folder: where the weights live.
        int8: large matrices in 8 bits.

    Returns:
        The model's folder.
    """
    target = folder / name
    for part, model in parts.items():
        state_dict = to_int8(model.state_dict()) if int8 else model.state_dict()
        _save_half(state_dict, target / part / "diffusion_pytorch_model.safetensors")
        (target / part / "config.json").write_text(model.to_json_string())
    index = {part: ["diffusers", type(model).__name__] for part, model in parts.items()}
    (target / "model_index.json").write_text(json.dumps({**index, **facts}, indent=2) + "\n")
    (target / "README.md").write_text(card.strip() + "\n")
    return target


def load_exported(model: nn.Module, path: Path, optional: str | None = None) -> None:
    """Set a model's weights to those that ``export`` or ``export_diffusers`` wrote.

    Args:
        model: in float32.
        path: the safetensors file, in 16 or 8 bits.
        optional: how the names of a part begin that only one of model and file may have; the
            model's stays as it is then, the file's is left out.

    Raises:
        RuntimeError: The file is of a model of another shape.
    """
    weights = {k: v.float() for k, v in from_int8(load_file(path)).items()}
    if optional is not None:
        own = model.state_dict()
        weights = ({k: v for k, v in own.items() if k.startswith(optional)}
                   | {k: v for k, v in weights.items() if k in own or not k.startswith(optional)})
    model.load_state_dict(weights)


@torch.no_grad()
def keep_share(model: nn.Module, path: Path, share: float) -> None:
    """Move a model's weights back towards exported ones, from which its training began.

    What was learnt before and not trained again is lost less than in the weights at the end.

    Args:
        model: in float32; changed in place.
        path: the safetensors file that the training began with.
        share: of the exported weights, 0 to 1.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models" (2022), section 3.
    """
    begun = copy.deepcopy(model)
    load_exported(begun, path)
    old = begun.state_dict()
    for name, value in model.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(old[name].to(value), share)


def _save_half(state_dict: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as fp16, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: (value.half() if value.dtype.is_floating_point else value).contiguous().cpu()
        for key, value in state_dict.items()
    }
    if any(not torch.isfinite(t).all() for t in tensors.values() if t.dtype.is_floating_point):
        raise ValueError(f"{path.parent.name}: weights are not finite in fp16")
    temporary = path.with_name(path.name + ".tmp")
    save_file(tensors, temporary, metadata={"format": "pt"})
    os.replace(temporary, path)

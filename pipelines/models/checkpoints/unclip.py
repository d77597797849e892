"""The embedded unCLIP's folders, in diffusers' layout: an index and one folder a part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.formats import WithoutRandomNumbers, check_depth, fill
from pipelines.models.checkpoints.int8 import from_int8
from pipelines.models.checkpoints.tensor_files import missing_file, read_safetensors
from pipelines.models.unclip import build_decoder, build_prior

INDEX, CONFIG, WEIGHTS = "model_index.json", "config.json", "diffusion_pytorch_model.safetensors"
PRIOR_PARTS, DECODER_PARTS = {"transformer": "prior"}, {"unet": "unet",
                                                        "caption_encoder": "caption_encoder"}


def load(folder: Path, entry: CatalogueEntry) -> nn.Module:
    """Build the prior or the decoder of a folder, whichever its index names.

    Raises:
        WeightsError: a file is missing, cut short, or of another model.
    """
    index = _read_json(folder / INDEX, entry.id)
    parts = PRIOR_PARTS if "prior" in index else DECODER_PARTS
    configs = {name: _read_json(folder / part / CONFIG, entry.id) for name, part in parts.items()}
    state_dict = {f"{name}.{key}": tensor for name, part in parts.items()
                  for key, tensor in
                  from_int8(read_safetensors(folder / part / WEIGHTS, entry.id)).items()}
    check_depth(configs, state_dict, entry.id)
    try:
        with WithoutRandomNumbers():
            module = (build_prior(configs["transformer"]) if "prior" in index
                      else build_decoder(configs))
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise WeightsError("A {} of the model {} does not fit its classes: {}.", CONFIG, entry.id,
                           error) from None
    clip = index.get("clip_sha256")
    module.clip_sha256 = clip if isinstance(clip, str) else None
    return fill(module, state_dict, entry.id)


def _read_json(path: Path, model_id: str) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_bytes())
    except OSError:
        raise missing_file(path.name, model_id) from None
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        raise WeightsError("The {} of the model {} is not a configuration.", path.name, model_id)
    return raw

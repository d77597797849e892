"""FLUX.2 [klein]'s published folder: which part an entry is, its ``config`` says (``part``)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen3Model

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.library_folders import (
    Build,
    build_part,
    diffusers_part,
    read_config,
    read_scheduler,
    transformers_part,
)
from pipelines.models.flux2 import READ_LAYERS, Autoencoder, Flow, Reader

CAUSAL_PREFIX = "model."  # of the tensors of a language model without its head


def load(folder: Path, entry: CatalogueEntry) -> nn.Module:
    """Build the part that an entry is; see ``library_folders.build_part``."""
    return build_part(folder, entry, _PARTS)


def _reader(folder: Path, entry: CatalogueEntry) -> nn.Module:
    # One layer after the last that is read, since the last layer's states are normalised.
    layers = max(READ_LAYERS) + 1
    config = read_config(folder, entry, "text_encoder/config.json")
    if int(config["num_hidden_layers"]) < layers:
        raise WeightsError("The language model of {} has {} layers, and at least {} are read.",
                           entry.id, config["num_hidden_layers"], layers)
    kinds = list(config.get("layer_types") or [])[:layers]
    changes = {"num_hidden_layers": layers, **({"layer_types": kinds} if kinds else {})}
    model = transformers_part(Qwen3Model, "text_encoder", folder, entry, changes, CAUSAL_PREFIX)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    if not getattr(tokenizer, "chat_template", None):
        raise WeightsError("The tokenizer of the model {} has no chat template.", entry.id)
    return Reader(model, cast(PreTrainedTokenizerBase, tokenizer))


def _flow(folder: Path, entry: CatalogueEntry) -> nn.Module:
    return Flow(diffusers_part(Flux2Transformer2DModel, "transformer", folder, entry),
                read_scheduler(FlowMatchEulerDiscreteScheduler, folder, entry))


def _autoencoder(folder: Path, entry: CatalogueEntry) -> nn.Module:
    return Autoencoder(diffusers_part(AutoencoderKLFlux2, "vae", folder, entry))


_PARTS: dict[str, Build] = {
    "text_encoder": _reader, "transformer": _flow, "vae": _autoencoder}

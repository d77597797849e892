"""Easel's own format: ``config.json`` and ``model.safetensors``.

``config.json`` holds ``{"architecture": NAME, "config": {…}}``. Large matrices may be in 8 bits
(``pipelines.models.checkpoints.int8``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.formats import WithoutRandomNumbers, check_depth, fill
from pipelines.models.checkpoints.ids import EMBEDDED
from pipelines.models.checkpoints.int8 import from_int8
from pipelines.models.checkpoints.tensor_files import missing_file, read_safetensors

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"


@dataclass(frozen=True)
class Architecture:
    """How a kind of model is built.

    Attributes:
        build: configuration to an untrained module whose state dict the file holds.
        finish: loaded module, configuration and the model's folder to what a lease hands out.
    """

    build: Callable[[Mapping[str, Any]], nn.Module]
    finish: Callable[[nn.Module, Mapping[str, Any], Path], nn.Module] = (
        lambda module, config, folder: module)


def architecture(name: str) -> Architecture:
    """The architecture of that name; its code is imported here and not before.

    Raises:
        WeightsError: there is none.
    """
    if name == "vqgan":
        from pipelines.models import vqgan
        return Architecture(vqgan.build)
    if name == "dalle":
        from pipelines.models import dalle
        return Architecture(dalle.build)
    if name == "clip":
        from pipelines.models import clip
        return Architecture(clip.build, _with_vocabulary)
    if name == "upscaler":
        from pipelines.models import upscaler
        return Architecture(upscaler.build)
    if name == "efficientnet":
        from pipelines.models import efficientnet
        return Architecture(efficientnet.build, _channels_last)
    if name == "minilm":
        from pipelines.models import minilm
        return Architecture(minilm.build, _with_tokenizer)
    if name == "photo_clip":
        from pipelines.models import photo_clip
        return Architecture(photo_clip.build)
    if name == "locked_clip":
        from pipelines.models import locked_clip
        return Architecture(locked_clip.build)
    if name == "clip_pair":
        from pipelines.models import clip_pair
        return Architecture(clip_pair.build)
    if name == "familiarity":
        from pipelines.models import familiarity
        return Architecture(familiarity.build)
    if name == "patch_discriminator":
        from pipelines.models import patch_discriminator
        return Architecture(patch_discriminator.build)
    raise WeightsError("There is no architecture called {!r}.", name[:40])


def _channels_last(module: nn.Module, config: Mapping[str, Any], folder: Path) -> nn.Module:
    """The module, whose convolutions then compute in the layout in which CPUs are fastest."""
    return module.to(memory_format=torch.channels_last)


def _with_tokenizer(module: nn.Module, config: Mapping[str, Any], folder: Path) -> nn.Module:
    """The encoder with the tokenizer that lies beside it.

    Raises:
        WeightsError: the tokenizer is missing or damaged.
    """
    from tokenizers import Tokenizer

    from pipelines.models.minilm import SentenceEncoder

    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception:  # the package raises no narrower one
        raise WeightsError("The {} of the model {}{} is missing or is not that of a tokenizer.",
                           TOKENIZER, EMBEDDED, folder.name) from None
    return SentenceEncoder(module, tokenizer)


def _with_vocabulary(module: nn.Module, config: Mapping[str, Any], folder: Path) -> nn.Module:
    from open_clip import CLIP

    from pipelines.models.checkpoints.vocabulary import load_vocabulary
    from pipelines.models.clip import OPENAI_MEAN, OPENAI_STD, ClipModel, image_size
    from pipelines.models.fast_clip import with_fast_kernels

    return ClipModel(with_fast_kernels(cast(CLIP, module)), load_vocabulary(), image_size(config),
                     config.get("mean", OPENAI_MEAN), config.get("std", OPENAI_STD))


def _read_config(path: Path, model_id: str) -> tuple[str, dict[str, Any]]:
    try:
        raw = json.loads(path.read_bytes())
        name, config = raw["architecture"], raw["config"]
        if isinstance(name, str) and isinstance(config, dict):
            return name, config
    except OSError:
        raise missing_file(path.name, model_id) from None
    except (ValueError, KeyError, TypeError):
        pass
    raise WeightsError("The {} of the model {} is not a model configuration.", CONFIG, model_id)


def load(folder: Path, entry: CatalogueEntry) -> nn.Module:
    """Build the model of a folder.

    Raises:
        WeightsError: a file is missing, cut short, or of another model.
    """
    name, config = _read_config(folder / CONFIG, entry.id)
    kind = architecture(name)
    state_dict = from_int8(read_safetensors(folder / WEIGHTS, entry.id))
    check_depth(config, state_dict, entry.id)
    try:
        with WithoutRandomNumbers():
            module = kind.build(config)
    except (TypeError, ValueError, KeyError, AssertionError, RuntimeError) as error:
        raise WeightsError("The {} of the model {} does not fit the architecture {}: {}.", CONFIG,
                           entry.id, name, error) from None
    return kind.finish(fill(module, state_dict, entry.id), config, folder)

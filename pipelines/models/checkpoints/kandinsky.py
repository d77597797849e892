"""Kandinsky 2.2's published folders: which part an entry is, its ``config`` says (``part``).

Parts are built without memory for their weights and take the file's tensors as they are read, so
that loading needs hardly more than the weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from diffusers import (
    DDPMScheduler,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from torch import nn
from transformers import (
    CLIPImageProcessor,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.catalogue import CatalogueEntry
from pipelines.models.checkpoints.formats import WithoutMemory, fill
from pipelines.models.checkpoints.tensor_files import missing_file, read_safetensors
from pipelines.models.kandinsky import ImageEncoder, MoVQ, Painter, Prior, TextEncoder

DIFFUSERS_WEIGHTS, TRANSFORMERS_WEIGHTS = "diffusion_pytorch_model.safetensors", "model.safetensors"


def load(folder: Path, entry: CatalogueEntry) -> nn.Module:
    """Build the part that an entry is.

    Raises:
        WeightsError: a file is missing, damaged, or of another model.
    """
    part = str(entry.config.get("part", ""))
    build = _PARTS.get(part)
    if build is None:
        raise WeightsError("The model {} is none of Kandinsky's parts; there are: {}.", entry.id,
                           ", ".join(_PARTS))
    try:
        return build(folder, entry)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        fault = " ".join(str(error).split())[:200]
        raise WeightsError("The {} of the model {} cannot be built from its files: {}.", part,
                           entry.id, fault) from None


def _config(folder: Path, entry: CatalogueEntry, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        return json.loads(path.read_bytes())
    except OSError:
        raise missing_file(name, entry.id) from None
    except ValueError:
        raise WeightsError("The {} of the model {} is not a configuration.", name,
                           entry.id) from None


def _diffusers(kind: Any, part: str, folder: Path, entry: CatalogueEntry) -> Any:
    config = _config(folder, entry, f"{part}/config.json")
    with WithoutMemory():
        module = kind.from_config(config)
    return _filled(module, folder / part / DIFFUSERS_WEIGHTS, entry)


def _transformers(kind: Any, part: str, folder: Path, entry: CatalogueEntry) -> Any:
    config = kind.config_class.from_dict(_config(folder, entry, f"{part}/config.json"))
    with WithoutMemory():
        module = kind(config)
    return _filled(module, folder / part / TRANSFORMERS_WEIGHTS, entry)


def _filled(module: nn.Module, path: Path, entry: CatalogueEntry) -> nn.Module:
    expected = module.state_dict()
    # Older files also hold tables that are computed now.
    tensors = read_safetensors(
        path, entry.id, lambda name: name in expected or not name.endswith("position_ids"))
    filled = fill(module, tensors, entry.id)
    for name, buffer in filled.named_buffers():
        if buffer.is_meta:
            raise WeightsError("The weights of the model {} lack the table {}.", entry.id, name)
    return filled


def _text_encoder(folder: Path, entry: CatalogueEntry) -> nn.Module:
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    return TextEncoder(_transformers(CLIPTextModelWithProjection, "text_encoder", folder, entry),
                       tokenizer)


def _image_encoder(folder: Path, entry: CatalogueEntry) -> nn.Module:
    processor = cast(CLIPImageProcessor, CLIPImageProcessor.from_dict(
        _config(folder, entry, "image_processor/preprocessor_config.json")))
    return ImageEncoder(
        _transformers(CLIPVisionModelWithProjection, "image_encoder", folder, entry), processor)


def _prior(folder: Path, entry: CatalogueEntry) -> nn.Module:
    model = _diffusers(PriorTransformer, "prior", folder, entry)
    scheduler = UnCLIPScheduler.from_config(
        _config(folder, entry, "scheduler/scheduler_config.json"))
    return Prior(model, cast(UnCLIPScheduler, scheduler))


def _unet(folder: Path, entry: CatalogueEntry) -> nn.Module:
    scheduler = DDPMScheduler.from_config(
        _config(folder, entry, "scheduler/scheduler_config.json"))
    return Painter(_diffusers(UNet2DConditionModel, "unet", folder, entry),
                   cast(DDPMScheduler, scheduler))


def _movq(folder: Path, entry: CatalogueEntry) -> nn.Module:
    return MoVQ(_diffusers(VQModel, "movq", folder, entry))


_PARTS: dict[str, Callable[[Path, CatalogueEntry], nn.Module]] = {
    "text_encoder": _text_encoder, "image_encoder": _image_encoder, "prior": _prior,
    "unet": _unet, "movq": _movq}

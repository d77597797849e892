"""Kandinsky 2.2's published folders: which part an entry is, its ``config`` says (``part``)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

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

from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.library_folders import (
    Build,
    build_part,
    diffusers_part,
    read_config,
    read_scheduler,
    transformers_part,
)
from pipelines.models.kandinsky import ImageEncoder, MoVQ, Painter, Prior, TextEncoder


def load(folder: Path, entry: CatalogueEntry) -> nn.Module:
    """Build the part that an entry is; see ``library_folders.build_part``."""
    return build_part(folder, entry, _PARTS)


def _text_encoder(folder: Path, entry: CatalogueEntry) -> nn.Module:
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    model = transformers_part(CLIPTextModelWithProjection, "text_encoder", folder, entry)
    return TextEncoder(model, tokenizer)


def _image_encoder(folder: Path, entry: CatalogueEntry) -> nn.Module:
    processor = cast(CLIPImageProcessor, CLIPImageProcessor.from_dict(
        read_config(folder, entry, "image_processor/preprocessor_config.json")))
    return ImageEncoder(
        transformers_part(CLIPVisionModelWithProjection, "image_encoder", folder, entry), processor)


def _prior(folder: Path, entry: CatalogueEntry) -> nn.Module:
    return Prior(diffusers_part(PriorTransformer, "prior", folder, entry),
                 read_scheduler(UnCLIPScheduler, folder, entry))


def _unet(folder: Path, entry: CatalogueEntry) -> nn.Module:
    return Painter(diffusers_part(UNet2DConditionModel, "unet", folder, entry),
                   read_scheduler(DDPMScheduler, folder, entry))


def _movq(folder: Path, entry: CatalogueEntry) -> nn.Module:
    return MoVQ(diffusers_part(VQModel, "movq", folder, entry))


_PARTS: dict[str, Build] = {
    "text_encoder": _text_encoder, "image_encoder": _image_encoder, "prior": _prior,
    "unet": _unet, "movq": _movq}

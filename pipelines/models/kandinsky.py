"""Kandinsky 2.2's parts, each from its own folders of the published layout.

Every part is a module of its own, so that the model cache can hold one while another one waits on
disk: text encoder, image encoder, prior, U-Net, MoVQ. Which one an entry is, its ``config`` says
(``part``).

Source: Razzhigaev et al., "Kandinsky: an Improved Text-to-Image Synthesis with Image Prior and
Latent Diffusion" (2023), section 3.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import (
    DDPMScheduler,
    KandinskyV22PriorPipeline,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessor,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.catalogue import CatalogueEntry
from pipelines.models.checkpoints.formats import fill
from pipelines.models.checkpoints.tensor_files import missing_file, read_safetensors
from pipelines.models.offload import execution_device, weights_at_hand

DIFFUSERS_WEIGHTS, TRANSFORMERS_WEIGHTS = "diffusion_pytorch_model.safetensors", "model.safetensors"


class Part(nn.Module):
    """One of Kandinsky's parts, which may be offloaded."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return execution_device(self)


class TextEncoder(Part):
    """Captions to what the prior needs to know of them."""

    def __init__(self, model: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer

    def encode(self, text: str, count: int, guided: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Text embeddings, token states and their mask, for ``count`` rows of the caption.

        Where guided, as many rows of an empty caption come before them.
        """
        parts: dict[str, Any] = dict.fromkeys(
            ("prior", "image_encoder", "scheduler", "image_processor"))
        whole = KandinskyV22PriorPipeline(
            text_encoder=self.model, tokenizer=self.tokenizer, **parts)
        # The pipeline's own method, so that captions are read as it reads them.
        return whole._encode_prompt([text], self.device, count, guided)


class ImageEncoder(Part):
    """Pictures to the embeddings that the decoder draws from."""

    def __init__(self, model: CLIPVisionModelWithProjection, processor: CLIPImageProcessor,
                 ) -> None:
        super().__init__()
        self.model, self.processor = model, processor

    def encode(self, image: np.ndarray | None) -> Tensor:
        """The embedding (1, D) of a picture (H, W, 3) uint8 RGB; of a blank one where None."""
        if image is None:
            side = int(cast(Any, self.model.config).image_size)
            pixels = torch.zeros(1, 3, side, side)
        else:
            pixels = self.processor(image, return_tensors="pt").pixel_values
        pixels = pixels.to(self.device, self.model.dtype)
        return self.model(pixels).image_embeds


class Prior(Part):
    """The prior with the noise schedule that it was trained on."""

    def __init__(self, model: PriorTransformer, scheduler: UnCLIPScheduler) -> None:
        super().__init__()
        self.model, self.scheduler_config = model, dict(scheduler.config)

    def scheduler(self, steps: int) -> UnCLIPScheduler:
        """A schedule of its own for a run."""
        scheduler = cast(UnCLIPScheduler, UnCLIPScheduler.from_config(self.scheduler_config))
        scheduler.set_timesteps(steps, device=self.device)
        return scheduler

    def finish(self, latents: Tensor) -> Tensor:
        """Image embeddings (N, D) of the latents after the last step."""
        with weights_at_hand(self.model):
            return cast(Any, self.model).post_process_latents(latents)


class Painter(Part):
    """The U-Net with the noise schedule that it was trained on."""

    def __init__(self, model: UNet2DConditionModel, scheduler: DDPMScheduler) -> None:
        super().__init__()
        self.model, self.scheduler_config = model, dict(scheduler.config)

    def scheduler(self, steps: int) -> DDPMScheduler:
        """A schedule of its own for a run."""
        scheduler = cast(DDPMScheduler, DDPMScheduler.from_config(self.scheduler_config))
        scheduler.set_timesteps(steps, device=self.device)
        return scheduler


class MoVQ(Part):
    """Latents to pixels."""

    def __init__(self, model: VQModel) -> None:
        super().__init__()
        self.model = model

    @property
    def scale(self) -> int:
        """Pixels along one side of a latent."""
        return 2 ** (len(cast(Any, self.model.config).block_out_channels) - 1)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (N, 3, H, W), about [-1, 1]."""
        return self.model.decode(latents.to(self.model.dtype), force_not_quantize=True,
                                 return_dict=False)[0]


def load(folder: Path, entry: CatalogueEntry) -> nn.Module:
    """Build the part that an entry is.

    Raises:
        WeightsError: a file is missing, damaged, or of another model.
    """
    part = str(entry.config.get("part", ""))
    build = _PARTS.get(part)
    if build is None:
        raise WeightsError(f"The model {entry.id} is none of Kandinsky's parts; there are: "
                           f"{', '.join(_PARTS)}.")
    try:
        return build(folder, entry)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        fault = " ".join(str(error).split())[:200]
        raise WeightsError(f"The {part} of the model {entry.id} cannot be built from its files: "
                           f"{fault}.") from None


def _config(folder: Path, entry: CatalogueEntry, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        return json.loads(path.read_bytes())
    except OSError:
        raise missing_file(name, entry.id) from None
    except ValueError:
        raise WeightsError(f"The {name} of the model {entry.id} is not a configuration.") from None


def _diffusers(kind: Any, part: str, folder: Path, entry: CatalogueEntry) -> Any:
    config = _config(folder, entry, f"{part}/config.json")
    with torch.device("meta"):
        module = kind.from_config(config)
    return _filled(module, folder / part / DIFFUSERS_WEIGHTS, entry)


def _transformers(kind: Any, part: str, folder: Path, entry: CatalogueEntry) -> Any:
    module = kind(kind.config_class.from_dict(_config(folder, entry, f"{part}/config.json")))
    return _filled(module, folder / part / TRANSFORMERS_WEIGHTS, entry)


def _filled(module: nn.Module, path: Path, entry: CatalogueEntry) -> nn.Module:
    expected = module.state_dict()
    # Older files also hold tables that are computed now.
    tensors = {key: tensor for key, tensor in read_safetensors(path, entry.id).items()
               if key in expected or not key.endswith("position_ids")}
    filled = fill(module, tensors, entry.id)
    for name, buffer in filled.named_buffers():
        if buffer.is_meta:
            raise WeightsError(f"The weights of the model {entry.id} lack the table {name}.")
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
    # Its mask is a table that no file holds: build it on the CPU.
    module = PriorTransformer.from_config(_config(folder, entry, "prior/config.json"))
    _filled(cast(nn.Module, module), folder / "prior" / DIFFUSERS_WEIGHTS, entry)
    scheduler = UnCLIPScheduler.from_config(
        _config(folder, entry, "scheduler/scheduler_config.json"))
    return Prior(cast(PriorTransformer, module), cast(UnCLIPScheduler, scheduler))


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

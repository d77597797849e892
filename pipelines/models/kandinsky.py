"""Kandinsky 2.2's parts: text encoder, image encoder, prior, U-Net, MoVQ.

Source: Razzhigaev et al., "Kandinsky: an Improved Text-to-Image Synthesis with Image Prior and
Latent Diffusion" (2023), section 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import KandinskyV22PriorPipeline
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from pipelines.models.offload import weights_at_hand
from pipelines.models.parts import Part, ScheduledPart


class TextEncoder(Part):
    """Captions to what the prior needs to know of them."""

    def __init__(self, model: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer) -> None:
        super().__init__(model)
        self.tokenizer = tokenizer

    def encode(self, texts: list[str], count: int, guided: bool, negative: str = "",
               ) -> tuple[Tensor, Tensor, Tensor]:
        """Text embeddings, token states and their mask, for ``count`` rows of each caption.

        Where guided, as many rows of the negative caption come before them, of an empty one where
        there is none.
        """
        parts: dict[str, Any] = dict.fromkeys(
            ("prior", "image_encoder", "scheduler", "image_processor"))
        whole = KandinskyV22PriorPipeline(
            text_encoder=self.model, tokenizer=self.tokenizer, **parts)
        # The pipeline's own method, so that captions are read as it reads them.
        against = [negative] * len(texts) if negative else None
        return whole._encode_prompt(texts, self.device, count, guided, against)


class ImageEncoder(Part):
    """Pictures to the embeddings that the decoder draws from."""

    def __init__(self, model: CLIPVisionModelWithProjection, processor: CLIPImageProcessor,
                 ) -> None:
        super().__init__(model)
        self.processor = processor

    def encode(self, image: np.ndarray | None) -> Tensor:
        """The embedding (1, D) of a picture (H, W, 3) uint8 RGB; of a blank one where None."""
        if image is None:
            side = int(self.config.image_size)
            pixels = torch.zeros(1, 3, side, side)
        else:
            pixels = self.processor(image, return_tensors="pt").pixel_values
        pixels = pixels.to(self.device, self.model.dtype)
        return self.model(pixels).image_embeds


class Prior(ScheduledPart):
    """The prior with the noise schedule that it was trained on."""

    def finish(self, latents: Tensor) -> Tensor:
        """Image embeddings (N, D) of the latents after the last step."""
        with weights_at_hand(self.model):
            return self.model.post_process_latents(latents)


class Painter(ScheduledPart):
    """The U-Net with the noise schedule that it was trained on."""


class MoVQ(Part):
    """Latents to pixels."""

    @property
    def scale(self) -> int:
        """Pixels along one side of a latent."""
        return 2 ** (len(self.config.block_out_channels) - 1)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (N, 3, H, W), about [-1, 1]."""
        return self.model.decode(latents.to(self.model.dtype), force_not_quantize=True,
                                 return_dict=False)[0]

"""CLIP through open_clip, one class for embedded and public models.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
(2021), section 2; sigmoid loss and bias: Zhai et al., "Sigmoid Loss for Language Image
Pre-Training" (2023), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    import open_clip

Tokenizer = Callable[..., Tensor]
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


class ClipModel(nn.Module):
    """An open_clip model with its tokenizer and picture statistics.

    Args:
        model: the open_clip module.
        tokenizer: texts and ``context_length`` to ids (N, context_length) int64.
        image_size: side in px of the square pictures that the model sees.
        mean: per-channel mean that pictures are normalised with, in [0, 1].
        std: per-channel standard deviation.
    """

    def __init__(
        self,
        model: open_clip.CLIP,
        tokenizer: Tokenizer,
        image_size: int,
        mean: Sequence[float] = OPENAI_MEAN,
        std: Sequence[float] = OPENAI_STD,
    ) -> None:
        super().__init__()
        self.module, self.tokenizer, self.image_size = model, tokenizer, image_size
        self.mean, self.std = tuple(mean), tuple(std)
        # Where its features are remembered and under which name; the model cache says it.
        self.remembered: tuple[Any, Hashable] | None = None

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.module.parameters()).device

    @property
    def logit_scale(self) -> float:
        """Factor from cosine similarity to logits, as trained."""
        return float(self.module.logit_scale.detach().exp())

    @property
    def logit_bias(self) -> float | None:
        """Bias of the logits of a sigmoid-loss model, None for a softmax-loss model."""
        bias = self.module.logit_bias
        return None if bias is None else float(bias.detach())

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Unit-length text features (N, D), float32."""
        length = self.module.context_length
        ids = self.tokenizer(list(texts), context_length=length).to(self.device)
        return F.normalize(self.module.encode_text(ids).float(), dim=-1)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Unit-length picture features; differentiable in ``pixels``.

        Args:
            pixels: (B, 3, H, W) float in [0, 1], any size; resized to a square inside.

        Returns:
            (B, D) float32.
        """
        if pixels.shape[-2:] != (self.image_size, self.image_size):
            pixels = F.interpolate(
                pixels,
                (self.image_size, self.image_size),
                mode="bicubic",
                align_corners=False,
                antialias=True,
            ).clamp(0, 1)
        scale = 1 / pixels.new_tensor(self.std).view(1, 3, 1, 1)
        mean = pixels.new_tensor(self.mean).view(1, 3, 1, 1)
        dtype = next(self.module.visual.parameters()).dtype
        features = self.module.encode_image(torch.addcmul(-mean * scale, pixels, scale).to(dtype))
        return F.normalize(features.float(), dim=-1)


def build(config: Mapping[str, Any]) -> open_clip.CLIP:
    """Build an untrained open_clip module from an open_clip model configuration.

    Args:
        config: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and the optional ``init_logit_bias``,
            exactly as in open_clip's JSON files; and the optional ``cells``, the shape of a
            ``pipelines.models.clip_cells.CellTower``.
    """
    import open_clip  # with torchvision and transformers: seconds, for whoever has a model built

    from pipelines.models.clip_cells import CellCLIP

    fields = {
        "embed_dim": config["embed_dim"],
        "vision_cfg": config["vision_cfg"],
        "text_cfg": config["text_cfg"],
        "init_logit_bias": config.get("init_logit_bias"),
    }
    return CellCLIP(config["cells"], **fields) if "cells" in config else open_clip.CLIP(**fields)


def image_size(config: Mapping[str, Any]) -> int:
    """Side in px of the pictures of an open_clip configuration."""
    size = config["vision_cfg"]["image_size"]
    return size if isinstance(size, int) else size[0]

"""A CLIP for people's own photographs, made of a classifier and a sentence encoder.

A picture's embedding has two parts. One is the mean of the text embeddings of ImageNet's classes,
weighted by what the classifier makes of the picture (ConSE): nothing of it is trained. The other is
a matrix from the classifier's features into the same space, fitted to what the first part leaves
of captions (LiT: both towers stay locked). Texts are read by the sentence encoder, so that a
picture is found by words that no class is called. Texts are taken relative to the mean of the
classes, without which every text is a little like every picture.

It has the interface of ``pipelines.models.clip.ClipModel``.

Source: Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings" (2014),
section 3; Zhai et al., "LiT: Zero-Shot Transfer with Locked-image text Tuning" (2022), section 3;
Mu and Viswanath, "All-but-the-Top: Simple and Effective Postprocessing for Word Representations"
(2018), section 2 (the mean).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.efficientnet import CLASSES, FEATURES, IMAGE_SIZE, EfficientNet
from pipelines.models.minilm import SentenceEncoder


class PhotoClip(nn.Module):
    """Pictures and texts in the space of the sentence encoder.

    Args:
        width: of the sentence encoder's embeddings.
        top: how many of the likeliest classes count.
        temperature: that the classifier's logits are divided by.
        classes_share: weight of the classes' part beside that of the fitted matrix.

    Attributes:
        image: the classifier; set by who loads the model.
        text: the sentence encoder; set likewise.
    """

    image: EfficientNet
    text: SentenceEncoder

    def __init__(self, width: int, top: int, temperature: float, classes_share: float) -> None:
        super().__init__()
        self.top, self.temperature, self.classes_share = top, temperature, classes_share
        self.classes = nn.Parameter(torch.empty(CLASSES, width))  # less their mean, unit length
        self.mean = nn.Parameter(torch.empty(width))
        self.features_mean = nn.Parameter(torch.empty(FEATURES))
        self.fitted = nn.Parameter(torch.empty(width, FEATURES))
        self.log_scale = nn.Parameter(torch.empty(()))
        self.image_size = IMAGE_SIZE
        # Where its features are remembered and under which name; the model cache says it.
        self.remembered: tuple[Any, Hashable] | None = None

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.mean.device

    @property
    def logit_scale(self) -> float:
        """Factor from cosine similarity to logits, at which its probabilities are right most."""
        return float(self.log_scale.detach().exp())

    @property
    def logit_bias(self) -> float | None:
        """None: its probabilities are a softmax."""
        return None

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Unit-length text features (N, D), float32."""
        return F.normalize(self.text(texts) - self.mean.float(), dim=-1)

    def from_classes(self, features: Tensor) -> Tensor:
        """The classes' part of pictures' embeddings, unit length.

        Args:
            features: (B, 1280) of the classifier.

        Returns:
            (B, D) float32.
        """
        logits = self.image.classifier(features).float() / self.temperature
        likeliest, numbers = logits.topk(min(self.top, CLASSES))
        shares = likeliest.softmax(-1)
        return F.normalize((shares[..., None] * self.classes.float()[numbers]).sum(1), dim=-1)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Unit-length picture features; differentiable in ``pixels``.

        Args:
            pixels: (B, 3, H, W) float in [0, 1], any size; resized to a square inside.

        Returns:
            (B, D) float32.
        """
        if pixels.shape[-2:] != (IMAGE_SIZE, IMAGE_SIZE):
            pixels = F.interpolate(pixels, (IMAGE_SIZE, IMAGE_SIZE), mode="bicubic",
                                   align_corners=False, antialias=True).clamp(0, 1)
        features = self.image.features(pixels)
        directions = F.normalize(features.float(), dim=-1) - self.features_mean.float()
        found = self.classes_share * self.from_classes(features)
        return F.normalize(found + directions @ self.fitted.float().t(), dim=-1)


def build(config: Mapping[str, Any]) -> PhotoClip:
    """The module without its parts.

    Args:
        config: the arguments of ``PhotoClip``.
    """
    return PhotoClip(**config)

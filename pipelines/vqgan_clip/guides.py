"""What a picture should match, and how far a CLIP says that it still is from it.

Source: Crowson et al., "VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language
Guidance" (2022), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipelines.models.clip import ClipModel
from pipelines.models.clip_features import image_features, text_features
from pipelines.weighted_prompts import WeightedPrompt


class Guide:
    """What the picture should match; its features are computed once.

    Args:
        clip: the guide.
        prompts: texts with weights and stops.
        images: (H, W, 3) uint8 RGB that are targets too, with weights; not those of weight 0.
    """

    @torch.no_grad()
    def __init__(self, clip: ClipModel, prompts: Sequence[WeightedPrompt],
                 images: Sequence[tuple[np.ndarray, float]] = ()) -> None:
        self.clip = clip
        features = [text_features(clip, [p.text for p in prompts])]
        weights, stops = [p.weight for p in prompts], [p.stop for p in prompts]
        for image, weight in (each for each in images if each[1]):
            features.append(image_features(clip, [image]))
            weights, stops = [*weights, weight], [*stops, -torch.inf]
        self.features = torch.cat(features)
        self.weights = self.features.new_tensor(weights)
        self.stops = self.features.new_tensor(stops)

    def loss(self, image_features: Tensor) -> Tensor:
        """Weighted squared angular distances (B,) of unit features (B, D) to all targets.

        A target whose signed distance is below its stop counts, but pulls no more.
        """
        chords = (image_features[:, None] - self.features[None]).norm(dim=-1)
        # Short of the antipode, where the arc's slope is infinite.
        signed = 2 * (chords / 2).clamp_max(1 - 1e-6).arcsin().square() * self.weights.sign()
        pulling = torch.where(signed > self.stops, signed, signed.detach())
        return (pulling * self.weights.abs()).sum(dim=1)

    def score(self, image_features: Tensor) -> Tensor:
        """Weighted mean of cosine similarities (B,), as ``rerank.weighted_scores``."""
        cosines = image_features @ self.features.t()
        return cosines @ (self.weights / self.weights.abs().sum())

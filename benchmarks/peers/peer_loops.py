"""What people run without Easel: the well-known VQGAN+CLIP loop, and a plain open_clip ranking.

Written anew for the comparison from the published descriptions, with their numbers: Crowson et al.,
"VQGAN-CLIP" (2022), section 3 and appendix; Cherti et al., "Reproducible Scaling Laws" (2023) for
open_clip's own usage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import kornia.augmentation as K
import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from pipelines.models.clip import OPENAI_MEAN, OPENAI_STD
from pipelines.models.vqgan import VQGAN


class MakeCutouts(nn.Module):
    """All cutouts pooled from the whole picture, by means and maxima, then augmented by kornia."""

    def __init__(self, side_px: int, num_cutouts: int, noise: float = 0.1) -> None:
        super().__init__()
        self.num_cutouts, self.noise = num_cutouts, noise
        self.mean_pool = nn.AdaptiveAvgPool2d((side_px, side_px))
        self.max_pool = nn.AdaptiveMaxPool2d((side_px, side_px))
        self.augment = nn.Sequential(
            K.RandomAffine(degrees=15, translate=(0.1, 0.1), p=0.7, padding_mode="border"),
            K.RandomPerspective(0.7, p=0.7),
            K.ColorJitter(hue=0.1, saturation=0.1, p=0.7),
            K.RandomErasing((0.1, 0.4), (0.3, 1 / 0.3), same_on_batch=True, p=0.7))

    def forward(self, pixels: Tensor) -> Tensor:
        """(1, 3, H, W) in [0, 1] to (num_cutouts, 3, side, side)."""
        cutouts = [(self.mean_pool(pixels) + self.max_pool(pixels)) / 2
                   for _ in range(self.num_cutouts)]
        batch = self.augment(torch.cat(cutouts))
        strength = batch.new_empty(self.num_cutouts, 1, 1, 1).uniform_(0, self.noise)
        return batch + strength * torch.randn_like(batch)


class PlainLoop:
    """One picture under optimisation, as the script does it, in float32.

    Args:
        vqgan: taming's networks under Easel's names.
        clip: open_clip's module as it comes.
        target: (1, D) unit features of the text.
        size_px: side of the picture.
        num_cutouts: cutouts a step.
    """

    def __init__(self, vqgan: VQGAN, clip: open_clip.CLIP, target: Tensor, size_px: int,
                 num_cutouts: int) -> None:
        self.vqgan, self.clip, self.target = vqgan, clip, target
        size: Any = clip.visual.image_size
        self.cutouts = MakeCutouts(size[0] if isinstance(size, tuple) else size, num_cutouts)
        side, codes = size_px // vqgan.downsampling, vqgan.codebook
        picked = codes[torch.randint(len(codes), (side * side,))]
        self.z = picked.view(1, side, side, -1).permute(0, 3, 1, 2).clone().requires_grad_()
        self.optimiser = torch.optim.Adam([self.z], lr=0.1)
        self.low = codes.amin(0).view(1, -1, 1, 1)
        self.high = codes.amax(0).view(1, -1, 1, 1)
        self.mean = torch.tensor(OPENAI_MEAN).view(1, 3, 1, 1)
        self.std = torch.tensor(OPENAI_STD).view(1, 3, 1, 1)

    def step(self) -> float:
        """Decode, cut, compare, move; returns the loss."""
        self.optimiser.zero_grad()
        codes, flat = self.vqgan.codebook, self.z.movedim(1, 3)
        distances = (flat.square().sum(-1, keepdim=True) + codes.square().sum(1)
                     - 2 * flat @ codes.t())
        hard = F.one_hot(distances.argmin(-1), len(codes)).to(flat.dtype) @ codes
        quantised = flat + (hard - flat).detach()
        pixels = self.vqgan.decode(quantised.movedim(3, 1)).add(1).div(2).clamp(0, 1)
        seen = (self.cutouts(pixels) - self.mean) / self.std
        features = F.normalize(self.clip.encode_image(seen), dim=-1)
        distance = (features - self.target).norm(dim=-1).div(2).arcsin().square().mul(2)
        loss = distance.mean()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            self.z.copy_(self.z.maximum(self.low).minimum(self.high))
        return float(loss.detach())


def plain_ranking(images: Sequence[np.ndarray], clip: open_clip.CLIP, preprocess: Any,
                  text_features: Tensor) -> Tensor:
    """Similarities (N,) of pictures with a text, one by one as in open_clip's own example."""
    scores = []
    with torch.no_grad():
        for image in images:
            pixels = preprocess(Image.fromarray(image))[None]
            features = F.normalize(clip.encode_image(pixels), dim=-1)
            scores.append(features @ text_features[0])
    return torch.cat(scores)

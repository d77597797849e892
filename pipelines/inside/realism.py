"""Where a picture looks real to a patch discriminator, and where what its codes draw does.

Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017),
section 3.2.2; Esser, Rombach, Ommer, "Taming Transformers for High-Resolution Image Synthesis"
(2021), section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.core.errors import Cancelled
from pipelines.inside.codes import CODER, Codes, codes_of
from pipelines.inside.score import heat_map
from pipelines.models.cache.cache import ModelCache
from pipelines.models.patch_discriminator import PatchDiscriminator
from pipelines.models.pixels import from_uint8

DISCRIMINATOR = "embedded/discriminator"
# From here on colours get no stronger: hinge loss asks for logits of 1, and knows no upper end.
STRONGEST = 4.0


@dataclass(frozen=True, eq=False)
class PatchMap:
    """What a discriminator says of the patches of one picture.

    Attributes:
        logits: (h, w) float32, one a patch: above 0 it looks real, below 0 drawn from codes.
        spots: (S / stride, S / stride) float32, the same in the middles of the patches, so that
            they lie over the picture; at an edge, where no patch has its middle, the next one's.
        cells: (G, G) float32, the mean of the spots over each code.
    """

    logits: np.ndarray
    spots: np.ndarray
    cells: np.ndarray

    @property
    def mean(self) -> float:
        """Mean logit."""
        return float(self.logits.mean())

    @property
    def real(self) -> float:
        """Share of the patches that look real."""
        return float((self.logits > 0).mean())


@dataclass(frozen=True, eq=False)
class Judged:
    """A picture and what its codes draw, each judged patch by patch.

    Attributes:
        codes: both pictures; see ``Codes``.
        picture: of what the VQGAN reads.
        reconstruction: of what it draws.
        patch_px: side of a patch; neighbours share most of their pixels.
        right: see ``DiscriminatorConfig.right``.
    """

    codes: Codes
    picture: PatchMap
    reconstruction: PatchMap
    patch_px: int
    right: float | None

    @property
    def heat_maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Both pictures (S, S, 3) uint8 RGB under their spots: orange is real, blue drawn."""
        return (over(self.codes.image, self.picture), over(self.codes.reconstruction,
                                                           self.reconstruction))


@dataclass(frozen=True, eq=False)
class JudgePatches:
    """The question where a picture looks real, and where its reconstruction does.

    Attributes:
        image: (H, W, 3) uint8 RGB, of any size.
    """

    image: np.ndarray

    @property
    def models(self) -> tuple[str, ...]:
        """The VQGAN and the discriminator, which learned on what it draws."""
        return (CODER, DISCRIMINATOR)

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False) -> Judged:
        """See ``Question.answer`` and ``Judged``."""
        with (models.lease(CODER, cancelled=cancelled) as vqgan,
              models.lease(DISCRIMINATOR, cancelled=cancelled) as discriminator):
            if cancelled():
                raise Cancelled
            codes = codes_of(self.image, vqgan)
            if cancelled():
                raise Cancelled
            picture, reconstruction = patch_maps(
                np.stack([codes.image, codes.reconstruction]), len(codes.grid), discriminator)
            config = discriminator.config
            return Judged(codes, picture, reconstruction, discriminator.patch_px, config.right)


def over(image: np.ndarray, found: PatchMap) -> np.ndarray:
    """A picture (S, S, 3) uint8 RGB under its map, on the same scale for all pictures."""
    return heat_map(image, found.spots.clip(-STRONGEST, STRONGEST), STRONGEST)


@torch.no_grad()
def patch_maps(images: np.ndarray, side: int, discriminator: PatchDiscriminator,
               ) -> list[PatchMap]:
    """What a discriminator says of pictures.

    Args:
        images: (B, S, S, 3) uint8 RGB.
        side: codes along a side, of which S is a multiple.
        discriminator: judges them, each on its own.
    """
    weight = next(discriminator.parameters())
    logits = discriminator(from_uint8(images, weight.device, weight.dtype)).float()[:, None]
    # The first patch has its middle one stride from the edge.
    missing = images.shape[1] // discriminator.stride - logits.shape[-1]
    around = (missing // 2, missing - missing // 2)
    spots = F.pad(logits, (*around, *around), mode="replicate")
    cells = F.adaptive_avg_pool2d(spots, side)
    return [PatchMap(*each) for each in zip(*(values[:, 0].cpu().numpy() for values in (
        logits, spots, cells)), strict=True)]

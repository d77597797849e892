"""Two pictures in one grid of codes: what the decoder draws where they meet.

Source: Esser, Rombach, Ommer, "Taming Transformers for High-Resolution Image Synthesis" (2021),
section 3.1: the decoder sees all codes, and the patch of each through those around it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipelines.core.errors import Cancelled
from pipelines.inside.codes import CODER, Codes, codes_of, draw_grids, psnr_db
from pipelines.inside.mask import Mask, kept_codes
from pipelines.models.cache.cache import ModelCache


@dataclass(frozen=True, eq=False)
class Mixed:
    """Two pictures and what comes of their codes together.

    Attributes:
        one, other: both, as ``ReadCodes`` finds them; each is read anew, whoever drew it.
        kept: (G, G) bool, where the codes of the first stand; elsewhere those of the other.
        grid: (G, G) int64, the codes together.
        picture: (S, S, 3) uint8 RGB, they drawn.
        pasted: (S, S, 3) uint8 RGB, what either's codes draw alone, cut along the mask.
    """

    one: Codes
    other: Codes
    kept: np.ndarray
    grid: np.ndarray
    picture: np.ndarray
    pasted: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """(S, S, 3) uint8, by how much codes together draw otherwise than cut and pasted."""
        return np.abs(self.picture.astype(int) - self.pasted).astype(np.uint8)

    @property
    def psnr_db(self) -> float:
        """How near the two are; infinite where they are the same."""
        return psnr_db(self.picture, self.pasted)


@dataclass(frozen=True, eq=False)
class MixCodes:
    """The question what the codes of two pictures draw together.

    Attributes:
        image: (H, W, 3) uint8 RGB, of any size.
        other: the same; of another size where it likes.
        mask: where the codes of ``image`` stand, as of ``kept_codes``.
    """

    image: np.ndarray
    other: np.ndarray
    mask: Mask = "left"

    @property
    def models(self) -> tuple[str, ...]:
        """The VQGAN."""
        return (CODER,)

    def answer(self, models: ModelCache, cancelled: Callable[[], bool] = lambda: False) -> Mixed:
        """See ``Question.answer`` and ``Mixed``.

        Raises:
            InvalidRequest: the mask keeps all codes, or none.
        """
        with models.lease(CODER, cancelled=cancelled) as vqgan:
            found = []
            for image in (self.image, self.other):
                if cancelled():
                    raise Cancelled
                found.append(codes_of(image, vqgan))
            one, other = found
            kept = kept_codes(self.mask, len(one.grid))
            grid = np.where(kept, one.grid, other.grid)
            return Mixed(one, other, kept, grid, draw_grids(grid[None], vqgan)[0], np.where(
                over_pixels(kept, len(one.image)), one.reconstruction, other.reconstruction))


def over_pixels(kept: np.ndarray, side_px: int) -> np.ndarray:
    """A mask (G, G) of codes as one (S, S, 1) of the pixels that they stand for."""
    scale = side_px // len(kept)
    return kept.repeat(scale, 0).repeat(scale, 1)[..., None]

"""Which CLIP suits which pictures: those trained on the world, or the one for photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipelines.models.checkpoints.ids import GUIDE, RANKER
from pipelines.models.familiarity import Familiarity
from pipelines.models.pixels import to_squares

FAMILIARITY = "embedded/familiarity"
PHOTO_CLIP = "embedded/clip-photos"
OF_THE_WORLD = frozenset({RANKER, GUIDE})
BY_PICTURES = "by-pictures"  # in place of the id of a CLIP: whichever suits the pictures
BATCH_SIZE = 16


@torch.no_grad()
def unlike_the_world(images: Sequence[np.ndarray], model: Familiarity) -> np.ndarray:
    """Whether pictures are unlike anything that the world's CLIPs have seen.

    Args:
        images: N pictures, (H, W, 3) uint8 RGB each, of any sizes.

    Returns:
        (N,) bool.
    """
    parts = [model(to_squares(images[start:start + BATCH_SIZE], model.image_size, model.device))
             for start in range(0, len(images), BATCH_SIZE)]
    return torch.cat(parts).cpu().numpy() if parts else np.zeros(0, bool)


def suited_clip(unlike: np.ndarray, for_photographs: str = PHOTO_CLIP) -> str:
    """The CLIP that suits most of some pictures; the ranker for none.

    Args:
        unlike: (N,) bool of ``unlike_the_world``.
        for_photographs: id of the CLIP for pictures that are so.
    """
    return for_photographs if unlike.sum() > len(unlike) / 2 else RANKER


def misfits(model_id: str, unlike: np.ndarray) -> np.ndarray:
    """Which pictures are unlike those that a CLIP learned from: (N,) bool.

    Public CLIPs have seen pictures of all kinds; nothing is said against them.
    """
    if model_id in OF_THE_WORLD:
        return unlike
    return ~unlike if model_id == PHOTO_CLIP else np.zeros_like(unlike)


def better_clip(model_id: str) -> str:
    """The embedded CLIP for what another one of them has not seen."""
    return RANKER if model_id == PHOTO_CLIP else PHOTO_CLIP

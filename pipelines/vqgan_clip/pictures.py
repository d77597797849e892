"""The pictures that VQGAN+CLIP is given: prompts beside the text, and a mask for the init image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipelines.core.errors import InvalidRequest
from pipelines.core.images import fit, resize
from pipelines.models.pixels import from_uint8, to_uint8

Marks = Literal["free", "kept"]
MAX_WEIGHT = 10.0  # of an image prompt


def parse_weights(text: str, count: int) -> tuple[float, ...]:
    """Weights of image prompts, with commas between them: "1, -0.5"; 1 each where empty.

    Args:
        text: of the option.
        count: image prompts that there are.

    Raises:
        InvalidRequest: it is no such text, or has not one for each.
    """
    if not text.strip():
        return (1.0,) * count
    found = [_number(part) for part in text.split(",")]
    if not all(abs(weight) <= MAX_WEIGHT for weight in found):
        raise InvalidRequest("Weights of the image prompts are numbers between {:g} and {:g} with "
                             "commas between them, such as 1, -0.5, not {!r}.", -MAX_WEIGHT,
                             MAX_WEIGHT, text[:40], field="image_prompt_weights")
    if len(found) != count:
        raise InvalidRequest("Image prompts: {}; weights for them: {}. Give each "
                             "of them one, or none.", count, len(found),
                             field="image_prompt_weights")
    return tuple(found)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@dataclass(frozen=True, eq=False)
class Mask:
    """What of a picture is held.

    Attributes:
        kept: (1, 3, H, W) in [-1, 1], the init image.
        free: (1, 1, H, W) in [0, 1], 1 where the picture may be another.
        resized: whether the mask's file had another size than the init image's.
    """

    kept: Tensor
    free: Tensor
    resized: bool

    def restored(self, images: np.ndarray) -> np.ndarray:
        """Pictures (N, H, W, 3) uint8 RGB with what is held in its place."""
        device = self.kept.device
        return to_uint8(self.laid_on(from_uint8(images, device)))

    def laid_on(self, pixels: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) in [-1, 1] with what is held in its place."""
        return pixels * self.free + self.kept * (1 - self.free)


def free_places(mask: np.ndarray, marks: Marks) -> np.ndarray:
    """Where the picture may change: (H, W) uint8, 255 there.

    Args:
        mask: (H, W) uint8, 255 where it marks a place.
        marks: what a marked place is.

    Raises:
        InvalidRequest: it keeps everything, or nothing.
    """
    free = mask if marks == "free" else 255 - mask
    if free.max() < 128:
        raise InvalidRequest("The mask keeps the whole init image, so that there is nothing to "
                             "draw.", field="mask")
    if free.min() > 127:
        raise InvalidRequest("The mask keeps nothing of the init image: leave it out.",
                             field="mask")
    return free


def make_mask(free: np.ndarray, image: np.ndarray, shape_px: tuple[int, int],
              device: torch.device) -> Mask:
    """A mask for the pictures of a run.

    Args:
        free: of ``free_places``; resized where it has another size than the image.
        image: (H, W, 3) uint8 RGB, the init image as it came.
        shape_px: height and width of the pictures, to which both are cut alike.
        device: where it is used.
    """
    resized = free.shape != image.shape[:2]
    grey = np.repeat(free[..., None], 3, axis=2)
    grey = fit(resize(grey, image.shape[1], image.shape[0]), *shape_px)
    return Mask(from_uint8(fit(image, *shape_px)[None], device),
                (from_uint8(grey[None], device)[:, :1] + 1) / 2, resized)

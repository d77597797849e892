"""CLIP features of many pictures that differ from one picture in a box each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pipelines.core.cpu_pool import on_every_core
from pipelines.core.errors import Cancelled
from pipelines.models.clip import ClipModel
from pipelines.models.clip_features import (
    IMAGES_AT_ONCE,
    embed_images,
    in_pieces,
    of_numbers,
    stack_squares,
)
from pipelines.models.locked_clip import LockedClip

Changed = tuple[np.ndarray, tuple[slice, slice]]  # a picture, and the rows and columns that differ
Looked = Changed | tuple[np.ndarray, None]


def embed_changed(clip: ClipModel, whole: np.ndarray, changed: Sequence[Changed],
                  cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
    """Features of a picture, and of others that differ from it in a box each.

    A CLIP that looks through EfficientNet begins anew only where they differ.

    Args:
        clip: the CLIP that looks.
        whole: (S, S, 3) uint8 RGB, S being ``clip.image_size``.
        changed: the others, as large.
        cancelled: polled between batches.

    Returns:
        (1 + N, D) float32, unit length.

    Raises:
        Cancelled: ``cancelled`` turned true.
    """
    if not isinstance(clip, LockedClip):
        return embed_images(clip, [whole, *(image for image, _ in changed)], cancelled)
    with torch.no_grad():
        begun = clip.image.begin(stack_squares(clip, [whole]))
    parts = []
    for start in range(0, max(1, len(changed)), IMAGES_AT_ONCE):
        if cancelled():
            raise Cancelled
        pieces: list[Sequence[Looked]] = [
            *in_pieces(clip, changed[start:start + IMAGES_AT_ONCE])] or [[]]
        if not start:  # with the first of them: alone the picture takes as long as two of those
            pieces[0] = [(whole, None), *pieces[0]]
        parts += on_every_core(partial(_embed, clip, begun), pieces)
    return np.concatenate(parts)


@torch.no_grad()
def _embed(clip: LockedClip, begun: Tensor, looked: Sequence[Looked]) -> np.ndarray:
    """Features of pictures; of one without a box ``begun`` is what was begun of it."""
    pixels = stack_squares(clip, [image for image, _ in looked])
    again = torch.cat([begun if box is None else
                       clip.image.begin_again(begun, pixels[at:at + 1], box)
                       for at, (_, box) in enumerate(looked)])
    return of_numbers(clip.encode_image(pixels, again)).cpu().numpy()

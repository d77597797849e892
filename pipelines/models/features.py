"""Pictures and texts as CLIP features: the one thing of the lab that needs the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pipelines.core.cpu_pool import on_every_core
from pipelines.core.errors import Cancelled
from pipelines.models.clip import ClipModel
from pipelines.models.pixels import to_squares

IMAGES_AT_ONCE = 64
IMAGES_A_CORE = 4  # fewer are not worth a core of their own
TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class Features:
    """What a CLIP says of some pictures and texts, on the CPU.

    Attributes:
        model_id: id of the CLIP in the catalogue.
        fingerprint: SHA-256 of its weights in hex; features of different ones do not compare.
        image_size: side in px of the squares that it sees.
        logit_scale: factor from cosine similarities to logits, as trained.
        images: (N, D) float32, unit length.
        texts: (M, D) float32, unit length.
    """

    model_id: str
    fingerprint: str
    image_size: int
    logit_scale: float
    images: np.ndarray
    texts: np.ndarray


def never() -> bool:
    """For whoever cannot be cancelled."""
    return False


def _stack(images: Sequence[np.ndarray], clip: ClipModel) -> Tensor:
    """Pictures as (B, 3, S, S) float32 in [0, 1] on the CLIP's device."""
    side = clip.image_size
    if any(image.shape != (side, side, 3) for image in images):
        return to_squares(images, side, clip.device)
    squares = torch.from_numpy(np.stack(images)).to(clip.device)
    return squares.permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def embed_images(images: Sequence[np.ndarray], clip: ClipModel,
                 cancelled: Callable[[], bool] = never) -> np.ndarray:
    """Features of pictures.

    Args:
        images: (H, W, 3) uint8 RGB each; squares of ``clip.image_size`` are taken as they are.
        clip: the CLIP that looks.
        cancelled: polled between batches.

    Returns:
        (N, D) float32, unit length.

    Raises:
        Cancelled: ``cancelled`` turned true.
    """
    parts = []
    for start in range(0, len(images), IMAGES_AT_ONCE):
        if cancelled():
            raise Cancelled
        batch = images[start:start + IMAGES_AT_ONCE]
        parts += on_every_core(partial(_embed, clip=clip), _pieces(batch, clip))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _pieces(images: Sequence[np.ndarray], clip: ClipModel) -> list[Sequence[np.ndarray]]:
    """Pictures of a batch in two pieces for each core of a CPU; in one piece for a GPU.

    With two a core that is done first takes over a part of what is left.
    """
    if clip.device.type != "cpu":
        return [images]
    size = max(IMAGES_A_CORE, -(-len(images) // (2 * torch.get_num_threads())))
    return [images[start:start + size] for start in range(0, len(images), size)]


@torch.no_grad()
def _embed(images: Sequence[np.ndarray], clip: ClipModel) -> np.ndarray:
    return clip.encode_image(_stack(images, clip)).cpu().numpy()


@torch.no_grad()
def embed_texts(texts: Sequence[str], clip: ClipModel,
                cancelled: Callable[[], bool] = never) -> np.ndarray:
    """Features of texts: (M, D) float32, unit length; see ``embed_images``."""
    parts = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        if cancelled():
            raise Cancelled
        parts.append(clip.encode_text(texts[start:start + TEXTS_AT_ONCE]).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

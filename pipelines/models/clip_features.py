"""CLIP features of texts and pictures, for a run or in bulk.

A run asks for few that come again and again (``text_features``, ``image_features``): the same
prompt ranks many candidates, a sweep asks it again, and the same pictures are put in order by
other words. They are remembered. A text is computed alone, not in a batch with others: its
features, and with them the pictures of a seed, do not depend on what was asked beside it.

The lab and the search ask for many that come once (``embed_texts``, ``embed_images``): nothing is
remembered, texts go in batches, pictures to every core of a CPU, and Stop ends it between batches.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.core.cpu_pool import on_every_core
from pipelines.core.errors import Cancelled, WeightsError
from pipelines.models.batches import in_batches
from pipelines.models.pixels import to_squares

if TYPE_CHECKING:
    from pipelines.models.clip import ClipModel
    from pipelines.models.locked_clip import LockedClip

T = TypeVar("T")
BUDGET_BYTES = 64 * 2**20
IMAGES_AT_ONCE = TEXTS_AT_ONCE = 64
IMAGES_A_CORE = 4  # at once: fewer are slower, and of more the maps leave a core's cache


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


class Embeddings:
    """Feature vectors by what they are of, in main memory; the longest unused leave first.

    Args:
        budget_bytes: the most that they may take together.
        make_room: takes idle models off the device when a batch does not fit.
    """

    def __init__(self, budget_bytes: int = BUDGET_BYTES,
                 make_room: Callable[[], int] = lambda: 0) -> None:
        self.budget_bytes, self.make_room = budget_bytes, make_room
        self.hits, self.misses, self.used_bytes = 0, 0, 0
        self._lock = threading.Lock()
        self._vectors: OrderedDict[Hashable, Tensor] = OrderedDict()

    def attach(self, model: nn.Module, key: Hashable, fingerprint: str | None) -> None:
        """Let a CLIP remember its features here; other models are left alone.

        Args:
            model: just loaded.
            key: which one it is.
            fingerprint: SHA-256 of its weights; None keeps its features apart from all others.
        """
        if hasattr(model, "remembered"):
            # A module's own __setattr__ is typed for tensors and modules alone.
            object.__setattr__(model, "remembered", (self, (key, fingerprint or object())))

    def rows(self, keys: Sequence[Hashable], compute: Callable[[list[int]], Tensor]) -> Tensor:
        """Vectors of keys, on the CPU.

        Args:
            keys: what they are of; a repeated one is computed once.
            compute: indices into ``keys`` to a tensor with a row for each.

        Returns:
            (len(keys), D) float32.
        """
        with self._lock:
            found = {key: self._vectors[key] for key in keys if key in self._vectors}
            for key in found:
                self._vectors.move_to_end(key)
            self.hits += sum(key in found for key in keys)
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        missing = sorted(i for key, i in first.items() if key not in found)
        if missing:
            computed = compute(missing).float().cpu()
            found |= {keys[i]: row.clone() for i, row in zip(missing, computed, strict=True)}
            self._keep({keys[i]: found[keys[i]] for i in missing})
        return torch.stack([found[key] for key in keys])

    def _keep(self, vectors: dict[Hashable, Tensor]) -> None:
        with self._lock:
            self.misses += len(vectors)
            for key, vector in vectors.items():
                if key not in self._vectors:
                    self.used_bytes += vector.nbytes
                self._vectors[key] = vector
            while self.used_bytes > self.budget_bytes and self._vectors:
                _, old = self._vectors.popitem(last=False)
                self.used_bytes -= old.nbytes


def _memory_of(clip: ClipModel) -> tuple[Embeddings, Hashable]:
    """Where a CLIP remembers, and under which name; nothing outlasts the call without one."""
    return getattr(clip, "remembered", None) or (Embeddings(), None)


def of_numbers(features: Tensor) -> Tensor:
    """Features as they are.

    Raises:
        WeightsError: not all are numbers, as with weights that are damaged.
    """
    if not features.isfinite().all():
        raise WeightsError("A CLIP gives values that are no numbers: its weights are damaged, or "
                           "too large for this number format.")
    return features


@torch.no_grad()
def text_features(clip: ClipModel, texts: Sequence[str]) -> Tensor:
    """Unit-length features (M, D) float32 of texts, on the CLIP's device.

    Raises:
        WeightsError: they are no numbers.
    """
    memory, name = _memory_of(clip)

    def compute(missing: list[int]) -> Tensor:
        return of_numbers(torch.cat([clip.encode_text([texts[i]]) for i in missing]))

    return memory.rows([(name, "text", text) for text in texts], compute).to(clip.device)


@torch.no_grad()
def image_features(clip: ClipModel, images: Sequence[np.ndarray]) -> Tensor:
    """Unit-length features of pictures.

    Args:
        clip: the CLIP that looks.
        images: N pictures, (H, W, 3) uint8 RGB each, of any sizes.

    Returns:
        (N, D) float32 on the CLIP's device.

    Raises:
        OutOfMemory: the device is full, even for half a batch.
        WeightsError: they are no numbers.
    """
    memory, name = _memory_of(clip)

    def look(batch: Sequence[np.ndarray]) -> Tensor:
        return clip.encode_image(to_squares(batch, clip.image_size, clip.device))

    def compute(missing: list[int]) -> Tensor:
        return of_numbers(in_batches(look, [images[i] for i in missing], IMAGES_AT_ONCE,
                                     memory.make_room))

    keys = [(name, "image", image_hash(image)) for image in images]
    return memory.rows(keys, compute).to(clip.device)


def image_hash(image: np.ndarray) -> bytes:
    """A hash of a picture's pixels and shape."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


@torch.no_grad()
def embed_images(clip: ClipModel, images: Sequence[np.ndarray],
                 cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
    """Features of pictures.

    Args:
        clip: the CLIP that looks.
        images: (H, W, 3) uint8 RGB each; squares of ``clip.image_size`` are taken as they are.
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
        parts += on_every_core(partial(_embed, clip), in_pieces(clip, batch))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def in_pieces(clip: ClipModel, batch: Sequence[T]) -> list[Sequence[T]]:
    """Pictures of a batch in small pieces for the cores of a CPU; in one piece for a GPU.

    A core that is done with a piece takes the next one.
    """
    if clip.device.type != "cpu":
        return [batch]
    return [batch[start:start + IMAGES_A_CORE] for start in range(0, len(batch), IMAGES_A_CORE)]


@torch.no_grad()
def _embed(clip: ClipModel, images: Sequence[np.ndarray]) -> np.ndarray:
    return of_numbers(clip.encode_image(stack_squares(clip, images))).cpu().numpy()


@torch.no_grad()
def embed_texts(clip: ClipModel, texts: Sequence[str],
                cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
    """Features of texts: (M, D) float32, unit length; see ``embed_images``."""
    parts = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        if cancelled():
            raise Cancelled
        features = clip.encode_text(texts[start:start + TEXTS_AT_ONCE])
        parts.append(of_numbers(features).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def stack_squares(clip: ClipModel | LockedClip, images: Sequence[np.ndarray]) -> Tensor:
    """Pictures as (B, 3, S, S) float32 in [0, 1] on the CLIP's device."""
    side = clip.image_size
    if any(image.shape != (side, side, 3) for image in images):
        return to_squares(images, side, clip.device)
    squares = torch.from_numpy(np.stack(images)).to(clip.device)
    return squares.permute(0, 3, 1, 2).float() / 255

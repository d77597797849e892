"""What a run reports while it works: frozen, picklable, and free of device tensors.

Pictures are ``np.ndarray`` uint8 RGB, (H, W, 3) or (N, H, W, 3), range [0, 255], so that an event
may cross a process or a network boundary and no event keeps device memory alive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np


def _check_pictures(images: np.ndarray, ndim: int) -> None:
    """Refuse arrays that are not uint8 RGB, where the mistake is made and not in the page."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise TypeError("pictures in events are numpy arrays of uint8")
    if images.ndim != ndim or images.shape[-1] != 3:
        raise ValueError(f"pictures in events have {ndim} axes and 3 channels, not {images.shape}")


@dataclass(frozen=True)
class Mark:
    """A change in the middle of a run.

    Attributes:
        step: steps taken before it.
        changes: what is new, JSON-ready; "prompt" comes with "prompt_before".
    """

    step: int
    changes: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Earlier:
    """What a run that is resumed has behind it.

    Attributes:
        losses: points (step, value) of the loss curves, by name.
        marks: its changes so far.
        frames: earlier frames of its video, JPEG files.
    """

    losses: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    frames: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Progress:
    """One step taken, or a message while there is nothing to count.

    Attributes:
        step: steps done, 0..total.
        total: steps of the run; 0 while it is not known (waiting, loading a model).
        elapsed_s: seconds since the run began.
        message: what is going on, in words; empty for a plain step.
        losses: new points of the loss curves at ``step``, by name.
        earlier: once, before the first step of a run that is resumed.
        ahead: how many others come first while the run waits for the device; None once it has it.
    """

    step: int = 0
    total: int = 0
    elapsed_s: float = 0.0
    message: str = ""
    losses: Mapping[str, float] = field(default_factory=dict)
    earlier: Earlier | None = None
    ahead: int | None = None


@dataclass(frozen=True, eq=False)
class Preview:
    """Pictures in the making.

    Attributes:
        step: the step after which they were drawn.
        images: (N, H, W, 3) uint8 RGB.
        seeds: the N seeds, in the order of ``images``.
    """

    step: int
    images: np.ndarray
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_pictures(self.images, ndim=4)
        if len(self.seeds) != len(self.images):
            raise ValueError(f"{len(self.images)} pictures came with {len(self.seeds)} seeds")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A finished picture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        seed: seed that draws this picture alone (with ``num_images=1``), 0..2**32-1.
        index: position among the pictures of the run before ranking.
        scores: by name; "clip" is the ranker's cosine similarity, "probability" its share.
        metadata: JSON-ready facts of this picture that the request does not hold.
        png: its file with all facts, once it was recorded; see ``metadata.png_of``.
    """

    image: np.ndarray
    seed: int
    index: int
    scores: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    png: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_pictures(self.image, ndim=3)


@dataclass(frozen=True, eq=False)
class Result:
    """The last event of a run.

    Attributes:
        candidates: finished pictures in rank order, best first.
        elapsed_s: seconds that the run took, without the time in the queue.
        metadata: JSON-ready facts of the run; ``{"stopped": True}`` where it was stopped early.
        rejected: pictures that were drawn as well and are not among the best, best first.
    """

    candidates: tuple[Candidate, ...]
    elapsed_s: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
    rejected: tuple[Candidate, ...] = ()


Event: TypeAlias = Progress | Preview | Result

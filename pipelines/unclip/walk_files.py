"""The files of a walk: each frame, all of them side by side, and a video from start to end."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.errors import EaselError, reason
from pipelines.core.metadata import save_png, versions
from pipelines.core.new_files import free_folder, write_new
from pipelines.core.video import mp4
from pipelines.unclip.walk import Walk

STRIP, VIDEO = "strip.png", "walk.mp4"
WALK_FILES = (STRIP, VIDEO, "frame-*.png")  # what one folder has of one walk


def strip(frames: np.ndarray) -> np.ndarray:
    """Frames (N, H, W, 3) side by side, (H, N · W, 3)."""
    return np.concatenate(list(frames), axis=1)


def write_walk(folder: Path, plan: Walk, frames: np.ndarray) -> list[Path]:
    """Write all files of a walk; the pictures hold what it takes to walk again.

    Args:
        folder: where they go; made where it does not exist, and another one beside it where it
            holds a walk already.
        plan: what was drawn.
        frames: (N, H, W, 3) uint8 RGB.

    Returns:
        The strip, the video, then the frames in their order.

    Raises:
        EaselError: a file cannot be written.
    """
    facts = {"pipeline": "unclip", "seed": plan.seed, "options": plan.options.model_dump(),
             "prompt": plan.start if isinstance(plan.start, str) else "", "versions": versions(),
             "walk": {"start": _named(plan.start), "end": _named(plan.end),
                      "frames": plan.frames}}
    folder = free_folder(folder, WALK_FILES)
    pictures = {STRIP: strip(frames)}
    pictures |= {f"frame-{number:02d}.png": frame for number, frame in enumerate(frames)}
    for name, picture in pictures.items():
        height_px, width_px = picture.shape[:2]
        save_png(folder / name, picture, {**facts, "scores": {}, "width_px": width_px,
                                          "height_px": height_px})
    video = folder / VIDEO
    try:
        video = write_new(video, mp4(frames))
    except OSError as error:
        raise EaselError("The video {} could not be written: {}.", video.name,
                         reason(error)) from error
    first, *rest = (folder / name for name in pictures)
    return [first, video, *rest]


def _named(end: str | bytes) -> dict[str, Any]:
    """What an end of the walk was, JSON-ready: a prompt, or a picture by its SHA-256."""
    if isinstance(end, bytes):
        return {"picture_sha256": hashlib.sha256(end).hexdigest()}
    return {"prompt": end}

"""What was uploaded, read from where the server keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.errors import InvalidImage
from pipelines.core.images import check_name, load_image, resize
from pipelines.core.request import MAX_IMAGE_PROMPTS

IMAGE_SUFFIXES = [".png", ".jpg", ".jpeg", ".webp"]
# More than a CLIP looks at; 64 uploads as they come could fill the memory.
MAX_SIDE_PX = 512


def read_upload(path: str | Path | None) -> bytes:
    """The bytes of an uploaded file.

    Raises:
        InvalidImage: it is no longer there, as on a page that was left open for days, or its name
            says something else than it is.
    """
    try:
        data = Path(path or "").read_bytes()
    except OSError:
        raise InvalidImage("The uploaded picture is no longer there: choose it again.",
                           field="init_image") from None
    check_name(str(path), data)
    return data


def read_pictures(init_image: Any, image_prompts: Any, mask: Any) -> dict[str, Any]:
    """The pictures of a request out of uploads: a path, several or None, a path.

    Of image prompts one more is read than there may be, which is refused.

    Raises:
        InvalidImage: one is no longer there.
    """
    prompts = list(image_prompts or ())[:MAX_IMAGE_PROMPTS + 1]
    return {"init_image": read_upload(init_image) if init_image else None,
            "image_prompts": [read_upload(path) for path in prompts],
            "mask": read_upload(mask) if mask else None}


def read_small(path: Path, side_px: int = MAX_SIDE_PX) -> np.ndarray:
    """A picture's file as (H, W, 3) uint8 RGB, its longer side at most ``side_px``."""
    image = load_image(read_upload(path))
    height_px, width_px = image.shape[:2]
    scale = min(1.0, side_px / max(height_px, width_px))
    return resize(image, max(1, round(width_px * scale)), max(1, round(height_px * scale)))

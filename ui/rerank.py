"""Pictures from files, put in order by the embedded ranker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import InvalidRequest
from pipelines.images import load_image, resize
from pipelines.request import MAX_PROMPT_CHARS
from ui.controls import read_upload
from ui.playground import Playground

MAX_PROMPTS = 16
# More than a CLIP looks at; 64 uploads as they come could fill the memory.
MAX_SIDE_PX = 512


def rerank_files(playground: Playground, paths: Sequence[Path],
                 prompts: Sequence[str]) -> dict[str, Any]:
    """Rank uploaded pictures against prompts.

    Args:
        playground: whose backend ranks.
        paths: PNG, JPEG or WebP files.
        prompts: what they are compared with.

    Returns:
        For each prompt the order of the pictures (indices into ``paths``, best first), their
        cosine similarities and probabilities, JSON-ready.

    Raises:
        InvalidRequest: no pictures, no prompts, or too many or empty ones.
        InvalidImage: a file is not a picture that Easel reads.
        Busy: too many jobs wait for the device.
        WeightsError: the ranker is not there.
    """
    if not paths:
        raise InvalidRequest("There are no pictures to put in order.", "images")
    texts = [prompt.strip() for prompt in prompts]
    if not texts or not all(texts) or len(texts) > MAX_PROMPTS:
        raise InvalidRequest(f"Give 1 to {MAX_PROMPTS} prompts, none of them empty.", "prompt")
    if any(len(text) > MAX_PROMPT_CHARS for text in texts):
        raise InvalidRequest(f"A prompt has more than {MAX_PROMPT_CHARS} characters.", "prompt")
    images = [_read_small(path) for path in paths]
    return {"ranking": playground.backend.rank(images, texts)}


def _read_small(path: Path) -> np.ndarray:
    image = load_image(read_upload(path))
    height_px, width_px = image.shape[:2]
    scale = min(1.0, MAX_SIDE_PX / max(height_px, width_px))
    return resize(image, max(1, round(width_px * scale)), max(1, round(height_px * scale)))

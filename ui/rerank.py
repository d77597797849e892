"""Pictures from files, put in order by the embedded ranker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import EaselError, InvalidRequest
from pipelines.images import load_image
from pipelines.request import MAX_PROMPT_CHARS
from ui.playground import Playground

RANKER = "embedded/clip-ranker"
MAX_PROMPTS = 16


def rerank_files(playground: Playground, paths: Sequence[Path],
                 prompts: Sequence[str]) -> dict[str, Any]:
    """Rank uploaded pictures against prompts.

    Args:
        playground: whose cache lends the ranker.
        paths: PNG, JPEG or WebP files.
        prompts: what they are compared with.

    Returns:
        For each prompt the order of the pictures (indices into ``paths``, best first), their
        cosine similarities and probabilities, JSON-ready.

    Raises:
        InvalidRequest: no pictures, no prompts, or too many or empty ones.
        InvalidImage: a file is not a picture that Easel reads.
        WeightsError: the ranker is not there.
    """
    if not paths:
        raise InvalidRequest("There are no pictures to put in order.", "images")
    texts = [prompt.strip() for prompt in prompts]
    if not texts or not all(texts) or len(texts) > MAX_PROMPTS:
        raise InvalidRequest(f"Give 1 to {MAX_PROMPTS} prompts, none of them empty.", "prompt")
    if any(len(text) > MAX_PROMPT_CHARS for text in texts):
        raise InvalidRequest(f"A prompt has more than {MAX_PROMPT_CHARS} characters.", "prompt")
    if playground.cache is None:
        raise EaselError("There is no ranker here.")
    images = [load_image(path.read_bytes()) for path in paths]
    from pipelines.rerank import rank

    with playground.cache.lease(RANKER) as clip:
        ranking = rank(images, texts, clip)
    return {"ranking": ranking}

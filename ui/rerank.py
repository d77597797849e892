"""Pictures from files, put in order by the embedded ranker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from history.records import Filters
from history.store import History
from pipelines.checkpoints.catalogue import Catalogue
from pipelines.errors import InvalidRequest
from pipelines.images import load_image, resize
from pipelines.request import MAX_PROMPT_CHARS
from pipelines.rerank import RANKER
from ui.controls import read_upload
from ui.playground import Playground

MAX_PROMPTS = 16
MAX_FILES = 64
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
    images = [read_small(path) for path in paths]
    return {"ranking": playground.backend.rank(images, texts)}


def read_small(path: Path, side_px: int = MAX_SIDE_PX) -> np.ndarray:
    """A picture's file as (H, W, 3) uint8 RGB, its longer side at most ``side_px``."""
    image = load_image(read_upload(path))
    height_px, width_px = image.shape[:2]
    scale = min(1.0, side_px / max(height_px, width_px))
    return resize(image, max(1, round(width_px * scale)), max(1, round(height_px * scale)))


@dataclass(frozen=True)
class SourceFile:
    """A picture to rank, and what people call it."""

    path: Path
    name: str


def uploaded_files(paths: Sequence[str]) -> list[SourceFile]:
    """Uploads by their own names.

    Raises:
        InvalidRequest: there are none, or too many.
    """
    if not paths:
        raise InvalidRequest("There are no pictures to put in order.", "images")
    if len(paths) > MAX_FILES:
        raise InvalidRequest(f"{len(paths)} pictures are too many: {MAX_FILES} is the most.",
                             "images")
    return [SourceFile(Path(path), Path(path).name) for path in paths]


def history_files(history: History, visitor: str, count: Any, contains: str) -> list[SourceFile]:
    """The newest pictures of a visitor's history, called by generator and seed.

    Raises:
        InvalidRequest: the number is out of bounds, or there are none.
    """
    if not isinstance(count, int | float) or not 1 <= count <= MAX_FILES:
        raise InvalidRequest(f"How many must be a whole number between 1 and {MAX_FILES}.",
                             "images")
    page = history.page(history.owner_of(visitor), Filters(text=contains), size=int(count))
    if not page.pictures:
        raise InvalidRequest("Your history has no such pictures.", "images")
    return [SourceFile(picture.path, f"{picture.pipeline} {picture.seed}")
            for picture in page.pictures]


def installed_clips(catalogue: Catalogue | None = None) -> dict[str, str]:
    """Titles of the CLIPs whose files are here, by id, the ranker first."""
    catalogue = catalogue or Catalogue.load()
    found = {entry.id: entry.title for entry in catalogue if entry.family == "clip"
             and all((catalogue.folder(entry) / file.name).is_file() for file in entry.files)}
    return {RANKER: found.get(RANKER, "ranker CLIP"), **found}

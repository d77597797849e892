"""Histories for tests: real databases, and small pictures with metadata."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from easel.history.database import Database
from easel.history.files import FileStore
from easel.history.members import Members
from easel.history.records import KeptPicture, NewPicture
from easel.history.store import History
from pipelines.core.metadata import encode_png

SHA256 = "ab" * 32


def make_history(folder: Path, url: str = "", password: str = "", **quotas: int) -> History:
    """An open history in a folder, on SQLite unless another database is named."""
    folder.mkdir(parents=True, exist_ok=True)
    database = Database(url or f"sqlite:///{folder / 'history.sqlite'}", busy_timeout_s=0.2)
    return History(database, FileStore(folder), **quotas,
                   members=Members(database, password) if password else None)


@contextmanager
def opened(folder: Path, **more: Any) -> Iterator[History]:
    """The same, closed at the end."""
    history = make_history(folder, **more)
    try:
        yield history
    finally:
        history.close()


def new_picture(prompt: str = "a red apple", seed: int = 1, pipeline: str = "dalle",
                model: str = "embedded/dalle", parents: tuple[str, ...] = (),
                **facts: Any) -> NewPicture:
    """A picture of one colour that depends on the seed."""
    image = np.full((16, 24, 3), (seed * 37) % 256, np.uint8)
    known = {"prompt": prompt, "pipeline": pipeline, "seed": seed, "run_seed": seed,
             "num_images": 1, "options": {"guidance_scale": 3.0}, "scores": {"clip": seed / 100},
             "weights": {model: SHA256}, "width_px": 24, "height_px": 16, "elapsed_s": 1.5,
             "job_id": f"job{seed}", "versions": {"easel": "0.1.0"}, **facts}
    return NewPicture(encode_png(image, known), known, parents)


def file_of(history: History, picture: KeptPicture) -> Path:
    """The file of a kept picture on this machine, there or not."""
    return history.files.path(picture.sha256)


def drawn(history: History, prompt: str, seed: int, owner: str = "me", **facts: Any) -> KeptPicture:
    """A picture that an owner's history keeps now."""
    return history.add(owner, [new_picture(prompt, seed, **facts)])[0]

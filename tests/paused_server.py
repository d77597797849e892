"""A backend whose runs are paused, and what a restart leaves of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from easel.history.database import Database
from easel.history.shelves import FolderShelf, Shelf
from easel.serving.backend import LocalBackend
from easel.serving.paused_rows import LEASE_S, PausedRows
from easel.serving.paused_runs import PausedRuns
from pipelines.core.errors import Paused
from pipelines.core.events import Event, Progress, Result
from pipelines.models.cache.cache import ModelCache
from pipelines.registry import Registry
from pipelines.saved_run import checked_changes
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.asking import stream
from tests.small_models import small_cache
from tests.watched_sketch import WatchedSketch

FEW = {"num_cutouts": 1, "iterations": 5, "precision": "float32", "preview_every": 2}
FIELDS = {"pipeline": "vqgan_clip", "prompt": "a red apple", "seed": 5, "num_images": 1,
          "options": FEW}
LIVELY = FEW | {"num_cutouts": 2, "augmentations": "strong"}  # random numbers in each step
ME = "me"


def registry() -> Registry:
    found = Registry()
    found.register(VQGANCLIPPipeline())
    found.register(WatchedSketch())
    return found


def open_runs(folder: Path, url: str = "", shelf: Shelf | None = None, lease_s: float = LEASE_S,
              **limits: Any) -> PausedRuns:
    """Paused runs whose states are in a folder, and their rows in a database beside it, unless
    others are named."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    database = Database(url or f"sqlite:///{folder.parent / 'paused.sqlite'}")
    return PausedRuns(PausedRows(database, shelf or FolderShelf(folder), lease_s), **limits)


class Server:
    """A backend with paused runs; ``again`` is what a restart leaves of it.

    Args:
        folder: where the states are.
        cache: of the models.
        limits: of the paused runs, or where else they are; see ``open_runs``.
    """

    def __init__(self, folder: Path, cache: ModelCache, **limits: Any) -> None:
        self.folder, self.cache, self.limits = folder, cache, limits
        self.runs = open_runs(folder, **limits)
        self.backend = LocalBackend(registry(), cache, paused=self.runs)

    def again(self) -> Server:
        self.backend.close()
        return Server(self.folder, self.cache, **self.limits)

    def drawn(self, **fields: Any) -> list[Event]:
        return list(stream(self.backend, {**FIELDS, **fields}, owner=ME))

    def paused_at(self, step: int, owner: str = ME, **fields: Any) -> str:
        """Run until it is paused by itself; the run's name."""
        with pytest.raises(Paused) as caught:
            list(stream(self.backend, {**FIELDS, **fields}, owner=owner, pause_after=step))
        assert caught.value.step == step
        return caught.value.run_id

    def resume(self, run_id: str, branch: bool = False, owner: str = ME, **change: Any,
              ) -> list[Event]:
        return list(self.backend.resume(owner, run_id, checked_changes(**change), branch))

    def file(self) -> Path:
        """The only state that there is."""
        (path,) = self.folder.glob("*/*.safetensors")
        return path

    def run_id(self) -> str:
        """The name of the only run that there is, be it that its next state lies there already."""
        (name,) = {path.stem.partition("-")[0] for path in self.folder.glob("*/*.safetensors")}
        return name


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


@pytest.fixture
def server(tmp_path: Path, cache: ModelCache) -> Iterator[Server]:
    made = Server(tmp_path / "paused", cache)
    yield made
    made.backend.close()


def result_of(events: list[Event]) -> Result:
    assert isinstance(events[-1], Result)
    return events[-1]


def images_of(events: list[Event]) -> list[np.ndarray]:
    return [candidate.image for candidate in result_of(events).candidates]


def same(one: list[Event], other: list[Event]) -> bool:
    """Whether two runs ended with the same pictures, bit for bit, in the same order."""
    return all(a.seed == b.seed and a.metadata == b.metadata and np.array_equal(a.image, b.image)
               for a, b in zip(result_of(one).candidates, result_of(other).candidates, strict=True))


def pausing(server: Server, events: Iterable[Event]) -> None:
    """Follow the run named "job", and pause it after a step."""
    for event in events:
        if isinstance(event, Progress) and event.losses:
            server.backend.pause("job")


def curve_of(events: list[Event]) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    for event in events:
        if isinstance(event, Progress):
            found += event.earlier.losses.get("loss", ()) if event.earlier else ()
            if "loss" in event.losses:
                found.append((event.step, event.losses["loss"]))
    return found

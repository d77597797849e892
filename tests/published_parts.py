"""What tests of public models in several parts share: a hub with a tiny one, a cache, a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.core.events import Event, Result
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.downloads import Downloads
from pipelines.models.checkpoints.loading import CatalogueLoader
from pipelines.pipeline import Pipeline, RunContext
from pipelines.registry import Registry
from tests.hub_server import Hub, Repository, serve_hub
from tests.small_models import SmallLoader


def downloaded(parts: Sequence[str], folders: Mapping[str, Path], models_dir: Path) -> Catalogue:
    """Easel's own entries, downloaded from a hub that has tiny models.

    Args:
        parts: ids of the entries.
        folders: what each repository holds, by its name.
        models_dir: where they go.
    """
    shipped = Catalogue.load()
    own = Catalogue(tuple(shipped.get(part).model_copy(update={"network": None})
                          for part in parts), models_dir=models_dir)
    hub = Hub({name: Repository("a" * 40, {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*") if path.is_file()}) for name, folder in folders.items()})
    with pytest.MonkeyPatch.context() as patch, serve_hub(hub) as served:
        patch.setenv("HF_ENDPOINT", served.url)
        patch.delenv("HF_TOKEN", raising=False)
        downloads = Downloads(own, timeout_s=20.0)
        for part in parts:
            download = downloads.start(part)
            assert download.wait(60)
            assert download.phase == "done", download.error
        downloads.close()
    return own


class PartsLoader(SmallLoader):
    """The catalogue's models from it, everything else small and random; ``loaded`` are all ids."""

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        self.own, self.ids = CatalogueLoader(catalogue), {entry.id for entry in catalogue}
        self.loaded = list[str]()

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
        """See ``SmallLoader.load``."""
        self.loaded.append(model_id)
        if model_id in self.ids:
            return self.own.load(model_id, device, dtype)
        return super().load(model_id, device, dtype)


def run_of(pipeline: Pipeline, cache: ModelCache, polls: int, fields: Mapping[str, Any],
           ) -> Iterator[Event]:
    """A run in float32 of "a red apple" by seed 5, unless the fields say otherwise.

    Args:
        pipeline: who draws.
        cache: of models.
        polls: how often it is told to go on before it is stopped.
        fields: of the request.
    """
    registry = Registry()
    registry.register(pipeline)
    request = registry.check({
        "pipeline": pipeline.name, "prompt": "a red apple", "seed": 5, **fields,
        "options": {"precision": "float32", **fields.get("options", {})}})
    answers = iter([False] * polls)
    context = RunContext(cache, torch.device("cpu"), cancelled=lambda: next(answers, True))
    return registry.get(pipeline.name).run(request, context)


def result_of(events: list[Event]) -> Result:
    """What a run ended with."""
    assert isinstance(events[-1], Result)
    return events[-1]


def changed_copy(folders: Iterable[Path], target: Path, file: str, data: bytes | None) -> Path:
    """Folders copied into one, with one file of it as it is said, or without it where None."""
    for folder in folders:
        for source in folder.rglob("*"):
            if source.is_file():
                path = target / source.relative_to(folder)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(source.read_bytes())
    if data is None:
        (target / file).unlink()
    else:
        (target / file).write_bytes(data)
    return target

"""The engine of a process as the settings say: the generators, and the models that they share."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import torch

from pipelines.core.events import Event, Result
from pipelines.core.metadata import provenance
from pipelines.core.request import CheckedRequest
from pipelines.core.settings import EngineSettings, read_settings
from pipelines.models.cache.cache import ModelCache
from pipelines.models.cache.loader_thread import HOST
from pipelines.models.cache.memory import device_budget, resolve
from pipelines.models.checkpoints.catalogue import Catalogue, open_catalogue
from pipelines.models.checkpoints.loading import CatalogueLoader
from pipelines.pipeline import RunContext
from pipelines.registry import Registry, build_registry


@dataclass(frozen=True)
class Engine:
    """Generators and models, for a program that draws by itself, without queue and history.

    Attributes:
        registry: the generators; checks requests.
        cache: the models.
    """

    registry: Registry
    cache: ModelCache

    def run(self, request: CheckedRequest[Any],
            progress: Callable[[Event], object] = lambda event: None) -> Result:
        """Run a request in this thread, to its end.

        Args:
            request: of ``registry.check``.
            progress: called with each event before the result.

        Raises:
            EaselError: what went wrong, as one sentence.
        """
        context = RunContext(self.cache, self.cache.device, self.cache.dtype)
        run = cast("Generator[Event]", self.registry.get(request.pipeline).run(request, context))
        with closing(run) as events:
            for event in events:
                if isinstance(event, Result):
                    facts = provenance(request, self.cache.fingerprints(context.used_models))
                    return replace(event, metadata={**facts, **event.metadata})
                progress(event)
        raise RuntimeError(f"{request.pipeline} ended without a Result")


def build_cache(settings: EngineSettings, catalogue: Catalogue | None = None) -> ModelCache:
    """The model cache of a process, empty."""
    loader = CatalogueLoader(catalogue or open_catalogue(settings.data_dir, settings.catalogue))
    device = settings.torch_device()
    reserve = int(settings.activation_reserve)
    # What leaves a CPU for host memory would leave it for itself.
    use_host = device.type != "cpu" or "host_budget" in settings.model_fields_set
    return ModelCache(
        loader, device, settings.torch_dtype(),
        device_budget(settings.model_budget, reserve, device), reserve_bytes=reserve,
        host_budget_bytes=resolve(settings.host_budget, HOST) if use_host else 0,
        offloadable=loader.offloadable)


@cache
def process_engine() -> Engine:
    """The engine of this process, as the ``EASEL_*`` settings were when it was first asked for.

    Raises:
        EaselError: a setting is not valid, or the catalogue is broken.
    """
    settings = read_settings(EngineSettings)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    catalogue = open_catalogue(settings.data_dir, settings.catalogue)
    return Engine(build_registry(catalogue), build_cache(settings, catalogue))

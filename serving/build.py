"""Put the parts together as the settings say."""

from __future__ import annotations

import torch

from pipelines.catalogue import Catalogue
from pipelines.model_cache import ModelCache
from pipelines.registry import Registry, build_registry
from pipelines.settings import Settings
from pipelines.weights import CatalogueLoader
from serving.backend import LocalBackend


def build_cache(settings: Settings, catalogue: Catalogue | None = None) -> ModelCache:
    """The model cache of a process, empty."""
    loader = CatalogueLoader(catalogue or Catalogue.load())
    return ModelCache(loader, settings.torch_device(), settings.torch_dtype(),
                      settings.model_budget)


def build_backend(settings: Settings, registry: Registry | None = None) -> LocalBackend:
    """The backend of a process that runs its jobs on its own device.

    Raises:
        EaselError: the device that the settings ask for is not there, or the catalogue is broken.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return LocalBackend(registry or build_registry(), build_cache(settings), settings.queue_size)

"""Put the parts together as the settings say."""

from __future__ import annotations

import torch

from easel.history.recorder import Recorder
from easel.history.store import History
from easel.serving.backend import LocalBackend
from easel.serving.interface import Backend
from easel.serving.paused_rows import PausedRows
from easel.serving.paused_runs import PausedRuns
from easel.settings import Settings
from pipelines.engine import build_cache
from pipelines.models.checkpoints.catalogue import open_catalogue
from pipelines.registry import Registry, build_registry


def open_paused_runs(settings: Settings, history: History) -> PausedRuns:
    """The paused runs of all visitors, where a history is; those of older versions are taken in."""
    found = PausedRuns(PausedRows(history.database, history.files.shelf),
                       int(settings.paused_quota), settings.paused_runs,
                       settings.data_dir.resolve() / "paused")
    found.take_in()
    return found


def build_backend(settings: Settings, registry: Registry | None = None,
                  history: History | None = None) -> Backend:
    """The backend of a process: its own device, or the cluster that the settings name.

    Args:
        settings: the operator's.
        registry: the pipelines; all that Easel ships where None.
        history: where finished pictures are kept, and paused runs; None to keep none. Runners of
            a cluster keep them themselves.

    Raises:
        EaselError: the device or the cluster that the settings ask for is not there, or the
            catalogue is broken.
    """
    if settings.backend != "ray":
        return local_backend(settings, registry, history)
    from easel.serving.ray.connect import connected_backend  # Ray, which most have not installed

    catalogue = open_catalogue(settings.data_dir, settings.catalogue)
    return connected_backend(settings, registry or build_registry(catalogue),
                             None if history is None else open_paused_runs(settings, history),
                             catalogue)


def local_backend(settings: Settings, registry: Registry | None = None,
                  history: History | None = None, limits: bool = True) -> LocalBackend:
    """The backend of a process that runs its jobs on its own device.

    Args:
        settings: the operator's.
        registry: the pipelines; all that Easel ships where None.
        history: where finished pictures are kept, and paused runs; None to keep none.
        limits: whether it counts what each visitor asks for; a cluster's desk does that before.

    Raises:
        EaselError: the device that the settings ask for is not there, or the catalogue is broken.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    catalogue = open_catalogue(settings.data_dir, settings.catalogue)
    return LocalBackend(registry or build_registry(catalogue), build_cache(settings, catalogue),
                        settings.queue_size, settings.user_jobs if limits else None,
                        record=None if history is None else Recorder(history),
                        paused=None if history is None else open_paused_runs(settings, history),
                        max_job_s=settings.job_seconds or None,
                        minute_s=settings.minute_s() if limits else None)

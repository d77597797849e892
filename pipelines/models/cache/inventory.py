"""Every model with all that is known of it, and what a person may do with it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from pipelines.core.errors import Busy, Cancelled, EaselError
from pipelines.core.sentences import Sentence
from pipelines.models.cache.cache import ModelCache
from pipelines.models.cache.stats import CacheStats, ModelStats
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.downloads import Downloads
from pipelines.models.checkpoints.entries import CatalogueEntry, licence_words
from pipelines.models.checkpoints.ids import EMBEDDED
from pipelines.models.checkpoints.loading import CatalogueLoader, bytes_on_disk, is_complete

logger = logging.getLogger(__name__)
State = Literal["not downloaded", "downloading", "checking", "missing", "on disk", "loading",
                "in host memory", "on the device", "in use"]
Act = Literal["download", "cancel", "load", "unload", "pin", "unpin"]
ORDER = ("disk", "host", "loading", "device")


@dataclass(frozen=True)
class ModelRow:
    """A model as the page shows it; JSON-ready by ``dataclasses.asdict``.

    Attributes:
        kind: "embedded", "public" or "own".
        restrictions: what the authors ask not to do with the weights, as sentences.
        disk_bytes: of its files on this machine.
        download_bytes: about how much a download is, None where nobody knows or none is possible.
        vram_bytes: device memory with activations, as an estimate; None where nobody knows.
        memory_bytes: measured in memory, 0 while it is on disk.
        offloaded: whether it computes on the device with its weights in host memory.
        progress: share of a running download in [0, 1], None without one.
        last_load_s: seconds of the last load from disk, None before the first.
        error: why the last download or load failed; empty where it did not.
        places: the state at each runner of a cluster, by the runner's name; empty on one machine.
    """

    id: str
    title: str
    kind: Literal["embedded", "public", "own"]
    family: str
    licence: str
    restrictions: str
    source: str
    repository: str | None
    revision: str | None
    state: State
    pinned: bool
    leases: int
    disk_bytes: int
    download_bytes: int | None
    vram_bytes: int | None
    memory_bytes: int
    offloaded: bool
    progress: float | None
    last_load_s: float | None
    hits: int
    misses: int
    evictions: int
    error: str
    places: tuple[tuple[str, State], ...] = ()


class Models(Protocol):
    """What pages ask of models, wherever these are; see ``ModelInventory``.

    Attributes:
        catalogue: which models there are.
    """

    catalogue: Catalogue

    def rows(self) -> list[ModelRow]:
        """All models, in the order of the catalogue."""
        ...

    def memory(self) -> CacheStats:
        """Budgets and bytes used, of device and host."""
        ...

    def figures(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        ...

    def moving(self) -> bool:
        """Whether something is being downloaded or loaded."""
        ...

    def download(self, model_id: str) -> None:
        """Start a download."""
        ...

    def cancel(self, model_id: str) -> None:
        """End the download or the wait for a load of a model."""
        ...

    def load(self, model_id: str) -> None:
        """Bring a model to the device."""
        ...

    def unload(self, model_id: str) -> None:
        """Drop a model from memory."""
        ...

    def pin(self, model_id: str, pinned: bool) -> None:
        """Keep a model on the device once it is there, or let it go again."""
        ...


def act_on(models: Models, act: Act, model_id: str) -> None:
    """Do something with a model.

    Raises:
        EaselError: it cannot be done, in a sentence.
    """
    if act in ("pin", "unpin"):
        models.pin(model_id, act == "pin")
    elif act == "download":
        models.download(model_id)
    elif act == "cancel":
        models.cancel(model_id)
    elif act == "load":
        models.load(model_id)
    else:
        models.unload(model_id)


@dataclass
class _Load:
    """A load that a person asked for."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    ended: bool = False
    error: str = ""


class ModelInventory:
    """The models of a cache whose loader reads a catalogue.

    Args:
        cache: where models are in memory.
        catalogue: which models there are.
        downloads: how they come to this machine.
    """

    def __init__(self, cache: ModelCache, catalogue: Catalogue, downloads: Downloads) -> None:
        self.cache, self.catalogue, self.downloads = cache, catalogue, downloads
        self._shipped = {entry.id for entry in Catalogue.load()}
        self._lock = threading.Lock()
        self._loads: dict[str, _Load] = {}

    def rows(self) -> list[ModelRow]:
        """All models, in the order of the catalogue."""
        by_id: dict[str, list[ModelStats]] = {}
        for stats in self.cache.stats().models:
            by_id.setdefault(stats.model_id, []).append(stats)
        return [self._row(entry, by_id.get(entry.id, [])) for entry in self.catalogue]

    def memory(self) -> CacheStats:
        """Budgets and bytes used, of device and host."""
        return self.cache.stats()

    def figures(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        memory = asdict(self.cache.stats())
        memory.pop("models")
        memory["device"] = str(self.cache.device)
        return {"memory": memory, "models": [asdict(row) for row in self.rows()],
                "faults": list(self.catalogue.faults)}

    def moving(self) -> bool:
        """Whether something is being downloaded or loaded."""
        return any(row.state in ("downloading", "checking", "loading") for row in self.rows())

    def download(self, model_id: str) -> None:
        """Start a download; why the model could not be loaded before is said no more.

        Raises:
            WeightsError: there is nothing to download, or Easel is offline.
        """
        self.downloads.start(model_id)
        with self._lock:
            load = self._loads.get(model_id)
            if load is not None and load.ended:
                del self._loads[model_id]

    def cancel(self, model_id: str) -> None:
        """End the download or the wait for a load of a model."""
        self.downloads.cancel(model_id)
        with self._lock:
            load = self._loads.get(model_id)
        if load is not None:
            load.cancelled.set()

    def load(self, model_id: str) -> None:
        """Bring a model to the device, on a thread of its own.

        Raises:
            WeightsError: there is no such model.
        """
        self.catalogue.get(model_id)
        with self._lock:
            running = self._loads.get(model_id)
            if running is not None and not running.ended:
                return
            load = self._loads[model_id] = _Load()
        threading.Thread(target=self._load, args=(model_id, load), daemon=True,
                         name=f"load-{model_id}").start()

    def _load(self, model_id: str, load: _Load) -> None:
        try:
            with self.cache.lease(model_id, cancelled=load.cancelled.is_set):
                pass
        except Cancelled:
            pass
        except EaselError as error:
            load.error = str(error)
        except Exception:
            logger.exception("loading %s failed", model_id)
            load.error = Sentence("The model {} could not be loaded; the server's log says why.",
                                  model_id)
        finally:
            load.ended = True

    def unload(self, model_id: str) -> None:
        """Drop a model from memory.

        Raises:
            Busy: a running job uses it.
        """
        self.catalogue.get(model_id)
        if not self.cache.unload(model_id):
            raise Busy("The model {} is in use: wait for the job that runs.", model_id)

    def pin(self, model_id: str, pinned: bool) -> None:
        """Keep a model on the device once it is there, or let it go again."""
        self.catalogue.get(model_id)
        self.cache.pin(model_id, pinned)

    def close(self) -> None:
        """End downloads."""
        self.downloads.close()

    def _row(self, entry: CatalogueEntry, stats: Iterable[ModelStats]) -> ModelRow:
        stats = list(stats)
        state, progress, error = self._state(entry, stats)
        loads = [s.load_s for s in stats if s.load_s is not None]
        in_memory = [s for s in stats if s.state != "disk"]
        kind = ("embedded" if entry.id.startswith(EMBEDDED)
                else "public" if entry.id in self._shipped else "own")
        return ModelRow(
            id=entry.id, title=entry.title, kind=kind, family=entry.family,
            licence=licence_words(entry.licence), restrictions=entry.restrictions,
            source=entry.source,
            repository=entry.repository, revision=entry.revision, state=state,
            pinned=any(s.pinned for s in stats), leases=sum(s.leases for s in stats),
            disk_bytes=bytes_on_disk(self.catalogue, entry), download_bytes=entry.download_bytes,
            vram_bytes=entry.vram_bytes,
            memory_bytes=sum(s.size_bytes + s.host_bytes for s in in_memory),
            offloaded=any(s.host_bytes for s in in_memory),
            progress=progress, last_load_s=loads[-1] if loads else None,
            hits=sum(s.hits for s in stats), misses=sum(s.misses for s in stats),
            evictions=sum(s.evictions for s in stats), error=error)

    def _state(self, entry: CatalogueEntry, stats: list[ModelStats],
               ) -> tuple[State, float | None, str]:
        """State, share of a running download, and what failed last."""
        download = self.downloads.get(entry.id)
        if download is not None and download.phase == "running":
            share = download.done_bytes / download.total_bytes if download.total_bytes else 0.0
            return "checking" if download.checking else "downloading", min(1.0, share), ""
        with self._lock:
            load = self._loads.get(entry.id)
        error = (load.error if load is not None else "") or (download.error if download else "")
        place = max((s.state for s in stats), key=ORDER.index, default="disk")
        if place == "loading" or (load is not None and not load.ended and place != "device"):
            return "loading", None, ""
        if place == "device":
            return "in use" if any(s.leases for s in stats) else "on the device", None, ""
        if place == "host":
            return "in host memory", None, ""
        if is_complete(self.catalogue, entry):
            return "on disk", None, error
        return "not downloaded" if entry.repository is not None else "missing", None, error


def inventory_of(cache: object, offline: bool = False) -> ModelInventory | None:
    """The inventory of a model cache; None where its models come from no catalogue."""
    if isinstance(cache, ModelCache) and isinstance(cache.loader, CatalogueLoader):
        catalogue = cache.loader.catalogue
        return ModelInventory(cache, catalogue, Downloads(catalogue, offline))
    return None

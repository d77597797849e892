"""The models of all runners of a cluster as one inventory, and what a person does with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.core.errors import EaselError
from pipelines.models.cache.inventory import Act, ModelRow, State
from pipelines.models.cache.stats import CacheStats
from pipelines.models.checkpoints.catalogue import Catalogue

FRESH_S = 0.3  # what one look at a page asks for several times is asked of the runners once
# Files that are not whole at one runner are so for all; else it is where it is most at hand.
ORDER: tuple[State, ...] = ("on disk", "in host memory", "loading", "on the device", "in use",
                            "missing", "not downloaded", "checking", "downloading")


@dataclass(frozen=True)
class RunnerModels:
    """What a runner has of each model.

    Attributes:
        runner: its name.
        host: name of its machine.
        device: what it computes on.
        memory: of its cache, without the models.
        rows: of the catalogue's models.
        refused: why what was asked for could not be done.
    """

    runner: str
    host: str
    device: str
    memory: CacheStats
    rows: tuple[ModelRow, ...]
    refused: EaselError | None = None


Ask = Callable[[Act | None, str, frozenset[str] | None], Sequence[RunnerModels]]


class FleetInventory:
    """See ``pipelines.models.cache.inventory.Models``; what is done is done at every runner.

    Args:
        ask: has runners do something with a model, or nothing, and says what they have then; the
            third argument names those that do, None is all of them.
        catalogue: which models there are.
    """

    def __init__(self, ask: Ask, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._ask = ask
        self._lock = threading.Lock()
        self._known: Sequence[RunnerModels] = ()
        self._known_s = 0.0

    def rows(self) -> list[ModelRow]:
        """All models, in the order of the catalogue of this process; see ``merged``."""
        found = self._look()
        by_id: dict[str, list[tuple[str, ModelRow]]] = {}
        for each in found:
            for row in each.rows:
                by_id.setdefault(row.id, []).append((each.runner, row))
        return [merged(by_id[entry.id]) for entry in self.catalogue if entry.id in by_id]

    def memory(self) -> CacheStats:
        """Budgets and bytes used, of all devices and hosts together."""
        found = [each.memory for each in self._look()]
        return CacheStats(
            _sum([each.budget_bytes for each in found]), sum(each.used_bytes for each in found),
            _sum([each.host_budget_bytes for each in found]),
            sum(each.host_used_bytes for each in found), sum(each.hits for each in found),
            sum(each.misses for each in found), sum(each.evictions for each in found))

    def figures(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        memory = asdict(self.memory())
        memory.pop("models")
        memory["device"] = ", ".join(sorted({each.device for each in self._look()}))
        return {"memory": memory, "models": [asdict(row) for row in self.rows()],
                "faults": list(self.catalogue.faults)}

    def moving(self) -> bool:
        """Whether something is being downloaded or loaded."""
        return any(row.state in ("downloading", "checking", "loading")
                   for each in self._look() for row in each.rows)

    def download(self, model_id: str) -> None:
        """Start a download on each machine that has not the files; runners of one share them.

        Raises:
            WeightsError: there is nothing to download, or Easel is offline.
        """
        lacking: dict[str, str] = {}
        for each in self._look():
            if any(row.id == model_id and row.state in ("not downloaded", "missing")
                   for row in each.rows):
                lacking.setdefault(each.host, each.runner)
        self._act("download", model_id, frozenset(lacking.values()) if lacking else None)

    def cancel(self, model_id: str) -> None:
        """End the downloads or the waits for a load of a model."""
        self._act("cancel", model_id)

    def load(self, model_id: str) -> None:
        """Bring a model to every device.

        Raises:
            WeightsError: there is no such model.
        """
        self._act("load", model_id)

    def unload(self, model_id: str) -> None:
        """Drop a model from every memory.

        Raises:
            Busy: a running job uses it at a runner, which keeps it.
        """
        self._act("unload", model_id)

    def pin(self, model_id: str, pinned: bool) -> None:
        """Keep a model on every device once it is there, or let it go again."""
        self._act("pin" if pinned else "unpin", model_id)

    def _act(self, act: Act, model_id: str, only: frozenset[str] | None = None) -> None:
        self.catalogue.get(model_id)
        found = self._ask(act, model_id, only)
        self._keep(found)
        for each in found:
            if each.refused is not None:
                raise each.refused

    def _look(self) -> Sequence[RunnerModels]:
        """What the runners have; what was known last where they do not answer."""
        with self._lock:
            if time.monotonic() - self._known_s < FRESH_S:
                return self._known
        try:
            self._keep(self._ask(None, "", None))
        except EaselError:
            if not self._known:
                raise
        return self._known

    def _keep(self, found: Sequence[RunnerModels]) -> None:
        with self._lock:
            self._known = sorted(found, key=lambda each: (each.host, each.runner))
            self._known_s = time.monotonic()


def merged(rows: Sequence[tuple[str, ModelRow]]) -> ModelRow:
    """A model at several runners as one row, with its places.

    Args:
        rows: at least one, each with the name of its runner.
    """
    each = [row for _, row in rows]
    furthest = max(each, key=lambda row: ORDER.index(row.state))
    shares = [row.progress for row in each if row.progress is not None]
    return replace(
        furthest, pinned=all(row.pinned for row in each), leases=sum(row.leases for row in each),
        disk_bytes=max(row.disk_bytes for row in each),
        memory_bytes=sum(row.memory_bytes for row in each),
        offloaded=any(row.offloaded for row in each), progress=min(shares, default=None),
        last_load_s=max((row.last_load_s for row in each if row.last_load_s is not None),
                        default=None),
        hits=sum(row.hits for row in each), misses=sum(row.misses for row in each),
        evictions=sum(row.evictions for row in each),
        error=next((row.error for row in each if row.error), ""),
        places=tuple((name, row.state) for name, row in rows))


def _sum(budgets: Sequence[int | None]) -> int | None:
    """Budgets together; None where one of them has no limit."""
    return None if None in budgets else sum(each for each in budgets if each is not None)

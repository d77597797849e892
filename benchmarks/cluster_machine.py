"""A runner of ``benchmarks.cluster_simulation``: the models that it holds, and what it draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import torch

from benchmarks.cluster_mixes import COPY_BYTES_PER_S, Kind, Mix
from pipelines.models.cache.placement import Entry, ModelKey, Placement


@dataclass(eq=False)
class Machine:
    """A runner: what it draws, and the models that the cache's own rules let it hold."""

    name: str
    placement: Placement
    token: str = ""
    reports: count[int] = field(default_factory=count)

    def held(self) -> frozenset[str]:
        """Ids of the models that it reports: on its device, and in main memory."""
        return frozenset(key.model_id for key, entry in self.placement.entries.items()
                         if entry.place != "disk")

    def lease(self, mix: Mix, kind: Kind) -> float:
        """Hold the models of a run; the seconds until they are there."""
        load_s = 0.0
        for name in kind.models:
            entry, model = self._entry(name), mix.models[name]
            if entry.place == "device":
                entry.leases += 1
                continue
            load_s += (model.size_bytes / COPY_BYTES_PER_S if entry.place == "host"
                       else model.load_s)
            if self.placement.admit(entry, model.size_bytes) is None:
                raise ValueError(f"the models of {kind.name} do not fit")
        return load_s

    def give_back(self, kind: Kind) -> None:
        """Let the models of a run go when others need the room."""
        for name in kind.models:
            entry = self._entry(name)
            entry.leases -= 1
            self.placement.touch(entry)

    def _entry(self, name: str) -> Entry:
        return self.placement.entry(ModelKey(name, "cpu", torch.float32))

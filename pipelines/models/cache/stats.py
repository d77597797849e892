"""The figures of the model cache, for people and for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from pipelines.models.cache.placement import Entry, Placement

State = Literal["disk", "host", "loading", "device"]


@dataclass(frozen=True)
class ModelStats:
    """Figures of one model in one dtype.

    Attributes:
        model_id: id in the catalogue.
        device: of the cache.
        dtype: of its parameters.
        state: where it is.
        pinned: whether it stays on the device.
        leases: how many use or await it.
        size_bytes: measured at the last load, or expected before the first.
        host_bytes: of the weights of an offloaded model, which stay in host memory; 0 for others.
        load_s: seconds of the last load from disk, None before the first.
        move_s: seconds of the last move from the host to the device, None before the first.
        hits: leases that found it on the device.
        misses: leases that had to wait for it.
        evictions: how often it left the device for want of room.
    """

    model_id: str
    device: str
    dtype: str
    state: State
    pinned: bool
    leases: int
    size_bytes: int
    host_bytes: int
    load_s: float | None
    move_s: float | None
    hits: int
    misses: int
    evictions: int


@dataclass(frozen=True)
class CacheStats:
    """Figures of the cache; a budget of None is no limit."""

    budget_bytes: int | None
    used_bytes: int
    host_budget_bytes: int | None
    host_used_bytes: int
    hits: int
    misses: int
    evictions: int
    models: tuple[ModelStats, ...] = field(default=())


def _model_stats(entry: Entry) -> ModelStats:
    return ModelStats(
        entry.key.model_id, entry.key.device, str(entry.key.dtype).removeprefix("torch."),
        "loading" if entry.future is not None else entry.place, entry.pinned, entry.leases,
        entry.size_bytes, entry.host_bytes, entry.load_s, entry.move_s, entry.hits, entry.misses,
        entry.evictions)


def stats_of(placement: Placement) -> CacheStats:
    """Figures of everything that was ever asked for; call it with the cache's lock held."""
    models = tuple(_model_stats(entry) for entry in placement.entries.values())
    return CacheStats(
        placement.device_budget_bytes, placement.used_bytes("device"), placement.host_budget_bytes,
        placement.used_bytes("host"), sum(m.hits for m in models), sum(m.misses for m in models),
        sum(m.evictions for m in models), models)


def measured_bytes(model: nn.Module) -> int:
    """Bytes of the parameters and buffers of a model, shared storage counted once.

    A module whose weights are no tensors says itself what they take, as ``packed_bytes``.
    """
    storages = {}
    for tensor in _tensors(model):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    packed = sum(getattr(module, "packed_bytes", 0) for module in model.modules())
    return sum(storages.values()) + packed


def _tensors(model: nn.Module) -> Iterable[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()

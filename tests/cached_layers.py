"""Linear layers to cache: loaders that count and take their time, and where each layer is."""

from __future__ import annotations

import threading
import time

import torch
from torch import nn

from pipelines.core.errors import WeightsError
from pipelines.models.cache.cache import ModelCache
from tests.noise import LinearLoader


class CountingLoader(LinearLoader):
    """Counts builds and notes two at once; fails and dawdles on demand."""

    def __init__(self, load_s: float = 0.0) -> None:
        self.load_s, self.failures = load_s, 0
        self.error: BaseException = WeightsError("The file is damaged.")
        self.builds: list[str] = []
        self.overlapped = False
        self._building = threading.Lock()

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Build a layer, or fail while ``failures`` are left."""
        self.overlapped |= not self._building.acquire(blocking=False)
        try:
            self.builds.append(model_id)
            time.sleep(self.load_s)
            if self.failures:
                self.failures -= 1
                raise self.error
            assert not torch.is_inference_mode_enabled()
            return super().load(model_id, device, dtype)
        finally:
            self._building.release()


def bytes_of(width: int) -> int:
    """Bytes of a square float32 matrix."""
    return width * width * 4


class TickingLoader(CountingLoader):
    """Takes as many seconds of its own clock as ``seconds`` says for a model."""

    def __init__(self, seconds: dict[str, float]) -> None:
        super().__init__()
        self.seconds, self.now_s = seconds, 0.0

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Build a layer and let the clock go on."""
        self.now_s += self.seconds.get(model_id, 1.0)
        return super().load(model_id, device, dtype)

    def clock(self) -> float:
        """Seconds so far."""
        return self.now_s


def states(cache: ModelCache) -> dict[str, str]:
    """Where each model is."""
    return {m.model_id: m.state for m in cache.stats().models}


def use(cache: ModelCache, *model_ids: str) -> None:
    """Lease models for a moment, one after the other."""
    for model_id in model_ids:
        with cache.lease(model_id):
            pass

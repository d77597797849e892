"""Parts of a model of several: each is a module of its own, so that the model cache can hold one
while another one waits on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pipelines.models.offload import execution_device

if TYPE_CHECKING:
    from diffusers import ConfigMixin


class Part(nn.Module):
    """A part, which may be offloaded.

    Args:
        model: a library's module.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return execution_device(self)

    @property
    def config(self) -> Any:
        """The library's configuration of its module."""
        return self.model.config


class ScheduledPart(Part):
    """A part that is asked at every step, with the noise schedule that it was trained on.

    Args:
        model: a library's module.
        scheduler: of diffusers.
    """

    def __init__(self, model: nn.Module, scheduler: ConfigMixin) -> None:
        super().__init__(model)
        self._kind, self._schedule = type(scheduler), dict(scheduler.config)

    def new_scheduler(self, *steps: int, **timesteps: Any) -> Any:
        """A schedule of its own for a run; the arguments are those of its ``set_timesteps``."""
        scheduler: Any = self._kind.from_config(self._schedule)
        scheduler.set_timesteps(*steps, device=self.device, **timesteps)
        return scheduler

"""Models larger than the device: their weights stay in host memory and visit it layer by layer.

accelerate's hooks bring the weights of a layer to the device when it is called and drop them right
after, so that the device needs no more than the largest layer. They know of calls alone: a model
that reads its weights elsewhere than in ``forward`` cannot be offloaded, so a loader has to say
which of its models can.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import nn


class Footprint(NamedTuple):
    """Bytes of an offloaded model in both memories."""

    device_bytes: int
    host_bytes: int


def offload(model: nn.Module, device: torch.device) -> Footprint:
    """Keep a model's weights where they are, in host memory, and compute on a device.

    Args:
        model: on the CPU; changed in place.
        device: where it computes; its buffers move there.

    Returns:
        What it takes: on the device, its buffers and the weights of its largest layer.
    """
    from accelerate import cpu_offload  # takes a second, and few models need it

    layers = [sum(p.nbytes for p in part.parameters(recurse=False)) for part in model.modules()]
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    cpu_offload(model, execution_device=device)
    return Footprint(max(layers) + buffers, sum(layers))


def execution_device(model: nn.Module) -> torch.device:
    """Where a model computes, offloaded or not; its parameters say so only of the latter."""
    for part in model.modules():
        device = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return next(model.parameters()).device


def weights_at_hand(module: nn.Module) -> AbstractContextManager[None]:
    """The module's own weights on the device, to read them elsewhere than in its ``forward``."""
    from accelerate.utils import align_module_device

    return align_module_device(module)

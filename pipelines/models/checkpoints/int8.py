"""Matrices in 8 bits: one scale for each row, beside the tensor in the same safetensors file.

A file of 16-bit weights halves; the largest error is half a step, 1/254 of the largest number of
the row. Tensors of one dimension, and small ones, stay as they are.

Source: Dettmers et al., "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale" (2022),
section 2.1, absolute maximum quantisation by rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".int8_scale"
LEAST_NUMBERS = 4096


def to_int8(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each large matrix ``name`` (R, …) by int8 numbers and fp16 ``name.int8_scale`` (R,).

    Args:
        state_dict: floating-point tensors; others pass unchanged.
    """
    packed: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        packed[name] = tensor
        if tensor.ndim >= 2 and tensor.dtype.is_floating_point and tensor.numel() >= LEAST_NUMBERS:
            rows = tensor.float().flatten(1)
            # Rounded to fp16 first, so that the numbers fit the scale that is kept.
            scale = (rows.abs().amax(1) / 127).half().clamp_min(6e-8)
            numbers = (rows / scale.float()[:, None]).round().clamp(-127, 127)
            packed[name] = numbers.to(torch.int8).view_as(tensor)
            packed[name + SCALE] = scale
    return packed


def from_int8(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of ``to_int8``, in fp16; a state dict without such matrices comes back as it is."""
    plain = {name: tensor for name, tensor in state_dict.items() if not name.endswith(SCALE)}
    for name, tensor in plain.items():
        scale = state_dict.get(name + SCALE)
        if scale is not None and tensor.dtype == torch.int8 and scale.shape == tensor.shape[:1]:
            rows = tensor.flatten(1).float() * scale.float()[:, None]
            plain[name] = rows.half().view_as(tensor)
    return plain

"""Matrices without bias, multiplied the way that few rows want: decoding is bound by reading them.

``Linear`` takes what order of factors a CPU is fast in. ``Int8Linear`` reads a quarter of the
bytes of float32: its weights are 8-bit numbers with a scale for each output. Its inputs are not
cut down to 8 bits: each is a coarse digit and a fine one, 13 bits together, which pass through the
same integer product as two rows. The product is exact, so that a row gets the same bits whatever
rows are beside it, and the whole deviation is that of the weights: with random ones, 0.8 % of the
norm of a product.

Measured on an AMD EPYC without AVX-512, one thread, 1024 × 5460 numbers, against ``F.linear`` in
float32: with 2 rows ``Linear`` 2.4 ms and ``Int8Linear`` 0.5 ms against 3.9 ms, with 18 rows
8.9 ms and 4.5 ms against 8.9 ms.

Source: Dettmers et al., "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale" (2022),
section 2.1, absolute maximum quantisation by rows; the integer product is FBGEMM's, Khudia et al.,
"FBGEMM: Enabling High-Performance Low-Precision Deep Learning Inference" (2021).
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The most rows for which a CPU is faster with the matrix as the left factor.
FEW_ROWS = {torch.float32: 8, torch.bfloat16: 64}
DIGIT = 63  # the largest of a 7-bit digit: sums of two products of 8 bits stay below 2**15
FINE = 2 * DIGIT  # fine steps in a coarse one
ROWS_AT_ONCE = 512  # of which numbers of 8 bits are made
PACKED_WIDTH = 512  # FBGEMM lays weights down in blocks of so many inputs


class Linear(nn.Module):
    """A matrix without bias.

    A CPU multiplies a few rows from the other side: the matrix is read as it lies as the left
    factor, while the usual order packs it anew at every call (bfloat16) or reads it once a row
    (float32).
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_out, width_in))

    def forward(self, x: Tensor) -> Tensor:
        """(…, width_in) to (…, width_out)."""
        weight = self.weight
        if weight.device.type == "cpu":
            rows = x.reshape(-1, x.shape[-1])
            if 1 < len(rows) <= FEW_ROWS.get(weight.dtype, 0):
                # (width_out, width_in) @ (width_in, rows), turned back.
                found = torch.mm(weight, rows.t()).t().contiguous()
                return found.view(*x.shape[:-1], -1)
        return F.linear(x, weight)


def has_int8() -> bool:
    """Whether this machine and this torch have the integer product."""
    return (torch.backends.quantized.engine in ("fbgemm", "x86")
            and hasattr(torch.ops.quantized, "linear_dynamic"))


class Int8Linear(nn.Module):
    """A matrix without bias, its weights in 8 bits with a scale for each output; on a CPU.

    The packed weights are no tensor: ``packed_bytes`` is what they take, and they do not follow
    the module to a device or into its state dict.

    Args:
        weight: (width_out, width_in) floating point.
    """

    range_row: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        width_out, width_in = weight.shape
        self._packed = _pack(*_in_steps(weight.detach()))
        blocks = -(-width_in // PACKED_WIDTH)
        self.packed_bytes = width_out * (blocks * PACKED_WIDTH + 12)  # scale, zero point, sum
        # What fixes the operator's range of inputs at -64 to 63, and so its step at 1.
        edge = torch.zeros(1, width_in)
        edge[0, :2] = torch.tensor([-1.0 - DIGIT, DIGIT])
        self.register_buffer("range_row", edge, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(…, width_in) to (…, width_out), of the same dtype."""
        rows = x.reshape(-1, x.shape[-1]).float()
        count = len(rows)
        # x is about (coarse + fine / FINE) · step, with a step for each row, (count, 1).
        step = rows.abs().amax(1, keepdim=True).clamp_min_(1e-30) / DIGIT
        scaled = rows / step  # within ±DIGIT
        coarse = scaled.round()
        fine = ((scaled - coarse) * FINE).round_()  # the rest is within ±½, so this within ±DIGIT
        digits = torch.cat([coarse, fine, self.range_row])  # (2 · count + 1, width_in)
        found = torch.ops.quantized.linear_dynamic(digits, self._packed, reduce_range=True)
        # Both products are linear in their digits; the row of the range falls away.
        found = torch.add(found[:count], found[count:2 * count], alpha=1 / FINE).mul_(step)
        return found.view(*x.shape[:-1], -1).to(x.dtype)


def _in_steps(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights as int8 numbers of steps, and the step of each output, (width_out,) float32.

    Some rows at a time: a large matrix three times in float32 is most of what loading takes.
    """
    numbers = torch.empty(weight.shape, dtype=torch.int8)
    steps = torch.empty(len(weight))
    for start in range(0, len(weight), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        rows = weight[block].float()
        # The largest weight of an output is 127 steps.
        steps[block] = (rows.abs().amax(1) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        numbers[block] = (rows / steps[block, None]).round_()
    return numbers, steps


def _pack(numbers: Tensor, scale: Tensor) -> torch.ScriptObject:
    """Weights (width_out, width_in) int8 and scales (width_out,) as FBGEMM reads them."""
    with warnings.catch_warnings():
        # torch is to lose its quantised tensors one day; ``has_int8`` is False from then on.
        warnings.filterwarnings("ignore", message=".*quantized tensor creation functions")
        zero = torch.zeros(len(scale), dtype=torch.long)
        quantised = torch._make_per_channel_quantized_tensor(numbers, scale.double(), zero, 0)
        return torch.ops.quantized.linear_prepack(quantised, None)


def in_int8(module: nn.Module) -> nn.Module:
    """Put an ``Int8Linear`` in the place of every ``Linear`` below a module; returns it.

    One after the other, so that hardly more than one copy of the weights is in memory.
    """
    for name, child in module.named_children():
        if isinstance(child, Linear):
            setattr(module, name, Int8Linear(child.weight))
        else:
            in_int8(child)
    return module

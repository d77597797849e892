"""Matrices for few rows: the order of factors and 8 bits change speed and bytes, hardly results."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.cache.stats import measured_bytes
from pipelines.models.fast_linear import (
    ROWS_AT_ONCE,
    Int8Linear,
    Linear,
    _in_steps,
    has_int8,
    in_int8,
)

needs_int8 = pytest.mark.skipif(not has_int8(), reason="needs a CPU with the integer product")
WIDTH_IN, WIDTH_OUT = 2730, 300  # of DALL·E mini's gated layers: no multiple of anything


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_few_rows_give_the_same_product() -> None:
    linear = Linear(WIDTH_IN, WIDTH_OUT).requires_grad_(False)
    linear.weight.copy_(random(WIDTH_OUT, WIDTH_IN))
    x = random(2, 9, WIDTH_IN, seed=1)
    whole = F.linear(x, linear.weight)
    for rows in range(1, 10):
        found = linear(x[:, :rows])
        assert found.shape == (2, rows, WIDTH_OUT)
        assert torch.allclose(found, whole[:, :rows], rtol=1e-4, atol=1e-3)


@needs_int8
def test_8_bits_deviate_by_the_rounding_of_the_weights_alone() -> None:
    weight, x = random(WIDTH_OUT, WIDTH_IN), random(2, 9, WIDTH_IN, seed=1)
    x[0] *= 100  # every row has a scale of its own
    x[1, 3] = 0
    found, exact = Int8Linear(weight)(x), x @ weight.t()
    error = (found - exact).norm(dim=-1) / exact.norm(dim=-1).clamp_min(1e-9)
    assert error.max() < 0.012
    assert found[1, 3].abs().max() == 0
    scale = weight.abs().amax(1, keepdim=True) / 127
    rounded = x @ ((weight / scale).round() * scale).t()
    assert (found - rounded).norm() / rounded.norm() < 3e-4


@needs_int8
def test_a_row_in_8_bits_has_the_same_bits_whatever_is_beside_it() -> None:
    linear, x = Int8Linear(random(WIDTH_OUT, WIDTH_IN)), random(18, WIDTH_IN, seed=1)
    whole = linear(x)
    for count in (1, 2, 3, 9):
        assert torch.equal(linear(x[:count]), whole[:count])
    assert linear(x.bfloat16()).dtype == torch.bfloat16


@needs_int8
def test_packed_bytes_are_measured() -> None:
    model = nn.Sequential(Linear(1024, 512), nn.LayerNorm(512), nn.Sequential(Linear(512, 8)))
    norm, plain = 2 * 4 * 512, 1024 * 512 + 512 * 8
    assert measured_bytes(model) == norm + 4 * plain
    assert in_int8(model) is model
    assert not any(isinstance(module, Linear) for module in model.modules())
    beside = 12 * (512 + 8) + 4 * (1024 + 512)  # of each output, and the rows of the range
    assert measured_bytes(model) == norm + plain + beside


def test_a_matrix_of_many_rows_is_packed_in_blocks_of_them() -> None:
    weight = torch.randn(2 * ROWS_AT_ONCE + 3, 24, generator=torch.Generator().manual_seed(1))
    weight[5] = 0
    numbers, steps = _in_steps(weight.half())
    rows = weight.half().float()
    assert steps.equal((rows.abs().amax(1) / 127).clamp_min(torch.finfo(torch.float32).tiny))
    assert numbers.equal((rows / steps[:, None]).round().to(torch.int8))
    assert numbers.abs().amax(1).tolist() == [127 * (row != 5) for row in range(len(rows))]

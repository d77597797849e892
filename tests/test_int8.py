"""Weights in 8 bits come back within half a step, and load like any others."""

from __future__ import annotations

import torch

from pipelines.models.checkpoints.int8 import SCALE, from_int8, to_int8


def test_matrices_come_back_within_half_a_step() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {"big": torch.randn(64, 8, 3, 3, generator=generator) * torch.logspace(
                   -3, 1, 64)[:, None, None, None],
               "small": torch.randn(4, 4, generator=generator),
               "bias": torch.randn(5000, generator=generator),
               "steps": torch.arange(5000).view(50, 100)}
    packed = to_int8(weights)
    assert packed["big"].dtype == torch.int8
    assert packed["big"].shape == weights["big"].shape
    assert set(packed) == {*weights, "big" + SCALE}
    plain = from_int8(packed)
    assert set(plain) == set(weights)
    for name in ("small", "bias", "steps"):
        assert plain[name] is weights[name]
    step = weights["big"].flatten(1).abs().amax(1) / 127
    error = (plain["big"].float() - weights["big"]).flatten(1).abs().amax(1)
    assert (error <= 0.55 * step).all(), "half a step, and the rounding of fp16"


def test_an_identity_and_a_row_of_zeros_are_exact() -> None:
    identity = torch.eye(80)
    identity[3] = 0
    assert torch.allclose(from_int8(to_int8({"x": identity}))["x"].float(), identity, atol=1e-3)


def test_what_is_not_packed_comes_back_as_it_is() -> None:
    weights = {"a": torch.ones(2, 2), "b": torch.ones(3, 2, dtype=torch.int8)}
    assert from_int8(weights) == weights

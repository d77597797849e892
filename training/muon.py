"""Muon in float32, for devices that emulate bfloat16.

torch's own Muon brings matrices near to orthogonal in bfloat16. Where that is emulated, the
matrices of one transformer block of width 256 took 2.1 s a step on one core, and this 0.1 s.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def orthogonalised(matrix: Tensor, coefficients: tuple[float, float, float], steps: int,
                   eps: float) -> Tensor:
    """The matrix with singular values near 1, by Newton–Schulz iterations in its own dtype.

    Args:
        matrix: (A, B).
        coefficients: of the odd polynomial that each iteration applies to the singular values.
        steps: iterations.
        eps: the least norm to divide by.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=eps)
    a, b, c = coefficients
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class FloatMuon(torch.optim.Muon):
    """``torch.optim.Muon`` with its arguments and state, computing in the parameters' dtype."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; ``closure`` computes the loss anew, as for every optimiser of torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(p.grad)
                mean = state["momentum_buffer"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(mean, group["momentum"]) if group["nesterov"] else mean
                update = orthogonalised(update, group["ns_coefficients"], group["ns_steps"],
                                        group["eps"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                # Alike for wide and tall matrices, as torch's "original" adjustment.
                p.add_(update, alpha=-group["lr"] * math.sqrt(max(1, p.shape[0] / p.shape[1])))
        return loss

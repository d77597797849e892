"""Muon that brings all matrices of one shape near to orthogonal at once, in a dtype of choice.

torch's own takes them one after the other and in bfloat16. With the 27 of DALL·E's transformer that
is 2.5 times the CPU time of the products of stacked ones; and where bfloat16 is emulated, 2.1 s a
step for the matrices of one block of width 256, of which float32 needs 0.1.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

AT_ONCE = 8  # more leave a CPU's cache


def orthogonalised(matrices: Tensor, coefficients: tuple[float, float, float], steps: int,
                   eps: float) -> Tensor:
    """Matrices with singular values near 1, by Newton–Schulz iterations in their own dtype.

    Args:
        matrices: (N, A, B), A at most B.
        coefficients: of the odd polynomial that each iteration applies to the singular values.
        steps: iterations.
        eps: the least norm to divide by.
    """
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    a, b, c = coefficients
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class BatchedMuon(torch.optim.Muon):
    """``torch.optim.Muon`` with its arguments and state.

    Args:
        params: matrices, or groups of them.
        dtype: what the iterations compute in.
        options: for ``torch.optim.Muon``.
    """

    def __init__(self, params: Iterable[Any], dtype: torch.dtype, **options: Any) -> None:
        super().__init__(params, **options)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; ``closure`` computes the loss anew, as for every optimiser of torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(tuple(sorted(p.shape)), []).append(p)
            for several in alike.values():
                for start in range(0, len(several), AT_ONCE):
                    self._step(several[start : start + AT_ONCE], group)
        return loss

    def _step(self, several: list[Tensor], group: dict[str, Any]) -> None:
        """Step matrices whose shapes are the same, or each other's transposed."""
        updates = [self._update(p, group) for p in several]
        wide = [each.T if each.shape[0] > each.shape[1] else each for each in updates]
        found = orthogonalised(torch.stack(wide).to(self.dtype), group["ns_coefficients"],
                               group["ns_steps"], group["eps"])
        for p, each in zip(several, found, strict=True):
            p.mul_(1 - group["lr"] * group["weight_decay"])
            # Alike for wide and tall matrices, as torch's "original" adjustment.
            scale = math.sqrt(max(1, p.shape[0] / p.shape[1]))
            p.add_(each.T if p.shape[0] > p.shape[1] else each, alpha=-group["lr"] * scale)

    def _update(self, p: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[p]
        assert p.grad is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p.grad)
        mean = state["momentum_buffer"].lerp_(p.grad, 1 - group["momentum"])
        return p.grad.lerp(mean, group["momentum"]) if group["nesterov"] else mean

"""Along a flow from noise to data, by a network that predicts the data.

Source: Lipman et al., "Flow Matching for Generative Modeling" (2023), section 4; Liu et al., "Flow
Straight and Fast" (2023), section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def sampling_times(steps: int, shift: float) -> Tensor:
    """Times (steps + 1,) from 1 down to 0; ``shift`` above 1 spends more steps near 1.

    Source: Esser et al., "Scaling Rectified Flow Transformers" (2024), section 5.3.2.
    """
    t = torch.linspace(1, 0, steps + 1)
    return shift * t / (1 + (shift - 1) * t)


def flow_end(predict: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int,
             shift: float = 1.0) -> Tensor:
    """Where ``flow_steps`` ends, (B, …) float32."""
    return list(flow_steps(predict, noise, steps, shift))[-1][0]


def flow_steps(predict: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int,
               shift: float = 1.0) -> Iterator[tuple[Tensor, Tensor]]:
    """Euler's method along the flow, from noise to data.

    Args:
        predict: x_t (B, …) and times (B,) to x_0 (B, …).
        noise: (B, …), x_1.
        steps: how many, at least 1.
        shift: see ``sampling_times``.

    Yields:
        After each step x_t and the x_0 it was led by, both (B, …) float32; the last x_t is x_0.
    """
    times, x = sampling_times(steps, shift), noise.float()
    for now, following in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        clean = predict(x, torch.full((len(x),), now, device=x.device)).float()
        x = clean + (x - clean) * (following / now)
        yield x, clean

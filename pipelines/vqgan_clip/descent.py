"""What an optimiser moves of a drawer: its steps, its bounds, coarse before fine.

Source: Crowson et al., "VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language
Guidance" (2022), section 3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from pipelines.core.errors import InvalidRequest
from pipelines.vqgan_clip.drawer import Drawer, clamp_with_gradient

Optimiser = Literal["normalised", "adam", "adamw", "radam", "rmsprop", "sgd"]
Schedule = Literal["cosine", "constant"]
LARGEST_SHARE = 6.0  # of the root mean square, that one element may move in a step


class NormalisedDescent(torch.optim.Optimizer):
    """Steps along the gradient, as long as its share of the largest that there was.

    Adam moves every latent equally far, also those of which the guide has nothing to say; a guide
    whose gradient points at the missing picture (``training.patch_code``) means its proportions,
    and where little is missing steps grow short by themselves.

    Args:
        params: what is moved; elements of the first dimension are independent of one another.
        lr: root mean square of the first step.
    """

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step; elements of more than ``LARGEST_SHARE`` are cut to it."""
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                over = tuple(range(1, gradient.ndim))
                # Row by row: threads share out a mean of several otherwise than that of one, and
                # add it up in another order.
                means = [row.square().mean(over, keepdim=True) for row in gradient.split(1)]
                size = torch.cat(means).sqrt().clamp_min(1e-12)
                state = self.state[parameter]
                state["largest"] = torch.maximum(size, state.get("largest", size))
                move = (gradient / state["largest"]).clamp(-LARGEST_SHARE, LARGEST_SHARE)
                parameter.sub_(group["lr"] * move)


OPTIMISERS: dict[Optimiser, Callable[..., torch.optim.Optimizer]] = {
    "normalised": NormalisedDescent, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW,
    "radam": torch.optim.RAdam, "rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD,
}
LAST_STEP_SIZE = 0.1  # of the first, with the cosine schedule
DROP, MAX_DROPS = 0.1, 8  # of the step size, as in pixray
_PER_CENT = re.compile(r"(\d{1,2}(?:\.\d{1,4})?)\s?%?", re.ASCII)
_OPTIMISER = "optimiser."  # before the names of an optimiser's tensors in a state


def parse_drops(text: str) -> tuple[float, ...]:
    """Shares of the steps, of per cent with commas between them: "50, 75"; empty for none.

    Raises:
        InvalidRequest: it is no such text.
    """
    found = [_PER_CENT.fullmatch(part.strip()) for part in text.split(",")] if text.strip() else []
    drops = tuple(float(each[1]) / 100 if each else 0.0 for each in found)
    if len(drops) > MAX_DROPS or not all(0 < share < 1 for share in drops):
        raise InvalidRequest("Step size drops are up to {} numbers of per cent between 0 and 100, "
                             "such as 50, 75, not {!r}.", MAX_DROPS, text[:40], field="drops")
    return drops


class Descent:
    """What the optimiser moves: a change, on a grid that grows finer, added to the start.

    Args:
        start: (N, C, h, w) float32, parameters of a drawer.
        drawer: bounds them, and knows what a coarser grid of them is.
        optimiser: its name.
        step_size: learning rate of the first step.
        schedule: how the step size falls.
        drops: shares of the steps after which steps are a tenth as long, each of them again.
        coarse: share of the steps that move parameters on a coarser grid: the first half of them on
            a quarter of the grid's side, the others on half of it.
    """

    def __init__(self, start: Tensor, drawer: Drawer, optimiser: Optimiser, step_size: float,
                 schedule: Schedule, coarse: float, drops: Sequence[float] = ()) -> None:
        self.start, self._resized = start, drawer.resized
        self.low, self.high = drawer.low, drawer.high
        self._make, self._step_size = OPTIMISERS[optimiser], step_size
        self._schedule, self._coarse, self._drops = schedule, coarse, drops
        self._set_change(torch.zeros_like(start))

    def _set_change(self, change: Tensor) -> None:
        self.change = change.detach().clone().requires_grad_()
        self.optimizer = self._make([self.change], lr=self._step_size)

    def begin_at(self, start: Tensor) -> None:
        """Go on from other parameters (N, C, h, w), with an optimiser that knows nothing yet."""
        self.start = start
        self._set_change(torch.zeros_like(self.change))

    def begin_step(self, step: int, total: int) -> None:
        """Set grid and step size for step 1..total."""
        done = (step - 1) / total
        factor = 4 if done < self._coarse / 2 else 2 if done < self._coarse else 1
        height, width = (max(1, side // factor) for side in self.start.shape[-2:])
        if step > 1:  # a run that is resumed with more steps keeps what it has
            height = max(height, self.change.shape[-2])
            width = max(width, self.change.shape[-1])
        if (height, width) != self.change.shape[-2:]:
            self._set_change(self._resized(self.change, height, width))
        rate = self._step_size
        if self._schedule == "cosine":
            rate *= LAST_STEP_SIZE + (1 - LAST_STEP_SIZE) * (1 + math.cos(math.pi * done)) / 2
        for share in self._drops:
            rate *= DROP if done >= share else 1.0
        self.optimizer.param_groups[0]["lr"] = rate

    def full(self, change: Tensor, rows: slice) -> Tensor:
        """The parameters (n, C, h, w) of some candidates, within bounds; differentiable.

        Args:
            change: (n, C, g, g), the rows' part of ``self.change``.
            rows: which candidates.
        """
        moved = self.start[rows] + self._resized(change, *self.start.shape[-2:])
        return clamp_with_gradient(moved, self.low, self.high)

    @torch.no_grad()
    def update(self, gradient: Tensor) -> None:
        """Take a step against a gradient (N, C, g, g), and come back within bounds."""
        self.change.grad = gradient
        self.optimizer.step()
        if self.change.shape == self.start.shape:
            moved = (self.start + self.change).clamp(self.low, self.high)
            self.change.copy_(moved - self.start)
        else:
            reach = self.high - self.low
            self.change.copy_(self.change.clamp(-reach, reach))

    def state(self) -> dict[str, Tensor]:
        """Copies of what the next step depends on, on the CPU, for ``restore``."""
        kept = {"start": self.start, "change": self.change.detach()}
        for name, value in self.optimizer.state.get(self.change, {}).items():
            if isinstance(value, Tensor):
                kept[f"{_OPTIMISER}{name}"] = value
        return {name: value.detach().cpu().clone() for name, value in kept.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a ``state`` of one made with the same arguments.

        Raises:
            ValueError: it is the state of another.
        """
        start, change = state["start"], state["change"]
        if (start.shape != self.start.shape or change.shape[:2] != start.shape[:2]
                or change.ndim != 4 or start.dtype != torch.float32
                or change.dtype != torch.float32):
            raise ValueError("parameters of another shape")
        self.start = start.to(self.start.device, copy=True)
        self._set_change(change.to(self.start.device))
        moments = {name.removeprefix(_OPTIMISER): value.clone() for name, value in state.items()
                   if name.startswith(_OPTIMISER)}
        if any(value.ndim and len(value) != len(change) for value in moments.values()):
            raise ValueError("an optimiser of other parameters")
        if moments:
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": {0: moments}})

    @torch.no_grad()
    def add_noise(self, amount: float, generators: Sequence[torch.Generator]) -> None:
        """Add noise to the change.

        Args:
            amount: standard deviation as a share of half of each channel's range.
            generators: one a candidate, on the CPU.
        """
        shape = self.change.shape[1:]
        noise = torch.stack([torch.randn(shape, generator=g) for g in generators])
        reach = (self.high - self.low) / 2
        self.change.add_(amount * reach * noise.to(self.change.device))

"""taming's residual blocks, frozen and faster: the same weights and results.

A frozen block needs the gradient of its input alone. torch's own backward pass of group
normalisation computes far more, and a product with a sigmoid costs three passes over memory where
one will do; together they took more time than the convolutions.

Source: Wu and He, "Group Normalization" (2018), section 3; Elfwing et al., "Sigmoid-Weighted Linear
Units" (2017), section 2.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from taming.modules.diffusionmodules.model import ResnetBlock
from torch import Tensor, nn

T = TypeVar("T", bound=nn.Module)


class NormSwish(torch.autograd.Function):
    """Group normalisation and swish, with a gradient for the input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int,  # type: ignore[override]
                eps: float) -> Tensor:
        """``x`` (B, C, H, W) in any memory format; weight and bias (C,)."""
        batch, channels, height, width = x.shape
        normed, mean, rstd = torch.native_group_norm(x, weight, bias, batch, channels,
                                                     height * width, groups, eps)
        ctx.save_for_backward(x, normed, mean, rstd, weight)
        return F.silu(normed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """dx = a · dh + b · x + c, where b and c are the same for a whole group."""
        x, normed, mean, rstd, weight = ctx.saved_tensors
        dh = torch.ops.aten.silu_backward(gradient, normed)
        batch, channels = x.shape[:2]
        groups = mean.shape[1]
        count = x[0].numel() // groups
        gamma = weight.float().view(1, groups, -1)
        sums = dh.sum((2, 3), dtype=torch.float32).view(batch, groups, -1)
        products = (dh * x).sum((2, 3), dtype=torch.float32).view(batch, groups, -1)
        mean, rstd = mean.float()[..., None], rstd.float()[..., None]
        first = (gamma * sums).sum(-1, keepdim=True)
        second = (gamma * (products - mean * sums)).sum(-1, keepdim=True) * rstd**3 / count
        offset = mean * second - first * rstd / count

        def spread(each: Tensor) -> Tensor:
            whole = each.expand(batch, groups, channels // groups)
            return whole.reshape(batch, channels, 1, 1).to(x.dtype)

        dx = torch.addcmul(spread(offset), x, spread(-second))
        return dx.addcmul_(dh, spread(gamma * rstd)), None, None, None, None


class FrozenResnetBlock(nn.Module):
    """Takes the place of a ``ResnetBlock`` without time embedding, under the same names.

    Args:
        source: whose layers these are from now on.
    """

    def __init__(self, source: ResnetBlock) -> None:
        super().__init__()
        for name, layer in source.named_children():
            if name != "dropout":
                self.add_module(name, layer)

    def forward(self, x: Tensor, temb: None = None) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        layers = cast("dict[str, Any]", self._modules)
        h = layers["conv1"](_norm_swish(x, layers["norm1"]))
        h = layers["conv2"](_norm_swish(h, layers["norm2"]))
        shortcut = layers.get("nin_shortcut") or layers.get("conv_shortcut")
        return h + (x if shortcut is None else shortcut(x))


def _norm_swish(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    if x.requires_grad and torch.is_grad_enabled():
        return cast(Tensor, NormSwish.apply(x, norm.weight, norm.bias, norm.num_groups, norm.eps))
    return F.silu(norm(x), inplace=True)


def hastened(module: T) -> T:
    """Replace the residual blocks of a taming encoder or decoder, in place; returns the module.

    Convolutions get the memory format in which CPUs and GPUs compute them fastest.
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ResnetBlock):
                setattr(parent, name, FrozenResnetBlock(child))
    return module.to(memory_format=torch.channels_last)

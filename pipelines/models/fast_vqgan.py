"""taming's residual blocks and decoders, frozen and faster: the same weights and results.

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
from taming.modules.diffusionmodules.model import Decoder, ResnetBlock
from torch import Tensor, nn

T = TypeVar("T", bound=nn.Module)
CACHED = 131_072  # elements that a CPU core keeps at hand while several operations pass over them


class NormSwish(torch.autograd.Function):
    """Group normalisation and swish, with a gradient for the input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int,  # type: ignore[override]
                eps: float) -> Tensor:
        """``x`` (B, C, H, W) in any memory format; weight and bias (C,)."""
        batch, channels, height, width = x.shape
        normed, mean, rstd = torch.native_group_norm(x, weight, bias, batch, channels,
                                                     height * width, groups, eps)
        ctx.save_for_backward(x, mean, rstd, weight, bias)
        return F.silu(normed, inplace=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """dx = a · dh + b · x + c, where b and c are the same for a whole group.

        With h = γ (x - μ) r + β, r = 1 / σ, dh the gradient at h (of swish already), and n numbers
        in a group: a = γ r, b = -r³ (Σ γ dh x - μ Σ γ dh) / n, c = -b μ - r (Σ γ dh) / n, the
        sums over the group. Two passes over the picture: one for the sums, one for dx.

        Source: Wu and He, "Group Normalization" (2018), section 3.1; the derivative is that of
        Ioffe and Szegedy, "Batch Normalization" (2015), section 3, with groups for batches.
        """
        x, mean, rstd, weight, bias = ctx.saved_tensors
        batch, groups = mean.shape
        gamma = weight.float().view(1, groups, -1)  # (1, G, C / G)
        mean, rstd = mean.float()[..., None], rstd.float()[..., None]  # (B, G, 1)
        slope = gamma * rstd  # (B, G, C / G), a above

        def spread(each: Tensor) -> Tensor:
            """(B, G, 1) or (B, G, C / G) -> (B, 1, C), beside every pixel."""
            return each.expand(batch, *gamma.shape[1:]).reshape(batch, 1, -1).to(x.dtype)

        slopes, shifts = spread(slope), spread(bias.float().view_as(gamma) - mean * slope)
        found = torch.empty_like(x, memory_format=torch.channels_last)
        parts = list(zip(*map(_parts, (x, gradient, found)), strict=True))
        # Σ dh and Σ dh · x over the pixels, (B, C) each.
        sums, products = torch.zeros(2, batch, x.shape[1], device=x.device)
        for x_part, gradient_part, dh in parts:
            normed = torch.addcmul(shifts, x_part, slopes)  # h again, (B, pixels, C)
            torch.ops.aten.silu_backward.grad_input(gradient_part, normed, grad_input=dh)
            sums += dh.sum(1)
            products += torch.mul(dh, x_part, out=normed).sum(1)
        sums, products = (gamma * each.view(batch, groups, -1) for each in (sums, products))
        first = sums.sum(-1, keepdim=True)  # (B, G, 1), Σ γ dh of a group
        # -b · n above; mean * sums is summed with the products, for they nearly cancel.
        second = (products - mean * sums).sum(-1, keepdim=True) * rstd**3
        count = x[0].numel() // groups  # n, numbers in a group
        offsets, minus_seconds = spread((mean * second - first * rstd) / count), \
            spread(-second / count)
        for x_part, _, dh in parts:
            moved = torch.addcmul(offsets, x_part, minus_seconds)
            torch.addcmul(moved, dh, slopes, out=dh)
        return found, None, None, None, None


def _parts(x: Tensor) -> tuple[Tensor, ...]:
    """Views (B, pixels, C) of a picture (B, C, H, W), on a CPU so small that they stay cached."""
    rows = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).flatten(1, 2)
    return rows.split(max(1, CACHED // x.shape[1]) if x.device.type == "cpu" else rows.shape[1], 1)


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
        return h.add_(x if shortcut is None else shortcut(x))


class FrozenDecoder(nn.Module):
    """Takes the place of a ``Decoder``, under the same names.

    Args:
        source: whose layers these are from now on.
    """

    def __init__(self, source: Decoder) -> None:
        super().__init__()
        for name, layer in source.named_children():
            self.add_module(name, layer)

    def forward(self, z: Tensor) -> Tensor:
        """(B, z_channels, h, w) to (B, out_ch, H, W)."""
        layers = cast("dict[str, Any]", self._modules)
        middle, levels = layers["mid"], layers["up"]
        h = middle.block_1(layers["conv_in"](z))
        h = middle.block_2(middle.attn_1(h))
        for i in reversed(range(len(levels))):
            attention = list(levels[i].attn) or [None] * len(levels[i].block)
            for block, attend in zip(levels[i].block, attention, strict=True):
                h = block(h)
                if attend is not None:
                    h = attend(h)
            if i:
                h = levels[i].upsample(h)
        return layers["conv_out"](_norm_swish(h, layers["norm_out"]))


def _norm_swish(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    if x.requires_grad and torch.is_grad_enabled():
        return cast(Tensor, NormSwish.apply(x, norm.weight, norm.bias, norm.num_groups, norm.eps))
    return F.silu(norm(x), inplace=True)


def with_fast_kernels(module: T) -> T:
    """Replace the residual blocks and decoders of taming's in a module; returns it, or what takes
    its place where it is a decoder itself.

    Convolutions get the memory format in which CPUs and GPUs compute them fastest.
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ResnetBlock):
                setattr(parent, name, FrozenResnetBlock(child))
            elif isinstance(child, Decoder):
                setattr(parent, name, FrozenDecoder(child))
    if isinstance(module, Decoder):
        module = cast(T, FrozenDecoder(module))
    return module.to(memory_format=torch.channels_last)

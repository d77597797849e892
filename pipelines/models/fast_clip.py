"""Frozen transformers of open_clip, faster: the same weights and results, fewer copies.

``nn.MultiheadAttention`` multiplies a transposed input by its projection. Where the projection
takes no gradient but the input does, torch answers that by a batched product for which it copies
the weights once for every position: most of a guide's step went into those copies. The strided
convolution that reads patches is slow backwards; as a matrix product it is not. On a CPU the
backward pass of the fused attention took a quarter of a step, and written out it takes a fortieth.
Of the last block only the class token is looked at, so no other is computed there.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

T = TypeVar("T", bound=nn.Module)
MOST_TOKENS = 256  # whose weights, the square of their number, a step may keep for every layer


class WrittenOutAttention(torch.autograd.Function):
    """softmax(q kᵀ / √d) v in plain products, whose backward pass is quick on a CPU."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # type: ignore[override]
        """Queries (N, S, d), keys and values (N, T, d), contiguous, to (N, S, d)."""
        with torch.autocast(q.device.type, enabled=False):
            scores = torch.baddbmm(q.new_empty(1), q, k.transpose(1, 2), beta=0,
                                   alpha=q.shape[-1]**-0.5)
            weights = scores.softmax(-1)
            ctx.save_for_backward(q, k, v, weights)
            return torch.bmm(weights, v)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Gradients of queries, keys and values."""
        q, k, v, weights = ctx.saved_tensors
        change = torch.bmm(gradient, v.transpose(1, 2))
        change = torch._softmax_backward_data(change, weights, -1, weights.dtype)
        change *= q.shape[-1]**-0.5
        return (torch.bmm(change, k), torch.bmm(change.transpose(1, 2), q),
                torch.bmm(weights.transpose(1, 2), gradient))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention of queries (B, H, S, d) to keys and values (B, H, T, d)."""
    differentiable = q.requires_grad and torch.is_grad_enabled()
    if mask is not None or not differentiable or q.device.type != "cpu" \
            or k.shape[2] > MOST_TOKENS:
        return F.scaled_dot_product_attention(q, k, v, mask)
    flat = (each.flatten(0, 1).contiguous() for each in (q, k, v))
    return cast(Tensor, WrittenOutAttention.apply(*flat)).unflatten(0, q.shape[:2])


class SelfAttention(nn.Module):
    """Takes the place of an ``nn.MultiheadAttention``, under the same names of parameters.

    Args:
        source: whose parameters these are from now on.
    """

    def __init__(self, source: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.batch_first = source.num_heads, source.batch_first
        self.in_proj_weight, self.in_proj_bias = source.in_proj_weight, source.in_proj_bias
        self.out_proj = source.out_proj

    def of_first(self, x: Tensor) -> Tensor:
        """Attention of the first token alone to all: (B, T, dim) to (B, 1, dim)."""
        q, kv = (F.linear(part, weight, bias) for part, weight, bias in zip(
            (x[:, :1], x), *(each.tensor_split((x.shape[-1],)) for each in (
                self.in_proj_weight, self.in_proj_bias)), strict=True))
        k, v = kv.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q = q.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self.out_proj(attend(q, k, v).transpose(1, 2).flatten(2))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False,
                attn_mask: Tensor | None = None, **_: Any) -> tuple[Tensor, None]:
        """Attention of ``query`` (B, T, dim) to itself; ``key`` and ``value`` are the same."""
        x = query if self.batch_first else query.transpose(0, 1)
        qkv = F.linear(x.contiguous(), self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if attn_mask is None else attn_mask.to(q.dtype)
        x = self.out_proj(attend(q, k, v, mask).transpose(1, 2).flatten(2))
        return x if self.batch_first else x.transpose(0, 1), None


class PatchProjection(nn.Module):
    """Takes the place of a convolution whose patches do not overlap.

    Args:
        source: whose weight this is from now on.
    """

    def __init__(self, source: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias, self.side = source.weight, source.bias, source.kernel_size[0]

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, width, H / side, W / side)."""
        batch, _, height, width = pixels.shape
        rows, columns = height // self.side, width // self.side
        patches = pixels.unflatten(3, (columns, self.side)).unflatten(2, (rows, self.side))
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(batch * rows * columns, -1)
        found = F.linear(patches, self.weight.flatten(1), self.bias)
        return found.view(batch, rows, columns, -1).permute(0, 3, 1, 2)


class LastBlock(nn.Module):
    """Takes the place of the last block of a picture tower that looks at its class token alone.

    Args:
        source: whose layers these are from now on; its attention is a ``SelfAttention``.
    """

    def __init__(self, source: ResidualAttentionBlock) -> None:
        super().__init__()
        for name, layer in source.named_children():
            self.add_module(name, layer)

    def get_weight_dtype(self) -> torch.dtype:
        """See open_clip's block."""
        return cast(Any, self).mlp.c_fc.weight.dtype

    def forward(self, q_x: Tensor, *_: None, **__: None) -> Tensor:
        """All tokens (B, T, dim) to the class token (B, 1, dim)."""
        layers = cast("dict[str, Any]", self._modules)
        x = q_x[:, :1] + layers["ls_1"](layers["attn"].of_first(layers["ln_1"](q_x)))
        return x + layers["ls_2"](layers["mlp"](layers["ln_2"](x)))


def _looks_at_class_token_alone(tower: VisionTransformer) -> bool:
    return (tower.attn_pool is None and tower.pool_type == "tok" and not tower.output_tokens
            and tower.transformer.batch_first)


def _is_patches(module: nn.Module) -> bool:
    return (isinstance(module, nn.Conv2d) and module.kernel_size == module.stride
            and module.kernel_size[0] == module.kernel_size[1] and module.groups == 1
            and set(module.padding) == {0})


def with_fast_kernels(module: T) -> T:
    """Replace what is slow in the towers of an open_clip model, in place; returns the model."""
    for part in list(module.modules()):
        if isinstance(part, ResidualAttentionBlock) and not hasattr(part, "ln_1_kv"):
            old = part.attn
            if isinstance(old, nn.MultiheadAttention) and old.in_proj_weight is not None:
                part.attn = SelfAttention(old)  # type: ignore[assignment]
        elif isinstance(part, VisionTransformer) and _is_patches(part.conv1):
            part.conv1 = PatchProjection(part.conv1)  # type: ignore[assignment]
    for part in list(module.modules()):
        if isinstance(part, VisionTransformer) and _looks_at_class_token_alone(part):
            blocks = part.transformer.resblocks
            if isinstance(blocks[-1].attn, SelfAttention):
                blocks[-1] = LastBlock(cast(ResidualAttentionBlock, blocks[-1]))
    return module

"""Frozen transformers of open_clip, faster: the same weights and results, fewer copies.

``nn.MultiheadAttention`` multiplies a transposed input by its projection. Where the projection
takes no gradient but the input does, torch answers that by a batched product for which it copies
the weights once for every position: most of a guide's step went into those copies. The strided
convolution that reads patches is slow backwards; as a matrix product it is not.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

T = TypeVar("T", bound=nn.Module)


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

    def forward(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False,
                attn_mask: Tensor | None = None, **_: Any) -> tuple[Tensor, None]:
        """Attention of ``query`` (B, T, dim) to itself; ``key`` and ``value`` are the same."""
        x = query if self.batch_first else query.transpose(0, 1)
        qkv = F.linear(x.contiguous(), self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if attn_mask is None else attn_mask.to(q.dtype)
        attended = F.scaled_dot_product_attention(q, k, v, mask)
        x = self.out_proj(attended.transpose(1, 2).flatten(2))
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


def _is_patches(module: nn.Module) -> bool:
    return (isinstance(module, nn.Conv2d) and module.kernel_size == module.stride
            and module.kernel_size[0] == module.kernel_size[1] and module.groups == 1
            and set(module.padding) == {0})


def hastened(module: T) -> T:
    """Replace what is slow in the towers of an open_clip model, in place; returns the model."""
    for part in list(module.modules()):
        if isinstance(part, ResidualAttentionBlock) and not hasattr(part, "ln_1_kv"):
            old = part.attn
            if isinstance(old, nn.MultiheadAttention) and old.in_proj_weight is not None:
                part.attn = SelfAttention(old)  # type: ignore[assignment]
        elif isinstance(part, VisionTransformer) and _is_patches(part.conv1):
            part.conv1 = PatchProjection(part.conv1)  # type: ignore[assignment]
    return module

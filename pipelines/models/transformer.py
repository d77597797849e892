"""Transformer blocks of DALL·E and of unCLIP's prior.

Source: Vaswani et al., "Attention Is All You Need" (2017), section 3; QK norm: Henry et al.,
"Query-Key Normalization for Transformers" (2020); SwiGLU: Shazeer, "GLU Variants Improve
Transformer" (2020).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention with normalised queries and keys."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim, bias=False)
        self.q_norm, self.k_norm = nn.RMSNorm(self.width), nn.RMSNorm(self.width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, dim) -> queries, keys and values (B, heads, T, width)."""
        # (B, T, 3 · dim) -> (B, T, 3, heads, width) -> (3, B, heads, T, width)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, self.width)).permute(2, 0, 3, 1, 4)
        # Under autocast the norms give float32 and the matrix does not: one dtype for all three.
        return self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype), v

    def merge(self, x: Tensor) -> Tensor:
        """(B, heads, T, width) -> (B, T, dim)."""
        return self.proj(x.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Pre-norm residual SwiGLU layer (Shazeer, "GLU Variants Improve Transformer", 2020)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(dim)
        hidden = dim * 8 // 3 // 64 * 64  # as many weights as a plain layer of 4 · dim
        self.up = nn.Linear(dim, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) to the same."""
        gate, value = self.up(self.norm(x)).chunk(2, dim=-1)  # (…, hidden) each
        return x + self.down(F.silu(gate) * value)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(dim)
        self.attn = Attention(dim, heads)
        self.mlp = FeedForward(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, dim) to the same; ``mask`` is True where attention is allowed."""
        return self.looked(x, mask)[0]

    def looked(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Like ``forward``, and with it what each position looked at: (B, heads, T, T) float32,
        each row of which is 1 together."""
        q, k, v = self.attn.split(self.norm(x))
        # Written out: compiled for a CPU, its backward pass takes a fifth of the fused kernel's.
        scores = (q @ k.transpose(-2, -1)).float() * q.shape[-1] ** -0.5  # (B, heads, T, T)
        weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        x = x + self.attn.merge(weights.to(v.dtype) @ v)
        return self.mlp(x), weights

    def cached(self, x: Tensor, keys: Tensor, values: Tensor, start: int, mask: Tensor) -> Tensor:
        """Like ``forward`` for T new positions from ``start``, writing to a cache of this layer."""
        q, k, v = self.attn.split(self.norm(x))  # (B, heads, T, width), those of the new positions
        stop = start + x.shape[1]
        keys[:, :, start:stop], values[:, :, start:stop] = k, v
        # (B, heads, T, width) from (B, heads, stop, width): the new positions see all up to theirs.
        attended = F.scaled_dot_product_attention(q, keys[:, :, :stop], values[:, :, :stop], mask)
        x = x + self.attn.merge(attended)
        return self.mlp(x)

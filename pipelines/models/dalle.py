"""DALL·E's transformer: one decoder over a single stream of text tokens and image codes.

Image codes are read and written in square blocks (2 by 2 by default): the trunk takes one step a
block, and a small head emits the codes inside the block one after the other. With a block of one
code this is the plain decoder of the paper; with four, the trunk takes a quarter of the steps.
Inside a block the few codes so far reach the head through one masked matrix, which costs a CPU
far less than attention over rows of eight. The text is a prefix that attends to itself in both
directions.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2; blocks with a head
of their own: Lee et al., "Autoregressive Image Generation using Residual Quantization" (2022),
section 3.2; masked matrices: Germain et al., "MADE: Masked Autoencoder for Distribution
Estimation" (2015), section 3; QK norm: Henry et al., "Query-Key Normalization for Transformers"
(2020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD_ID = 0


@dataclass(frozen=True)
class TransformerConfig:
    """Shape of the transformer.

    Attributes:
        grid: image codes along one side of the picture.
        patch: image codes along one side of a block.
        digits: tokens that spell one image code, most significant first; a large codebook is
            written as a number in base ``codebook_size``.
        codebook_size: values of one token.
        code_dim: width of a token's embedding.
        head_dim: width of the head that emits the tokens of a block.
    """

    text_vocab_size: int = 3072
    text_length: int = 32
    codebook_size: int = 125
    digits: int = 2
    grid: int = 16
    patch: int = 2
    dim: int = 384
    depth: int = 6
    heads: int = 6
    code_dim: int = 96
    head_dim: int = 256


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
        q, k, v = self.attn.split(self.norm(x))
        # Written out: compiled for a CPU, its backward pass takes a fifth of the fused kernel's.
        scores = (q @ k.transpose(-2, -1)).float() * q.shape[-1] ** -0.5  # (B, heads, T, T)
        weights = scores.masked_fill(~mask, float("-inf")).softmax(-1).to(v.dtype)
        x = x + self.attn.merge(weights @ v)
        return self.mlp(x)

    def cached(self, x: Tensor, keys: Tensor, values: Tensor, start: int, mask: Tensor) -> Tensor:
        """Like ``forward`` for T new positions from ``start``, writing to a cache of this layer."""
        q, k, v = self.attn.split(self.norm(x))  # (B, heads, T, width), those of the new positions
        stop = start + x.shape[1]
        keys[:, :, start:stop], values[:, :, start:stop] = k, v
        # (B, heads, T, width) from (B, heads, stop, width): the new positions see all up to theirs.
        attended = F.scaled_dot_product_attention(q, keys[:, :, :stop], values[:, :, :stop], mask)
        x = x + self.attn.merge(attended)
        return self.mlp(x)


@dataclass
class KVCache:
    """Static keys and values, (depth, B, heads, text_length + steps, width) each.

    Attributes:
        visible: (B, text_length + steps) bool, False at padded text.
        blocks: how many blocks have been written.
    """

    keys: Tensor
    values: Tensor
    visible: Tensor
    blocks: int = 0


class ImageTransformer(nn.Module):
    """Logits of image codes given a text and the codes before them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        side = config.grid // config.patch
        self.num_steps, self.block_codes = side * side, config.patch**2 * config.digits
        self.text_embedding = nn.Embedding(config.text_vocab_size, config.dim)
        self.text_position = nn.Parameter(torch.zeros(config.text_length, config.dim))
        self.code_embedding = nn.Embedding(config.digits * config.codebook_size, config.code_dim)
        # Token k of a block looks its digit up in a table of its own, one after the other in one.
        offsets = torch.arange(self.block_codes) % config.digits * config.codebook_size
        self.offsets: list[int] = offsets.tolist()
        self.block_in = nn.Linear(self.block_codes * config.code_dim, config.dim, bias=False)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.row_position = nn.Parameter(torch.zeros(side, config.dim))
        self.column_position = nn.Parameter(torch.zeros(side, config.dim))
        self.blocks = nn.ModuleList(Block(config.dim, config.heads) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.dim)
        self.head_in = nn.Linear(config.dim, self.block_codes * config.head_dim)
        # Row block k: how tokens 0 … k - 1 of a block condition the head of token k.
        self.head_past = nn.Parameter(
            torch.zeros(self.block_codes * config.head_dim, self.block_codes * config.code_dim)
        )
        self.head_mlp = FeedForward(config.head_dim)
        self.head_norm = nn.RMSNorm(config.head_dim)
        self.head = nn.Linear(config.head_dim, config.codebook_size)

    def initialise(self) -> None:
        """Initialise for training: normal weights, residual outputs scaled down by depth."""
        for name, p in self.named_parameters():
            if p.ndim >= 2 or name == "start":
                nn.init.normal_(p, std=0.02)
            if name.endswith(("attn.proj.weight", "mlp.down.weight")):
                nn.init.normal_(p, std=0.02 / (2 * self.config.depth) ** 0.5)

    def to_blocks(self, codes: Tensor) -> Tensor:
        """Grid (B, grid, grid) -> tokens (B, steps, patch² · digits), both in reading order."""
        side, p, base = (
            self.config.grid // self.config.patch,
            self.config.patch,
            self.config.codebook_size,
        )
        # A code in digits of the base, the highest first, each (B, grid, grid).
        places = [codes // base**k % base for k in reversed(range(self.config.digits))]
        tokens = torch.stack(places, dim=-1).view(-1, side, p, side, p, self.config.digits)
        # (B, side, p, side, p, digits) -> (B, side, side, p, p, digits): a block's tokens together.
        return tokens.transpose(2, 3).reshape(-1, side * side, self.block_codes)

    def to_grid(self, blocks: Tensor) -> Tensor:
        """Inverse of ``to_blocks``."""
        side, p, base = (
            self.config.grid // self.config.patch,
            self.config.patch,
            self.config.codebook_size,
        )
        tokens = blocks.view(-1, side, side, p, p, self.config.digits)
        codes = torch.zeros_like(tokens[..., 0])
        for digit in tokens.unbind(-1):  # (B, side, side, p, p), the highest first
            codes = codes * base + digit
        # (B, side, side, p, p) -> (B, side, p, side, p) -> (B, grid, grid)
        return codes.transpose(2, 3).reshape(-1, side * p, side * p)

    def embed(self, blocks: Tensor) -> Tensor:
        """Embeddings (…, patch² · digits, code_dim) of whole blocks of tokens."""
        return self.code_embedding(blocks + torch.tensor(self.offsets, device=blocks.device))

    def positions(self) -> Tensor:
        """Factorised positions of the blocks, (steps, dim)."""
        return (self.row_position[:, None] + self.column_position[None]).flatten(0, 1)

    def forward(self, text_ids: Tensor, codes: Tensor) -> Tensor:
        """Logits under teacher forcing.

        Args:
            text_ids: (B, T) int64 with T <= text_length; id 0 is padding.
            codes: (B, grid, grid) int64.

        Returns:
            (B, steps, patch² · digits, codebook_size): logits of each token given all before it.
        """
        blocks = self.to_blocks(codes)
        hidden = self.trunk(text_ids, blocks)
        # (B, steps, block · code_dim) -> (B, steps, block · head_dim): of the tokens before each.
        past = F.linear(self.embed(blocks).flatten(2), self.head_past * self.past_mask())
        # (B, steps, block, head_dim), then logits (B, steps, block, codebook_size).
        x = (self.head_in(hidden) + past).unflatten(-1, (self.block_codes, -1))
        return self.head(self.head_norm(self.head_mlp(x)))

    def past_mask(self) -> Tensor:
        """1 where ``head_past`` may look, 0 elsewhere; the same shape."""
        k, c = self.block_codes, self.config
        mask = torch.ones(k, k, device=self.head_past.device).tril(-1)  # row k: tokens 0 … k - 1
        return mask.repeat_interleave(c.head_dim, 0).repeat_interleave(c.code_dim, 1)

    def trunk(self, text_ids: Tensor, blocks: Tensor) -> Tensor:
        """Hidden states (B, steps, dim); state n predicts block n from the blocks before it."""
        length, steps = text_ids.shape[1], blocks.shape[1]
        text = self.text_embedding(text_ids) + self.text_position[:length]
        past = self.block_in(self.embed(blocks[:, :-1]).flatten(2))  # (B, steps - 1, dim)
        start = self.start.to(past.dtype).expand(len(text), 1, -1)
        image = torch.cat([start, past], dim=1) + self.positions()
        x = torch.cat([text, image.to(text.dtype)], dim=1)
        mask = torch.ones(length + steps, length + steps, dtype=torch.bool, device=x.device).tril()
        mask[:length, :length] = True  # the text sees itself whole, the picture all before it
        visible = F.pad(text_ids != PAD_ID, (0, steps), value=True)
        mask = mask & visible[:, None, None, :]  # (B, 1, T, T), nobody sees padding
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x[:, length:])

    def new_cache(self, batch_size: int, device: torch.device | str, dtype: torch.dtype) -> KVCache:
        """An empty static cache for ``batch_size`` rows."""
        c = self.config
        shape = (c.depth, batch_size, c.heads, c.text_length + self.num_steps, c.dim // c.heads)
        visible = torch.ones(batch_size, shape[3], dtype=torch.bool, device=device)
        empty = torch.zeros(shape, device=device, dtype=dtype)
        return KVCache(empty, empty.clone(), visible)

    def prefill(self, text_ids: Tensor, cache: KVCache) -> Tensor:
        """Read the text (B, text_length); returns the hidden state (B, dim) of the first block."""
        length = self.config.text_length
        cache.visible[:, :length] = text_ids != PAD_ID
        text = self.text_embedding(text_ids) + self.text_position
        start = (self.start + self.positions()[0]).to(text.dtype).expand(len(text), 1, -1)
        mask = torch.ones(length + 1, length + 1, dtype=torch.bool, device=text.device)
        mask[:length, length] = False  # the text does not see the start of the picture
        return self._advance(torch.cat([text, start], dim=1), cache, 0, mask)

    def step(self, block_codes: Tensor, cache: KVCache) -> Tensor:
        """Read one block (B, patch² · digits) and return the hidden state (B, dim) of the next."""
        cache.blocks += 1
        x = self.block_in(self.embed(block_codes).flatten(1))
        x = x + self.positions()[cache.blocks].to(x.dtype)
        start = self.config.text_length + cache.blocks
        mask = torch.ones(1, start + 1, dtype=torch.bool, device=x.device)
        return self._advance(x[:, None], cache, start, mask)

    def _advance(self, x: Tensor, cache: KVCache, start: int, mask: Tensor) -> Tensor:
        mask = mask & cache.visible[:, None, None, : start + x.shape[1]]  # (B, 1, T, start + T)
        for i, block in enumerate(self.blocks):
            x = cast(Block, block).cached(x, cache.keys[i], cache.values[i], start, mask)
        return self.norm(x[:, -1])

    def sample_block(self, hidden: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Draw the codes of one block.

        Args:
            hidden: (B, dim) from ``prefill`` or ``step``.
            choose: maps logits (B, codebook_size) to ids (B,); called once a token of the block.

        Returns:
            (B, patch² · digits) int64.
        """
        x = self.head_in(hidden).unflatten(-1, (self.block_codes, -1))  # (B, block, head_dim)
        # (block, head_dim, block, code_dim): [j, :, k] conditions the head of token j on token k.
        past = self.head_past.unflatten(1, (self.block_codes, -1)).unflatten(
            0, (self.block_codes, -1)
        )
        codes: list[Tensor] = []
        for k in range(self.block_codes):
            codes.append(choose(self.head(self.head_norm(self.head_mlp(x[:, k])))))  # (B,)
            if k + 1 < self.block_codes:
                known = self.code_embedding(codes[-1] + self.offsets[k])  # (B, code_dim)
                # (B, later · head_dim): added to the heads of the tokens after this one.
                added = F.linear(known, past[k + 1 :, :, k].flatten(0, 1))
                later = x[:, k + 1 :] + added.unflatten(-1, (-1, x.shape[-1]))
                x = torch.cat([x[:, : k + 1], later], dim=1)
        return torch.stack(codes, dim=1)


def build(config: Mapping[str, Any]) -> ImageTransformer:
    """Build an untrained transformer from the fields of ``TransformerConfig``."""
    return ImageTransformer(TransformerConfig(**config))


def config_dict(config: TransformerConfig) -> dict[str, Any]:
    """The configuration as plain data for ``config.json``."""
    return asdict(config)

"""DALL·E's transformer: one decoder over a single stream of text tokens and image codes.

Image codes are read and written in square blocks (2 by 2 by default): the trunk takes one step a
block, and a small causal head emits the codes inside the block one after the other. With a block
of one code this is the plain decoder of the paper; with four, the trunk takes a quarter of the
steps. The text is a prefix that attends to itself in both directions.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2; blocks with a depth
head: Lee et al., "Autoregressive Image Generation using Residual Quantization" (2022), section
3.2; QK norm: Henry et al., "Query-Key Normalization for Transformers" (2020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

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
    """

    text_vocab_size: int = 3072
    text_length: int = 32
    codebook_size: int = 512
    digits: int = 2
    grid: int = 16
    patch: int = 2
    dim: int = 384
    depth: int = 8
    heads: int = 6
    code_dim: int = 128
    head_dim: int = 256
    head_depth: int = 2
    head_heads: int = 4


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
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, self.width)).permute(2, 0, 3, 1, 4)
        return self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype), v

    def merge(self, x: Tensor) -> Tensor:
        """(B, heads, T, width) -> (B, T, dim)."""
        return self.proj(x.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block with a SwiGLU feed-forward layer."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.attn = Attention(dim, heads)
        hidden = dim * 8 // 3 // 32 * 32
        self.up = nn.Linear(dim, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def mlp(self, x: Tensor) -> Tensor:
        """Feed-forward residual branch, (B, T, dim) to the same."""
        gate, value = self.up(self.norm2(x)).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """(B, T, dim) to the same; ``mask`` is True where attention is allowed."""
        q, k, v = self.attn.split(self.norm1(x))
        x = x + self.attn.merge(F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal))
        return x + self.mlp(x)

    def cached(self, x: Tensor, keys: Tensor, values: Tensor, start: int, mask: Tensor) -> Tensor:
        """Like ``forward`` for T new positions from ``start``, writing to a cache of this layer."""
        q, k, v = self.attn.split(self.norm1(x))
        stop = start + x.shape[1]
        keys[:, :, start:stop], values[:, :, start:stop] = k, v
        attended = F.scaled_dot_product_attention(q, keys[:, :, :stop], values[:, :, :stop], mask)
        x = x + self.attn.merge(attended)
        return x + self.mlp(x)


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
        offsets = torch.arange(self.block_codes) % config.digits * config.codebook_size
        self.offsets: list[int] = offsets.tolist()
        self.block_in = nn.Linear(self.block_codes * config.code_dim, config.dim, bias=False)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.row_position = nn.Parameter(torch.zeros(side, config.dim))
        self.column_position = nn.Parameter(torch.zeros(side, config.dim))
        self.blocks = nn.ModuleList(Block(config.dim, config.heads) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.dim)
        self.head_in = nn.Linear(config.dim, config.head_dim, bias=False)
        self.head_code_in = nn.Linear(config.code_dim, config.head_dim, bias=False)
        self.head_position = nn.Parameter(torch.zeros(self.block_codes, config.head_dim))
        self.head_blocks = nn.ModuleList(
            Block(config.head_dim, config.head_heads) for _ in range(config.head_depth)
        )
        self.head_norm = nn.RMSNorm(config.head_dim)
        self.head = nn.Linear(config.head_dim, config.codebook_size, bias=False)

    def initialise(self) -> None:
        """Initialise for training: normal weights, residual outputs scaled down by depth."""
        for name, p in self.named_parameters():
            if p.ndim >= 2 or name == "start":
                nn.init.normal_(p, std=0.02)
            if name.endswith(("proj.weight", "down.weight")):
                nn.init.normal_(p, std=0.02 / (2 * self.config.depth) ** 0.5)

    def to_blocks(self, codes: Tensor) -> Tensor:
        """Grid (B, grid, grid) -> tokens (B, steps, patch² · digits), both in reading order."""
        side, p, base = (
            self.config.grid // self.config.patch,
            self.config.patch,
            self.config.codebook_size,
        )
        places = [codes // base**k % base for k in reversed(range(self.config.digits))]
        tokens = torch.stack(places, dim=-1).view(-1, side, p, side, p, self.config.digits)
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
        for digit in tokens.unbind(-1):
            codes = codes * base + digit
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
        inputs = self.head_in(hidden)[:, :, None] + self.head_position
        previous = self.head_code_in(self.embed(blocks)[:, :, :-1])
        inputs = torch.cat([inputs[:, :, :1], inputs[:, :, 1:] + previous], dim=2)
        x = inputs.flatten(0, 1)
        for block in self.head_blocks:
            x = block(x, causal=True)
        return self.head(self.head_norm(x)).unflatten(0, hidden.shape[:2])

    def trunk(self, text_ids: Tensor, blocks: Tensor) -> Tensor:
        """Hidden states (B, steps, dim); state n predicts block n from the blocks before it."""
        length, steps = text_ids.shape[1], blocks.shape[1]
        text = self.text_embedding(text_ids) + self.text_position[:length]
        past = self.block_in(self.embed(blocks[:, :-1]).flatten(2))
        start = self.start.to(past.dtype).expand(len(text), 1, -1)
        image = torch.cat([start, past], dim=1) + self.positions()
        x = torch.cat([text, image.to(text.dtype)], dim=1)
        mask = torch.ones(length + steps, length + steps, dtype=torch.bool, device=x.device).tril()
        mask[:length, :length] = True
        visible = F.pad(text_ids != PAD_ID, (0, steps), value=True)
        mask = mask & visible[:, None, None, :]
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
        mask[:length, length] = False
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
        mask = mask & cache.visible[:, None, None, : start + x.shape[1]]
        for i, block in enumerate(self.blocks):
            x = block.cached(x, cache.keys[i], cache.values[i], start, mask)
        return self.norm(x[:, -1])

    def sample_block(self, hidden: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Draw the codes of one block.

        Args:
            hidden: (B, dim) from ``prefill`` or ``step``.
            choose: maps logits (B, codebook_size) to ids (B,); called once a token of the block.

        Returns:
            (B, patch² · digits) int64.
        """
        base = self.head_in(hidden)[:, None] + self.head_position
        inputs, codes = base[:, :1], []
        for k in range(self.block_codes):
            x = inputs
            for block in self.head_blocks:
                x = block(x, causal=True)
            codes.append(choose(self.head(self.head_norm(x[:, -1]))))
            if k + 1 < self.block_codes:
                known = self.head_code_in(self.code_embedding(codes[-1] + self.offsets[k]))
                inputs = torch.cat([inputs, (base[:, k + 1] + known)[:, None]], dim=1)
        return torch.stack(codes, dim=1)


def build(config: Mapping[str, Any]) -> ImageTransformer:
    """Build an untrained transformer from the fields of ``TransformerConfig``."""
    return ImageTransformer(TransformerConfig(**config))


def config_dict(config: TransformerConfig) -> dict[str, Any]:
    """The configuration as plain data for ``config.json``."""
    return asdict(config)

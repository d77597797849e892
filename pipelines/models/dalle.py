"""DALL·E's transformer: one decoder over a single stream of text tokens and image codes.

Image codes are read and written in square blocks (2 by 2 by default): the trunk takes one step a
block, and a small head emits the codes inside the block one after the other. With a block of one
code this is the plain decoder of the paper; with four, the trunk takes a quarter of the steps.
Between text and picture may stand a *plan*, a few tokens that say what the caption leaves open
(``pipelines.world.plans``), and then layers. What a thing looks like painted or in a medium is one
function of what it looks like in its own colours: it is written twice, first as a draft, and each
block of the finished layer reads the draft's at its place, in the trunk and in the head. Inside a
block the few codes so far reach the head through one masked matrix, which costs a CPU far less than
attention over rows of eight. The text is a prefix that attends to itself in both directions; a
frozen sentence encoder may have read it first.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2; blocks with a head
of their own: Lee et al., "Autoregressive Image Generation using Residual Quantization" (2022),
section 3.2; masked matrices: Germain et al., "MADE: Masked Autoencoder for Distribution
Estimation" (2015), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.dalle_state import KVCache, Logits
from pipelines.models.transformer import Block, FeedForward

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
        text_dim: width of a text token's own embedding; 0 is that of the trunk.
        sentence_dim: width of the states that a sentence encoder gives for each text token and that
            are added to its embedding; 0 for no sentence encoder.
        plan_length, plan_vocab_size: most tokens of a plan and how many there are; 0 is no plan.
        layers: with plans, how many layers a picture has at most, each a grid of its own: the
            ground, and the things of the plan in its order, perhaps each with a draft; 0 for one
            grid that is all of it.
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
    text_dim: int = 0
    sentence_dim: int = 0
    plan_length: int = 0
    plan_vocab_size: int = 0
    layers: int = 0


class ImageTransformer(nn.Module):
    """Logits of image codes given a text and the codes before them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.side = side = config.grid // config.patch
        self.layer_steps, self.block_codes = side * side, config.patch**2 * config.digits
        self.num_steps = self.layer_steps * max(2 * config.layers - 1, 1)  # the ground has no draft
        self.text_embedding = nn.Embedding(config.text_vocab_size, config.text_dim or config.dim)
        if config.text_dim:
            self.text_in = nn.Linear(config.text_dim, config.dim, bias=False)
        if config.sentence_dim:
            self.sentence_in = nn.Linear(config.sentence_dim, config.dim, bias=False)
        self.text_position = nn.Parameter(torch.zeros(config.text_length, config.dim))
        self.code_embedding = nn.Embedding(config.digits * config.codebook_size, config.code_dim)
        # Token k of a block looks its digit up in a table of its own, one after the other in one.
        offsets = torch.arange(self.block_codes) % config.digits * config.codebook_size
        self.offsets: list[int] = offsets.tolist()
        self.block_in = nn.Linear(self.block_codes * config.code_dim, config.dim, bias=False)
        self.start = nn.Parameter(torch.zeros(config.dim))
        if config.plan_length:
            self.plan_embedding = nn.Embedding(config.plan_vocab_size, config.dim)
            # Of the token that stands before the plan, and of the plan's own.
            self.plan_position = nn.Parameter(torch.zeros(config.plan_length + 1, config.dim))
            self.plan_head = nn.Linear(config.dim, config.plan_vocab_size)
        if config.layers:
            # Of layers in their own colours, and of those that are finished after a draft.
            self.layer_position = nn.Parameter(torch.zeros(2 * config.layers, config.dim))
            self.draft_in = nn.Linear(self.block_codes * config.code_dim, config.dim, bias=False)
            self.draft_out = nn.Linear(self.block_codes * config.code_dim, config.dim, bias=False)
        self.row_position = nn.Parameter(torch.zeros(side, config.dim))
        self.column_position = nn.Parameter(torch.zeros(side, config.dim))
        self.blocks = nn.ModuleList(Block(config.dim, config.heads) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.dim)
        self.head_in = nn.Linear(config.dim, self.block_codes * config.head_dim)
        # Row block k: how tokens 0 … k - 1 of a block condition the head of token k.
        self.head_past = nn.Parameter(torch.zeros(self.block_codes * config.head_dim,
                                                  self.block_codes * config.code_dim))
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
        if self.config.text_dim:
            # A word that training never shows adds nothing to what the sentence encoder says of it.
            nn.init.zeros_(self.text_embedding.weight)
            nn.init.normal_(self.text_in.weight, std=self.config.text_dim**-0.5)
        if self.config.sentence_dim:
            nn.init.normal_(self.sentence_in.weight, std=self.config.sentence_dim**-0.5)

    def to_blocks(self, codes: Tensor) -> Tensor:
        """Grid (B, grid, grid) -> tokens (B, steps, patch² · digits), both in reading order; with
        layers (B, L, grid, grid), one after the other."""
        if codes.ndim == 4:
            return self.to_blocks(codes.flatten(0, 1)).unflatten(0, codes.shape[:2]).flatten(1, 2)
        side, p, base = self.side, self.config.patch, self.config.codebook_size
        # A code in digits of the base, the highest first, each (B, grid, grid).
        places = [codes // base**k % base for k in reversed(range(self.config.digits))]
        tokens = torch.stack(places, dim=-1).view(-1, side, p, side, p, self.config.digits)
        # (B, side, p, side, p, digits) -> (B, side, side, p, p, digits): a block's tokens together.
        return tokens.transpose(2, 3).reshape(-1, side * side, self.block_codes)

    def to_grid(self, blocks: Tensor) -> Tensor:
        """Inverse of ``to_blocks``; with layers (B, L, grid, grid)."""
        side, p, base = self.side, self.config.patch, self.config.codebook_size
        tokens = blocks.reshape(-1, side, side, p, p, self.config.digits)
        codes = torch.zeros_like(tokens[..., 0])
        for digit in tokens.unbind(-1):  # (B, side, side, p, p), the highest first
            codes = codes * base + digit
        # (B, side, side, p, p) -> (B, side, p, side, p) -> (B, grid, grid)
        grid = codes.transpose(2, 3).reshape(-1, side * p, side * p)
        return grid.unflatten(0, (len(blocks), -1)) if self.config.layers else grid

    def embed(self, blocks: Tensor) -> Tensor:
        """Embeddings (…, patch² · digits, code_dim) of whole blocks of tokens."""
        return self.code_embedding(blocks + torch.tensor(self.offsets, device=blocks.device))

    def drafts(self, blocks: Tensor, slots: Tensor) -> Tensor:
        """What blocks (B, steps, patch² · digits) of finished layers have for a draft, embedded:
        (B, steps, patch² · digits · code_dim), zeros elsewhere."""
        before = F.pad(self.embed(blocks).flatten(2), (0, 0, self.layer_steps, 0))
        finished = (slots >= self.config.layers).repeat_interleave(self.layer_steps, 1)
        return before[:, : blocks.shape[1]] * finished[..., None]

    def positions(self, slots: Tensor | None) -> Tensor:
        """Factorised positions of the blocks, (steps, dim), or of those of layers, (B, steps, dim);
        ``slots`` as for ``forward``."""
        cells = (self.row_position[:, None] + self.column_position[None]).flatten(0, 1)
        if slots is None:
            return cells
        layers = self.layer_position[slots.clamp_min(0)]
        return (layers[:, :, None] + cells).flatten(1, 2)

    def forward(self, text_ids: Tensor, codes: Tensor, states: Tensor | None = None,
                plan: Tensor | None = None, slots: Tensor | None = None) -> Logits:
        """Logits under teacher forcing.

        Args:
            text_ids: (B, T) int64 with T <= text_length; id 0 is padding.
            codes: (B, grid, grid) int64; with layers (B, L, grid, grid), L of them at most.
            states: (B, T, sentence_dim) of a sentence encoder, where the model has one.
            plan: (B, P) int64 with P <= plan_length, padding at the end, where it has plans.
            slots: (B, L) int64, where it has layers, what each is: n below ``layers`` the ground
                (0) or the n-th thing in its own colours; n + ``layers`` that thing finished, after
                its draft, which is the layer before; below 0 where a picture has no such layer.
        """
        blocks = self.to_blocks(codes)
        planned, hidden = self.trunk(text_ids, blocks, states, plan, slots)
        # (B, steps, block · code_dim) -> (B, steps, block · head_dim): of the tokens before each.
        past = F.linear(self.embed(blocks).flatten(2), self.head_past * self.past_mask())
        # (B, steps, block, head_dim), then logits (B, steps, block, codebook_size).
        x = (self.head_in(hidden) + past).unflatten(-1, (self.block_codes, -1))
        logits = self.head(self.head_norm(self.head_mlp(x)))
        return Logits(logits, None if plan is None else self.plan_head(planned))

    def past_mask(self) -> Tensor:
        """1 where ``head_past`` may look, 0 elsewhere; the same shape."""
        k, c = self.block_codes, self.config
        mask = torch.ones(k, k, device=self.head_past.device).tril(-1)  # row k: tokens 0 … k - 1
        return mask.repeat_interleave(c.head_dim, 0).repeat_interleave(c.code_dim, 1)

    def embed_text(self, text_ids: Tensor, states: Tensor | None) -> Tensor:
        """Embeddings (B, T, dim) of text tokens, and of what a sentence encoder made of them."""
        text = self.text_embedding(text_ids)
        if self.config.text_dim:
            text = self.text_in(text)
        if states is not None:
            text = text + self.sentence_in(states.to(text.dtype))
        return text + self.text_position[: text_ids.shape[1]].to(text.dtype)

    def embed_plan(self, plan: Tensor) -> Tensor:
        """Embeddings (B, 1 + P, dim) of the token before a plan and of its own (B, P)."""
        tokens = F.pad(self.plan_embedding(plan), (0, 0, 1, 0))
        return tokens + self.plan_position[: plan.shape[1] + 1].to(tokens.dtype)

    def trunk(self, text_ids: Tensor, blocks: Tensor, states: Tensor | None = None,
              plan: Tensor | None = None, slots: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Hidden states (B, 1 + P, dim) of the plan (of no width without one) and (B, steps, dim);
        state n of the picture predicts block n from the blocks before it."""
        x, mask, planned = self._row(text_ids, blocks, states, plan, slots)
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        hidden = x[:, planned:]
        if slots is not None:
            hidden = hidden + self.draft_out(self.drafts(blocks, slots))
        return x[:, text_ids.shape[1]:planned], hidden

    def attention(self, text_ids: Tensor, blocks: Tensor, states: Tensor | None = None,
                  plan: Tensor | None = None, slots: Tensor | None = None) -> Tensor:
        """What each block of a picture looked at under teacher forcing, for which see ``trunk``.

        Returns:
            (depth, B, heads, steps, T + … + steps) float32: of the state that predicts a block its
            weights on the text, the plan, where there is one, and the row of the picture; 1
            together.
        """
        x, mask, planned = self._row(text_ids, blocks, states, plan, slots)
        seen = []
        for block in self.blocks:
            x, weights = cast(Block, block).looked(x, mask)
            seen.append(weights[:, :, planned:])
        return torch.stack(seen)

    def _row(self, text_ids: Tensor, blocks: Tensor, states: Tensor | None,
             plan: Tensor | None, slots: Tensor | None) -> tuple[Tensor, Tensor, int]:
        """Text, plan and picture as one row (B, T, dim), who sees whom (B, 1, T, T), and where the
        picture begins."""
        text = self.embed_text(text_ids, states)
        past = self.block_in(self.embed(blocks[:, :-1]).flatten(2))  # (B, steps - 1, dim)
        start = self.start.to(past.dtype).expand(len(text), 1, -1)
        image = torch.cat([start, past], dim=1) + self.positions(slots)
        if slots is not None:
            image = image + self.draft_in(self.drafts(blocks, slots))
        parts, visible = [text], [text_ids != PAD_ID]
        if plan is not None:
            parts.append(self.embed_plan(plan).to(text.dtype))
            visible.append(F.pad(plan != PAD_ID, (1, 0), value=True))
        length, planned = text.shape[1], sum(part.shape[1] for part in parts)
        x = torch.cat([*parts, image.to(text.dtype)], dim=1)
        seen = F.pad(torch.cat(visible, 1), (0, image.shape[1]), value=True)
        total = x.shape[1]
        mask = torch.ones(total, total, dtype=torch.bool, device=x.device).tril()
        mask[:length, :length] = True  # the text sees itself whole, the picture all before it
        mask = mask & seen[:, None, None, :]  # (B, 1, T, T), nobody sees padding
        return x, mask, planned

    def new_cache(self, batch_size: int, device: torch.device | str, dtype: torch.dtype) -> KVCache:
        """An empty static cache for ``batch_size`` rows."""
        c = self.config
        most = c.text_length + self.num_steps + (c.plan_length + 1 if c.plan_length else 0)
        shape = (c.depth, batch_size, c.heads, most, c.dim // c.heads)
        visible = torch.ones(batch_size, most, dtype=torch.bool, device=device)
        empty = torch.zeros(shape, device=device, dtype=dtype)
        return KVCache(empty, empty.clone(), visible)

    def prefill(self, text_ids: Tensor, cache: KVCache, states: Tensor | None = None) -> Tensor:
        """Read the text (B, T <= text_length), and where there are no plans the picture's start.

        Returns:
            The hidden state (B, dim) of the first token of the plan, or of the first block.
        """
        length = text_ids.shape[1]
        cache.visible[:, :length] = text_ids != PAD_ID
        text = self.embed_text(text_ids, states)
        if self.config.plan_length:
            start = self.embed_plan(text_ids[:, :0])
        else:
            start = (self.start + self.positions(None)[0]).to(text.dtype).expand(len(text), 1, -1)
        mask = torch.ones(length + 1, length + 1, dtype=torch.bool, device=text.device)
        mask[:length, length] = False  # the text does not see what follows it
        return self._advance(torch.cat([text, start.to(text.dtype)], dim=1), cache, mask)

    def plan_step(self, tokens: Tensor, position: int, cache: KVCache) -> Tensor:
        """Read one token of each plan.

        Args:
            tokens: (B,) int64; padding is not seen by what follows.
            position: the token's in the plan, from 0.
            cache: of ``prefill``.

        Returns:
            The hidden state (B, dim) of the plan's next token.
        """
        cache.visible[:, cache.length] = tokens != PAD_ID
        x = self.plan_embedding(tokens) + self.plan_position[position + 1]
        return self._next(x, cache)

    def start_picture(self, cache: KVCache, slots: Tensor) -> Tensor:
        """After all of a plan: the hidden state (B, dim) of the first block.

        Args:
            cache: of the plan's steps.
            slots: (B, L) int64, see ``forward``.
        """
        cache.slots = slots
        x = self.start + self.positions(slots[:, :1])[:, 0]
        return self._next(x.to(cache.keys.dtype), cache)

    def step(self, block_codes: Tensor, cache: KVCache) -> Tensor:
        """Read one block (B, patch² · digits) and return the hidden state (B, dim) of the next."""
        cache.read.append(self.embed(block_codes).flatten(1))
        x, place = self.block_in(cache.read[-1]), len(cache.read)
        if cache.slots is None:
            return self._next(x + self.positions(None)[place].to(x.dtype), cache)
        layer, cell = divmod(place, self.layer_steps)
        slots = cache.slots[:, layer : layer + 1]
        draft = cache.read[place - self.layer_steps if layer else 0] * (slots >= self.config.layers)
        x = x + self.positions(slots)[:, cell].to(x.dtype) + self.draft_in(draft)
        return self._next(x, cache) + self.draft_out(draft)

    def _next(self, x: Tensor, cache: KVCache) -> Tensor:
        mask = torch.ones(1, cache.length + 1, dtype=torch.bool, device=x.device)
        return self._advance(x[:, None], cache, mask)

    def _advance(self, x: Tensor, cache: KVCache, mask: Tensor) -> Tensor:
        start, cache.length = cache.length, cache.length + x.shape[1]
        mask = mask & cache.visible[:, None, None, : cache.length]  # (B, 1, T, start + T)
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
        past = self.head_past.view(self.block_codes, x.shape[-1], self.block_codes, -1)
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

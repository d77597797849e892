"""A CLIP that reads captions cell by cell: for a guide whose picture tower is a code of patches.

Such a tower has some numbers for each cell of the picture. One pooled state of the caption that a
matrix turns into all of them must learn each thing anew for every place in which it can stand; here
each cell asks the caption what it shows, by weights that all cells share.

Source: queries that are decoded in parallel: Carion et al., "End-to-End Object Detection with
Transformers" (2020), section 3.2.
"""

from __future__ import annotations

from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import text_global_pool
from torch import Tensor, nn


class AskingBlock(nn.Module):
    """Attention of cells to the caption's tokens, and a feed-forward layer.

    Args:
        width: of the states of cells and tokens.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(),
                                 nn.Linear(4 * width, width))

    def forward(self, x: Tensor, tokens: Tensor, padded: Tensor) -> Tensor:
        """States of cells (B, C, W) from those of tokens (B, T, W), padded (B, T) bool."""
        # Queries are the cells, keys and values the tokens: (B, C, W).
        asked, _ = self.attention(self.norm(x), tokens, tokens, padded, need_weights=False)
        x = x + asked
        return x + self.mlp(self.norm_2(x))


class CellTower(nn.Module):
    """Refines the embedding of a caption by what each cell asks of the caption's tokens.

    Args:
        embed_dim: numbers of an embedding, D; all cells have equally many of them, N.
        cells: of the picture, C.
        states_dim: numbers of a token's state, S.
        width: of the cells' states.
        heads: of their attention.
        layers: how often they ask.
    """

    def __init__(self, embed_dim: int, cells: int, states_dim: int, width: int, heads: int,
                 layers: int) -> None:
        super().__init__()
        self.numbers = embed_dim // cells
        self.known = nn.Linear(self.numbers, width)
        self.places = nn.Parameter(0.3 * torch.randn(cells, width))
        self.told = nn.Sequential(nn.LayerNorm(states_dim), nn.Linear(states_dim, width))
        self.blocks = nn.ModuleList(AskingBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.change = nn.Linear(width, self.numbers)
        # A tower that was not trained yet changes nothing.
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)

    def cells_of(self, embedding: Tensor) -> Tensor:
        """Embeddings (B, D) of any length as cells (B, C, N), of length √D together."""
        length = embedding.shape[1] ** 0.5  # so that a number has size 1 on average
        return length * F.normalize(embedding, dim=-1).unflatten(1, (-1, self.numbers))

    def forward(self, cells: Tensor, states: Tensor, padded: Tensor,
                chosen: Tensor | None = None) -> Tensor:
        """Refine cells; none looks at another, so that any of them can be refined alone.

        Args:
            cells: (B, C, N), as ``cells_of`` gives them.
            states: (B, T, S) of the caption's tokens.
            padded: (B, T) bool, true where there is no token.
            chosen: (B, K) int64, which cells; all by default.

        Returns:
            (B, K, N).
        """
        places = self.places.expand(len(cells), -1, -1)  # (B, C, W)
        if chosen is not None:
            cells, places = (x.gather(1, chosen[..., None].expand(-1, -1, x.shape[-1]))
                             for x in (cells, places))
        # (B, T, S) -> (B, T, W), and (B, K, N) -> (B, K, W).
        tokens, x = self.told(states), self.known(cells) + places
        for block in self.blocks:
            x = block(x, tokens, padded)
        return cells + self.change(self.norm(x))


class CellCLIP(open_clip.CLIP):
    """``open_clip.CLIP`` with a ``CellTower`` behind its text tower.

    Args:
        cells: ``width``, ``heads`` and ``layers`` of the cell tower.
        config: the arguments of ``open_clip.CLIP``; the picture tower pools by one head a cell.
    """

    def __init__(self, cells: dict[str, int], **config: Any) -> None:
        super().__init__(**config)
        text: dict[str, Any] = config["text_cfg"]
        self.pad_id = text.get("pad_id", 0)
        self.cells = CellTower(config["embed_dim"], config["vision_cfg"]["attn_pooler_heads"],
                               text["width"], **cells)

    def read(self, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the cell tower reads of token ids (B, T) int64.

        Returns:
            Cells (B, C, N), states of the tokens (B, T, S), and where there is padding, (B, T)
            bool.
        """
        clip: Any = self
        x = clip.token_embedding(text) + clip.positional_embedding  # (B, T, S)
        *early, last = clip.transformer.resblocks
        for block in early:
            x = block(x, attn_mask=clip.attn_mask)
        # The last block serves the pooled token alone; what it makes of the others means nothing.
        states = x
        x = clip.ln_final(last(x, attn_mask=clip.attn_mask))
        pooled = text_global_pool(x, text, clip.text_pool_type, eos_token_id=clip.text_eos_id)
        return self.cells.cells_of(pooled @ clip.text_projection), states, text == self.pad_id

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Features (B, D) of token ids (B, T) int64, of unit length if ``normalize``."""
        features = self.cells(*self.read(text)).flatten(1)
        return F.normalize(features, dim=-1) if normalize else features

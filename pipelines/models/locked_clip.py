"""A CLIP whose towers begin with networks that had learnt to see and to read, and stay as they are.

A picture is looked at by EfficientNet-Lite0 (``pipelines.models.feature_maps``); a small network
reads its cells, merges four of them into one, and relates them to each other. A text is read word
by word: MiniLM's embedding of each word alone, so that a word which no training showed lies near
one that it did, and a small transformer over the words, which relates them as the other does the
cells. Both were trained contrastively, against captions that are nearly right.

It has the interface of ``pipelines.models.clip.ClipModel``.

Source: Zhai et al., "LiT: Zero-Shot Transfer with Locked-image text Tuning" (2022), section 3; Zhai
et al., "Sigmoid Loss for Language Image Pre-Training" (2023), section 3.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.models.efficientnet import EfficientNet
from pipelines.models.feature_maps import (
    MIDDLE_STRIDE,
    CellBlock,
    FeatureMaps,
    Gather,
    feature_maps,
)
from pipelines.models.minilm import SentenceEncoder

HEAD_WIDTH = 32  # channels of an attention head
KNOWN_WORDS = 4096  # of which MiniLM's embeddings are kept
_WORDS = re.compile(r"[^\W_]+|,")


def words_of(text: str, most: int) -> list[str]:
    """The words of a text and its commas, lower-cased, the first ``most``; never none."""
    return _WORDS.findall(text.lower())[:most] or [","]


class Attention(nn.Module):
    """A sequence's attention to itself, written out: the fused kernel is slow backward on a CPU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(B, N, width) to the same; ``bias`` (B, 1, 1, N) is -inf where nothing stands."""
        count, length, width = x.shape
        q, k, v = self.qkv(x).view(count, length, 3, self.heads, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        scores = (q * HEAD_WIDTH**-0.5) @ k.transpose(-1, -2)
        scores = scores if bias is None else scores + bias.to(scores.dtype)
        found = scores.softmax(-1) @ v
        return self.out(found.transpose(1, 2).reshape(count, length, width))


class Block(nn.Module):
    """A transformer's block, normalised before each part."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See ``Attention``."""
        x = x + self.attention(self.norm1(x), bias)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Tower(nn.Module):
    """A sequence to one vector: blocks, whose first state answers for all of it."""

    def __init__(self, width: int, layers: int, length: int, embed_dim: int) -> None:
        super().__init__()
        self.position = nn.Parameter(0.02 * torch.randn(length + 1, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(2 * width, embed_dim, bias=False)

    def forward(self, x: Tensor, own: Tensor | None = None) -> Tensor:
        """(B, N, width) to (B, embed_dim); ``own`` (B, N) bool says which states there are."""
        first = self.position[0].to(x.dtype).expand(len(x), 1, -1)
        x = torch.cat([first, x + self.position[1:x.shape[1] + 1].to(x.dtype)], 1)
        bias = weights = None
        if own is not None:
            own = F.pad(own, (1, 0), value=True)
            bias = torch.zeros(own.shape, device=x.device).masked_fill(~own, float("-inf"))
            bias, weights = bias[:, None, None], own[..., None].to(x.dtype)
        for block in self.blocks:
            x = block(x, bias)
        x = self.norm(x)
        mean = x.mean(1) if weights is None else (x * weights).sum(1) / weights.sum(1)
        return self.out(torch.cat([x[:, 0], mean], -1))


class LockedClip(nn.Module):
    """Pictures and texts in one space.

    Args:
        image_size: side in px of the squares that it looks at, a multiple of 32.
        embed_dim: length of an embedding.
        cell_width, cell_blocks: channels of the cells of 16 px, and blocks that read them.
        width, layers: of the transformer over cells of 32 px.
        text_width, text_layers: of the transformer over words.
        word_width: of the sentence encoder's embeddings.
        most_words: where longer texts are cut.

    Attributes:
        image: EfficientNet-Lite0; set by who loads the model.
        text: MiniLM; set likewise.
    """

    image: EfficientNet
    text: SentenceEncoder

    def __init__(self, image_size: int, embed_dim: int, cell_width: int, cell_blocks: int,
                 width: int, layers: int, text_width: int, text_layers: int,
                 word_width: int = 384, most_words: int = 40) -> None:
        super().__init__()
        self.image_size, self.most_words = image_size, most_words
        side = image_size // MIDDLE_STRIDE
        self.gather = Gather(cell_width)
        self.cell_position = nn.Parameter(0.02 * torch.randn(side, side, cell_width))
        self.cell_blocks = nn.ModuleList(CellBlock(cell_width) for _ in range(cell_blocks))
        self.cell_norm = nn.LayerNorm(cell_width)
        self.merge = nn.Linear(4 * cell_width, width)
        self.cells = Tower(width, layers, (side // 2) ** 2, embed_dim)
        self.read = nn.Sequential(nn.Linear(word_width, 2 * text_width), nn.GELU(),
                                  nn.Linear(2 * text_width, text_width))
        self.words = Tower(text_width, text_layers, most_words, embed_dim)
        self.log_scale = nn.Parameter(torch.tensor(2.3))
        self.bias = nn.Parameter(torch.tensor(-10.0))
        # Where its features are remembered and under which name; the model cache says it.
        self.remembered: tuple[Any, Hashable] | None = None
        self._known: dict[str, Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.log_scale.device

    @property
    def logit_scale(self) -> float:
        """Factor from cosine similarity to logits, as trained."""
        return float(self.log_scale.detach().float().exp())

    @property
    def logit_bias(self) -> float | None:
        """Bias of the logits: a picture and a text fit with the probability of their sigmoid."""
        return float(self.bias.detach())

    def read_cells(self, maps: FeatureMaps) -> Tensor:
        """What the cells of 16 px show, (B, S / 16, S / 16, cell_width)."""
        x = self.gather(maps)
        x = x + self.cell_position.to(x.dtype)
        for block in self.cell_blocks:
            x = block(x)
        return self.cell_norm(x)

    def relate_cells(self, cells: Tensor) -> Tensor:
        """The embedding (B, embed_dim) of a picture by its cells, of any length."""
        count, height, width, channels = cells.shape
        x = cells.view(count, height // 2, 2, width // 2, 2, channels).transpose(2, 3)
        return self.cells(self.merge(x.flatten(3).flatten(1, 2)))

    def relate_words(self, words: Tensor, own: Tensor) -> Tensor:
        """The embedding (N, embed_dim) of texts, of any length.

        Args:
            words: (N, T, word_width), MiniLM's embeddings of the words.
            own: (N, T) bool, which of them there are.
        """
        return self.words(self.read(words.to(self.log_scale.dtype)), own)

    def look(self, maps: FeatureMaps) -> Tensor:
        """Unit-length embeddings (B, embed_dim) float32 of pictures by their maps."""
        return F.normalize(self.relate_cells(self.read_cells(maps)).float(), dim=-1)

    def say(self, words: Tensor, own: Tensor) -> Tensor:
        """Unit-length embeddings (N, embed_dim) float32 of texts; see ``relate_words``."""
        return F.normalize(self.relate_words(words, own).float(), dim=-1)

    def _vector(self, word: str) -> Tensor:
        """MiniLM's embedding of a word, computed alone: the same whatever stands beside it."""
        if word not in self._known:
            if len(self._known) >= KNOWN_WORDS:
                self._known.clear()
            with torch.no_grad():
                self._known[word] = self.text([word])[0].float().cpu()
        return self._known[word]

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Unit-length text features (N, D), float32."""
        rows = [torch.stack([self._vector(word) for word in words_of(text, self.most_words)])
                for text in texts]
        words = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        own = torch.arange(words.shape[1]) < lengths[:, None]
        return self.say(words.to(self.device), own.to(self.device))

    def encode_image(self, pixels: Tensor, begun: Tensor | None = None) -> Tensor:
        """Unit-length picture features; differentiable in ``pixels``.

        Args:
            pixels: (B, 3, H, W) float in [0, 1], any size; resized to a square inside.
            begun: what ``image.begin`` makes of them, where they have the size that is looked at.

        Returns:
            (B, D) float32.
        """
        if pixels.shape[-2:] != (self.image_size, self.image_size):
            pixels = F.interpolate(pixels, (self.image_size, self.image_size), mode="bicubic",
                                   align_corners=False, antialias=True).clamp(0, 1)
        return self.look(feature_maps(self.image, pixels, begun))


def build(config: Mapping[str, Any]) -> LockedClip:
    """The untrained module without its parts.

    Args:
        config: the arguments of ``LockedClip``.
    """
    return LockedClip(**config)

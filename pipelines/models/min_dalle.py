"""DALL·E mini and mega in kuprel/min-dalle's format, written for speed.

A BART encoder reads the text once; a decoder writes 256 codes; a VQGAN's decoder draws them. The
keys and values of the text are computed once and shared by all pictures of a prompt, those of the
codes lie in a static cache, and rows with and without the caption go through in one batch. Layers
that see the same input are one matrix.

Source: Dayma et al., "DALL·E Mini" (2021), model card and report; Lewis et al., "BART" (2020),
section 2; normalisation: Shleifer, Weston, Ott, "NormFormer" (2021), section 2; gated layers:
Shazeer, "GLU Variants Improve Transformer" (2020).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from taming.modules.diffusionmodules.model import Decoder
from torch import Tensor, nn

from pipelines.models.fast_linear import Linear
from pipelines.models.min_dalle_tokenizer import MinDalleTokenizer

GRID = 16  # codes along one side of a picture
NUM_CODES = GRID * GRID
TEXT_LENGTH = 64
PAD_ID = 1
CODEBOOK_SIZE = 2**14
HEAD_WIDTH = 64


@dataclass(frozen=True)
class MinDalleConfig:
    """Shape of the transformer, all of it read off the files.

    Attributes:
        text_vocab_size: rows of the encoder's embedding.
        code_vocab_size: rows of the decoder's embedding, the start code included.
        dim: width.
        hidden: width of the gated layers.
        depth: layers of the encoder, and as many of the decoder.
        text_length: tokens of a text.
        num_codes: codes of a picture.
    """

    text_vocab_size: int
    code_vocab_size: int
    dim: int
    hidden: int
    depth: int
    text_length: int = TEXT_LENGTH
    num_codes: int = NUM_CODES

    @property
    def heads(self) -> int:
        """Heads of attention."""
        return self.dim // HEAD_WIDTH

    @property
    def start_code(self) -> int:
        """What the decoder reads first: the last row of its embedding, as it was trained."""
        return self.code_vocab_size - 1


class GatedLayer(nn.Module):
    """GELU-gated layer, normalised before and in the middle."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.middle_norm = nn.LayerNorm(dim), nn.LayerNorm(hidden)
        self.up, self.down = Linear(dim, 2 * hidden), Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) to the same, residual added."""
        gate, value = self.up(self.norm(x)).chunk(2, dim=-1)
        return x + self.down(self.middle_norm(F.gelu(gate) * value))


def _heads(x: Tensor) -> Tensor:
    """(B, T, dim) to (B, heads, T, HEAD_WIDTH)."""
    return x.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Self-attention over the text."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.out_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = Linear(dim, 3 * dim), Linear(dim, dim)
        self.mlp = GatedLayer(dim, hidden)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """(B, T, dim) to the same; ``visible`` (B, T) is False at padding."""
        q, k, v = (_heads(part) for part in self.qkv(self.norm(x)).chunk(3, dim=-1))
        attended = F.scaled_dot_product_attention(q, k, v, visible[:, None, None])
        return self.mlp(x + self.out_norm(self.out(attended.transpose(1, 2).flatten(2))))


class DecoderLayer(nn.Module):
    """Self-attention over the codes so far, attention to the text, gated layer."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.out_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = Linear(dim, 3 * dim), Linear(dim, dim)
        self.text_norm, self.text_out_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.text_kv = Linear(dim, 2 * dim)
        self.text_q, self.text_out = Linear(dim, dim), Linear(dim, dim)
        self.mlp = GatedLayer(dim, hidden)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, text: TextKeys, layer: int,
                place: int) -> Tensor:
        """One code of every row.

        Args:
            x: (rows, dim), the conditions one after the other.
            keys: (rows, heads, num_codes, HEAD_WIDTH), written at ``place``; and so ``values``.
            text: keys and values of the text.
            layer: which of them are this layer's.
            place: position of the code.
        """
        rows = len(x)
        q, k, v = self.qkv(self.norm(x)).view(rows, 3, -1, HEAD_WIDTH).unbind(1)
        keys[:, :, place], values[:, :, place] = k, v
        stop = place + 1
        attended = F.scaled_dot_product_attention(q[:, :, None], keys[:, :, :stop],
                                                  values[:, :, :stop])
        x = x + self.out_norm(self.out(attended.reshape(rows, -1)))
        # The pictures of one condition attend to the same text: they are its queries.
        conditions = text.keys.shape[1]
        q = _heads(self.text_q(self.text_norm(x)).view(conditions, rows // conditions, -1))
        attended = F.scaled_dot_product_attention(q, text.keys[layer], text.values[layer],
                                                  text.visible)
        x = x + self.text_out_norm(self.text_out(attended.transpose(1, 2).reshape(rows, -1)))
        return self.mlp(x)


@dataclass
class TextKeys:
    """What the decoder attends to of the text.

    Attributes:
        keys: (depth, conditions, heads, T, HEAD_WIDTH), and so ``values``.
        values: see ``keys``.
        visible: (conditions, 1, 1, T) bool, False at padding; None where there is none.
    """

    keys: Tensor
    values: Tensor
    visible: Tensor | None


@dataclass
class CodeCache:
    """Static keys and values of the codes, (depth, rows, heads, num_codes, HEAD_WIDTH) each.

    Attributes:
        length: codes read so far.
    """

    keys: Tensor
    values: Tensor
    length: int = 0


class TextEncoder(nn.Module):
    """Text ids to states."""

    def __init__(self, config: MinDalleConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.text_vocab_size, config.dim)
        self.position = nn.Embedding(config.text_length, config.dim)
        self.embedding_norm, self.norm = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.layers = nn.ModuleList(EncoderLayer(config.dim, config.hidden)
                                    for _ in range(config.depth))

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) int64 to (B, T, dim)."""
        x = self.embedding_norm(self.embedding(ids) + self.position.weight[:ids.shape[1]])
        for layer in self.layers:
            x = layer(x, ids != PAD_ID)
        return self.norm(x)


class CodeDecoder(nn.Module):
    """Writes codes, one after the other."""

    def __init__(self, config: MinDalleConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.code_vocab_size, config.dim)
        self.position = nn.Embedding(config.num_codes, config.dim)
        self.embedding_norm, self.norm = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.layers = nn.ModuleList(DecoderLayer(config.dim, config.hidden)
                                    for _ in range(config.depth))
        self.head = Linear(config.dim, config.code_vocab_size)

    def text_keys(self, states: Tensor, visible: Tensor) -> TextKeys:
        """Keys and values of a text, once for all steps and pictures.

        Args:
            states: (conditions, T, dim) from the encoder.
            visible: (conditions, T) bool, False at padding.
        """
        pairs = [layer.text_kv(states).chunk(2, dim=-1)  # type: ignore[operator]
                 for layer in self.layers]
        keys, values = (torch.stack([_heads(pair[i]) for pair in pairs]).contiguous()
                        for i in (0, 1))
        return TextKeys(keys, values, None if bool(visible.all()) else visible[:, None, None])

    def new_cache(self, rows: int) -> CodeCache:
        """An empty cache."""
        weight, c = self.embedding.weight, self.config  # the head's may be packed
        keys = torch.zeros(c.depth, rows, c.heads, c.num_codes, HEAD_WIDTH, device=weight.device,
                           dtype=weight.dtype)
        return CodeCache(keys, torch.zeros_like(keys))

    def forward(self, codes: Tensor, cache: CodeCache, text: TextKeys) -> Tensor:
        """Read the code before and score the next one.

        Args:
            codes: (rows,) int64: for each condition those of all pictures.
            cache: of as many rows; this code is added to it.
            text: of the conditions.

        Returns:
            (rows, CODEBOOK_SIZE) or as many codes as there are.
        """
        x = self.embedding(codes) + self.position.weight[cache.length]
        x = self.embedding_norm(x)
        for i, layer in enumerate(self.layers):
            x = layer(x, cache.keys[i], cache.values[i], text, i, cache.length)
        cache.length += 1
        return self.head(self.norm(x))[:, :CODEBOOK_SIZE]


class Detokenizer(nn.Module):
    """Codes to pictures, by the decoder of the VQGAN f16 16384."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CODEBOOK_SIZE, 256)
        self.post_quant_conv = nn.Conv2d(256, 256, 1)
        with contextlib.redirect_stdout(io.StringIO()):  # the constructor of Decoder prints
            self.decoder = Decoder(
                ch=128, out_ch=3, ch_mult=(1, 1, 2, 2, 4), num_res_blocks=2, in_channels=3,
                attn_resolutions=(16,), resolution=256, z_channels=256)
        for module in self.modules():
            if isinstance(module, nn.GroupNorm):
                module.eps = 1e-5  # as min-dalle computes; taming has 1e-6

    def forward(self, codes: Tensor) -> Tensor:
        """(B, h, w) int64 to pictures (B, 3, 16 h, 16 w), about [-1, 1] and not clamped."""
        latents = self.post_quant_conv(self.embedding(codes).permute(0, 3, 1, 2))
        return self.decoder(latents) * 2 - 1  # the file's last layer is scaled to [0, 1]

    @torch.no_grad()
    def draw(self, codes: Sequence[Tensor]) -> Tensor:
        """Draw pictures as far as they are written; the rest is grey.

        Args:
            codes: (N,) int64 each, at least one, in reading order.

        Returns:
            (N, 3, 256, 256) float, about [-1, 1].
        """
        written = torch.stack(list(codes), dim=1)
        missing = NUM_CODES - written.shape[1]
        pixels = self(F.pad(written, (0, missing)).view(-1, GRID, GRID))
        if not missing:
            return pixels
        blank = torch.arange(NUM_CODES, device=written.device) >= written.shape[1]
        scale = pixels.shape[-1] // GRID
        mask = blank.view(GRID, GRID).repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        return pixels.masked_fill(mask, 0)


class MinDalle(nn.Module):
    """Tokenizer, encoder and decoder; ``Detokenizer`` draws what they write."""

    def __init__(self, config: MinDalleConfig, tokenizer: MinDalleTokenizer) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.encoder, self.decoder = TextEncoder(config), CodeDecoder(config)

    @property
    def codes(self) -> int:
        """Codes that it can read, the start code included."""
        return self.config.code_vocab_size

    @property
    def width(self) -> int:
        """Width of its states."""
        return self.config.dim

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.decoder.embedding.weight.device

    def text_ids(self, text: str, negative: str = "") -> Tensor:
        """Ids of the negative text and of ``text``, (2, T) int64, no longer than they must be.

        A text that is too long loses its end.
        """
        ids = self.tokenizer.encode(text)[:self.config.text_length]
        # An empty text is its first and its last token.
        against = (self.tokenizer.encode(negative)[:self.config.text_length] if negative
                   else [ids[0], ids[-1]])
        rows = torch.full((2, max(len(ids), len(against))), PAD_ID)
        rows[0, :len(against)] = torch.tensor(against)
        rows[1, :len(ids)] = torch.tensor(ids)
        return rows

    @torch.no_grad()
    def read(self, text: str, guided: bool = True, negative: str = "") -> TextKeys:
        """What the decoder attends to: the negative text, where guided, and then the text."""
        ids = self.text_ids(text, negative).to(self.device)
        ids = ids if guided else ids[1:]
        return self.decoder.text_keys(self.encoder(ids), ids != PAD_ID)

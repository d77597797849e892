"""MiniLM: a sentence encoder that has read the language, for what the world's captions never said.

The network is ``transformers``' own ``BertModel``; a sentence's embedding is the mean of its token
states, made unit length, as it was trained.

Source: Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of
Pre-Trained Transformers" (2020); Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using
Siamese BERT-Networks" (2019), section 3 (the mean of the states).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

MAX_TOKENS = 256  # as it was trained, with the two that mark beginning and end
PAD_ID = 0


class SentenceEncoder(nn.Module):
    """Texts to embeddings.

    Args:
        module: a ``BertModel`` without its pooler.
        tokenizer: its word pieces, lower-cased; marks beginning and end itself.
        max_tokens: where longer texts are cut.
    """

    def __init__(self, module: nn.Module, tokenizer: Tokenizer,
                 max_tokens: int = MAX_TOKENS) -> None:
        super().__init__()
        self.module, self.tokenizer, self.max_tokens = module, tokenizer, max_tokens
        tokenizer.enable_truncation(max_tokens)
        tokenizer.no_padding()

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.module.parameters()).device

    @property
    def width(self) -> int:
        """Length of an embedding."""
        return int(self.module.config.hidden_size)  # type: ignore[union-attr]

    def truncated(self, text: str) -> bool:
        """Whether only the beginning of a text is read."""
        return bool(self.tokenizer.encode(text).overflowing)

    def read(self, texts: Sequence[str], most: int | None = None) -> tuple[Tensor, Tensor]:
        """The tokens of texts and what the encoder makes of each.

        Args:
            texts: N texts, at least one.
            most: tokens after which a text is cut, beginning and end included.

        Returns:
            (N, T) int64 ids, T those of the longest text, ``PAD_ID`` behind shorter ones; and
            (N, T, D) states in the parameters' dtype.
        """
        rows = [encoding.ids[:most] for encoding in self.tokenizer.encode_batch(list(texts))]
        ids = torch.full((len(rows), max(map(len, rows))), PAD_ID, dtype=torch.long)
        own = torch.zeros_like(ids)
        for n, row in enumerate(rows):
            ids[n, :len(row)] = torch.tensor(row)
            own[n, :len(row)] = 1
        ids, own = ids.to(self.device), own.to(self.device)
        return ids, self.module(input_ids=ids, attention_mask=own).last_hidden_state

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Unit-length embeddings (N, D) float32 of N texts, at least one."""
        ids, states = self.read(texts)
        weights = (ids != PAD_ID)[..., None].float()
        means = (states.float() * weights).sum(1) / weights.sum(1)
        return F.normalize(means, dim=-1)


def build(config: Mapping[str, Any]) -> nn.Module:
    """The untrained network.

    Args:
        config: of ``transformers.BertConfig``: ``vocab_size``, ``hidden_size``,
            ``num_hidden_layers``, ``num_attention_heads``, ``intermediate_size``,
            ``max_position_embeddings``.
    """
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**config), add_pooling_layer=False)

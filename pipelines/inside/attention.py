"""Which words of the caption DALL·E's transformer looked at for each block of a picture.

Attention says where it looked, not why it chose: Jain and Wallace, "Attention is not Explanation"
(2019).

Source: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from pipelines.models.dalle import PAD_ID, ImageTransformer
from pipelines.models.minilm import SentenceEncoder
from pipelines.world.plans import slots_of

MARKS = ("[CLS]", "[SEP]")  # of word pieces: before the first and after the last


@dataclass(frozen=True, eq=False)
class Looked:
    """What the transformer looked at when it wrote each of N blocks, over all its layers and heads.

    Attributes:
        words: the W pieces of words of the caption, "##" before one that goes on.
        shares: (N, W) float32, how much of its attention each of them had.
        marks: (N,) float32, how much those before the first word and after the last had, where
            attention rests that looks for nothing.
        plan: (N,) float32, how much the plan had.
        picture: (N,) float32, how much the blocks before it had; the four are 1 together.
    """

    words: tuple[str, ...]
    shares: np.ndarray
    marks: np.ndarray
    plan: np.ndarray
    picture: np.ndarray


@torch.no_grad()
def looked_at(text_ids: Tensor, states: Tensor, plan: Tensor, tokens: Tensor,
              model: ImageTransformer) -> Looked:
    """What a transformer looked at, by one pass of its own under teacher forcing.

    Args:
        text_ids: (T,) int64, the caption's.
        states: (T, sentence_dim), what the sentence encoder made of them.
        plan: (P,) int64.
        tokens: (N, block tokens) int64, those of the picture's blocks.
        model: with its sentence encoder.
    """
    seen = model.attention(text_ids[None], tokens[None], states[None], plan[None],
                           slots_of(plan[None]))
    seen = seen[:, 0].mean((0, 1)).cpu()  # (N, T + 1 + P + N)
    ids, (steps, total) = text_ids.cpu(), seen.shape
    text, planned, picture = seen.split([len(ids), total - len(ids) - steps, steps], -1)
    tokenizer = cast(SentenceEncoder, model.text).tokenizer
    marks = torch.tensor([PAD_ID, *map(tokenizer.token_to_id, MARKS)])
    words = ~torch.isin(ids, marks)
    return Looked(tuple(str(tokenizer.id_to_token(each)) for each in ids[words].tolist()),
                  text[:, words].numpy(), text[:, ~words].sum(-1).numpy(),
                  planned.sum(-1).numpy(), picture.sum(-1).numpy())

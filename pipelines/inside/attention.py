"""Which words of the caption DALL·E's transformer looked at for each block of a picture.

Attention says where it looked, not why it chose: Jain and Wallace, "Attention is not Explanation"
(2019).

Source: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipelines.models.checkpoints.vocabulary import load_vocabulary
from pipelines.models.dalle import PAD_ID, ImageTransformer
from pipelines.models.tokenizer import END_ID, START_ID


@dataclass(frozen=True, eq=False)
class Looked:
    """What the transformer looked at when it wrote each of N blocks, over all layers and heads.

    Attributes:
        words: the W pieces of words of the caption, "##" before one that goes on.
        shares: (N, W) float32, how much of its attention each of them had.
        marks: (N,) float32, how much those before the first word and after the last had, where
            attention rests that looks for nothing.
        picture: (N,) float32, how much the blocks before it had; the three are 1 together.
    """

    words: tuple[str, ...]
    shares: np.ndarray
    marks: np.ndarray
    picture: np.ndarray


@torch.no_grad()
def looked_at(text_ids: Tensor, tokens: Tensor, model: ImageTransformer) -> Looked:
    """What a transformer looked at, by one pass of its own under teacher forcing.

    Args:
        text_ids: (T,) int64, the caption's.
        tokens: (N, block tokens) int64, those of the picture's blocks.
        model: without plans.
    """
    seen = model.attention(text_ids[None], tokens[None])[:, 0].mean((0, 1)).cpu()  # (N, T + N)
    ids = text_ids.cpu()
    text, picture = seen[:, :len(ids)], seen[:, len(ids):].sum(-1)
    words = (ids != START_ID) & (ids != END_ID) & (ids != PAD_ID)
    tokenizer = load_vocabulary().tokenizer
    return Looked(tuple(str(tokenizer.id_to_token(each)) for each in ids[words].tolist()),
                  text[:, words].numpy(), text[:, ~words].sum(-1).numpy(), picture.numpy())

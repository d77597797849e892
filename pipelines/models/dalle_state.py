"""What DALL·E's transformer gives under teacher forcing, and what it keeps while it writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


class Logits(NamedTuple):
    """What teacher forcing gives.

    Attributes:
        codes: (B, steps, patch² · digits, codebook_size), of each token given all before it.
        plan: (B, P + 1, plan_vocab_size), of each token of the plan and of what follows the last;
            None without plans.
    """

    codes: Tensor
    plan: Tensor | None


@dataclass
class KVCache:
    """Static keys and values, (depth, B, heads, most positions, width) each.

    Attributes:
        visible: (B, most positions) bool, False at padding of texts and plans.
        slots: what each layer is, with layers; see ``ImageTransformer.forward``.
        length: positions that are filled.
        read: embeddings (B, patch² · digits · code_dim) of the blocks that have been read.
    """

    keys: Tensor
    values: Tensor
    visible: Tensor
    slots: Tensor | None = None
    length: int = 0
    read: list[Tensor] = field(default_factory=list)

"""DALL·E's plan, looked into: how likely each of its tokens was, and what else it might have been.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2 (one stream).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pipelines.dalle_plan import admissible, apart
from pipelines.models.dalle import PAD_ID, ImageTransformer
from pipelines.world.plans import BACKGROUNDS, SPOT_TOKENS, allowed
from pipelines.world.sprites import STYLES

OTHERS = 3
Kind = Literal["style", "background", "column", "row", "side", "way"]
OF_PICTURE: tuple[Kind, ...] = ("style", "background")
OF_THING: tuple[Kind, ...] = ("column", "row", "side", "way")
# Which way round a thing is, and whether it is written once or drafted first.
WAYS = ("once", "once, mirrored", "drafted", "drafted, mirrored")
# The name of a style, background or way, or sixteenths of the picture; None in place of a column is
# the end of the plan.
Value = str | int | None


@dataclass(frozen=True)
class PlanToken:
    """One token of a plan.

    Attributes:
        kind: what it says.
        thing: of which thing, from 1; 0 for all of the picture.
        value: what it says of that.
        given: whether an option set it.
        likely: its probability, given the caption and the tokens before it, among those that may
            stand there.
        likely_without: the same without a caption.
        others: the likeliest others with the caption, the likeliest first, and their probabilities.
    """

    kind: Kind
    thing: int
    value: Value
    given: bool
    likely: float
    likely_without: float
    others: tuple[tuple[Value, float], ...]


@torch.no_grad()
def expected_plan(hidden: Tensor, plan: np.ndarray, model: ImageTransformer,
                  given: Collection[int] = ()) -> tuple[PlanToken, ...]:
    """What a transformer expected of a plan, token by token up to its end.

    Args:
        hidden: (2, 1 + P, dim) of ``ImageTransformer.trunk``, with a caption and without one; state
            n predicts token n.
        plan: (P,) int64.
        model: the transformer.
        given: positions that an option set.
    """
    tokens = torch.from_numpy(plan)
    logits = model.plan_head(hidden).float().cpu()  # (2, 1 + P, ids)
    found = []
    for position, token in enumerate(tokens.tolist()):
        # As ``pipelines.dalle_plan.draw_plans`` draws it.
        may = admissible(position, torch.tensor([False]), logits.shape[-1])
        first, past = allowed(position)
        may[:, first:past] &= apart(position, tokens[None])
        with_caption, without = logits[:, position].masked_fill(~may, -torch.inf).softmax(-1)
        shares, ids = with_caption.index_fill(0, torch.tensor(token), 0).topk(OTHERS)
        kind, thing = _place(position)
        found.append(PlanToken(
            kind, thing, value_of(position, token), position in given, float(with_caption[token]),
            float(without[token]), tuple(
                (value_of(position, other), share) for other, share
                in zip(ids.tolist(), shares.tolist(), strict=True) if share > 0)))
        if token == PAD_ID:
            break
    return tuple(found)


def _place(position: int) -> tuple[Kind, int]:
    if position < len(OF_PICTURE):
        return OF_PICTURE[position], 0
    thing, kind = divmod(position - len(OF_PICTURE), SPOT_TOKENS)
    return OF_THING[kind], thing + 1


def value_of(position: int, token: int) -> Value:
    """What a token says at a position of a plan."""
    if token == PAD_ID:
        return None
    number = token - allowed(position)[0]
    kind = _place(position)[0]
    if kind == "style":
        return STYLES[number]
    if kind == "background":
        return BACKGROUNDS[number]
    if kind == "way":
        return WAYS[number]
    return number + (kind == "side")  # a side is 1 cell at least

"""Draw a plan for each picture: what the caption leaves open, before any code is written.

At temperature 1 the seed decides style, background, places, sizes and mirroring as often as the
world has them; the codes that follow can then be drawn at a low temperature and stay sharp.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2 (one stream).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from pipelines.core.errors import InvalidRequest
from pipelines.models.dalle import PAD_ID, ImageTransformer
from pipelines.models.dalle_state import KVCache
from pipelines.sampling import RowNoise, choose
from pipelines.world.layouts import GRID
from pipelines.world.plans import MOST_THINGS, SPOT_TOKENS, Spot, allowed, slots_of, spots_of

SIDE = 2  # place of the side among the tokens of a spot
LEAST_SIDE = 3  # of a thing, in cells
LEAST_PERSON = 11  # side of a person in a portrait, who may hold a thing


def read_places(text: str) -> tuple[Spot, ...]:
    """Where things stand, as people write it.

    Args:
        text: of each thing its column, row and side in cells and perhaps the word "mirrored",
            things parted by semicolons; of none where it is blank.

    Raises:
        InvalidRequest: there is a thing of which it says something else, one that stands beyond
            the picture or is smaller than ``LEAST_SIDE``, or there are more than ``MOST_THINGS``.
    """
    spots = []
    for part in text.split(";") if text.strip() else []:
        words = part.lower().split()
        flip = words[3:] == ["mirrored"]
        if not (len(words) == 3 + flip and all(
                word.isascii() and word.isdecimal() and len(word) < 3 for word in words[:3])):
            raise InvalidRequest(
                "Places are a column, a row and a side for each thing, as in 1 4 7; 9 4 6 "
                "mirrored, not {!r}.", part.strip()[:40], field="places")
        column, row, side = map(int, words[:3])
        if side < LEAST_SIDE or max(column, row) + side > GRID:
            raise InvalidRequest(
                "A thing at {} {} with side {} does not fit: sides are from {} to {}, and column "
                "or row and side are at most {} together.", column, row, side, LEAST_SIDE, GRID,
                GRID, field="places")
        spots.append(Spot(column, row, side, flip))
    if len(spots) > MOST_THINGS:
        raise InvalidRequest("A picture has at most {} things, and there are places of {}.",
                             MOST_THINGS, len(spots), field="places")
    return tuple(spots)


def written_places(things: Sequence[Mapping[str, Any]]) -> str:
    """Inverse of ``read_places``, of the things of ``pipelines.dalle_layers.plan_facts``."""
    return "; ".join(f"{each['column']} {each['row']} {each['side']}"
                     + " mirrored" * bool(each["mirrored"]) for each in things)


def admissible(position: int, ended: Tensor, size: int) -> Tensor:
    """Which tokens may stand at a position of each plan.

    Args:
        position: from 0.
        ended: (N,) bool, plans that have no further things.
        size: how many tokens there are.

    Returns:
        (N, size) bool: for plans that ended padding alone; a thing begun is finished, and the
        first is always there.
    """
    first, past = allowed(position)
    mask = torch.zeros(len(ended), size, dtype=torch.bool)
    mask[:, first:past] = ~ended[:, None]
    ends_here = position > SPOT_TOKENS and (position - 2) % SPOT_TOKENS == 0
    mask[:, PAD_ID] = ended | ends_here
    return mask


def apart(position: int, plans: Tensor) -> Tensor:
    """Which tokens let each plan's next thing stand apart from those before it.

    Things of the world do not overlap, but for what a person holds, who is larger than all else
    that has company. All tokens are True where there is no room left.

    Args:
        position: from 0, of a column, a row or a side; of others all tokens are True.
        plans: (N, P) int64, written up to there.

    Returns:
        (N, ids) bool, from the first id of that kind on.
    """
    first, past = allowed(position)
    begun, kind = divmod(position - 2, SPOT_TOKENS)
    if position < 2 or kind > SIDE:
        return torch.ones(len(plans), past - first, dtype=torch.bool)
    spots, there, _ = spots_of(plans[:, : 2 + SPOT_TOKENS * begun])
    here = plans[:, position - kind : position].tolist()
    rows = []
    for obstacles, real, known in zip(spots.tolist(), there.tolist(), here, strict=True):
        taken = [spot for spot, is_there in zip(obstacles, real, strict=True)
                 if is_there and spot[2] < LEAST_PERSON]
        cells = [token - allowed(position - kind + k)[0] for k, token in enumerate(known)]
        rows.append([_has_room([*cells, value], taken) for value in range(past - first)])
    found = torch.tensor(rows)
    return found | ~found.any(1, keepdim=True)


def _has_room(known: list[int], taken: list[list[int]]) -> bool:
    """Whether a thing of which the column, the row and the side less one are known as far as
    they are given can stand within the picture and apart from squares that are taken."""
    if len(known) == 1:
        return any(_has_room([*known, row], taken) for row in range(GRID))
    column, row, side = (*known, LEAST_SIDE - 1)[:3]
    side += 1
    return max(column, row) + side <= GRID and all(
        column + side <= x or x + size <= column or row + side <= y or y + size <= row
        for x, y, size, _ in taken)


@torch.no_grad()
def draw_plans(model: ImageTransformer, hidden: Tensor, cache: KVCache, noise: RowNoise,
               temperature: float = 1.0,
               fixed: Mapping[int, Collection[int]] = MappingProxyType({}),
               ) -> tuple[Tensor, Tensor]:
    """Write the plans of N pictures, each from random numbers of its own.

    Rows beyond the N first, as those without a caption, read the same plans.

    Args:
        model: with plans.
        hidden: (R, dim) from ``prefill``, R a multiple of N.
        cache: of the same rows.
        noise: of N pictures.
        temperature: below 1 likelier plans come more often.
        fixed: by position, which tokens may stand there, of those where not all may.

    Returns:
        (N, plan_length) int64 tokens, and the hidden state (R, dim) of the first block.
    """
    count, most = len(noise), model.config.plan_length
    ended = torch.zeros(count, dtype=torch.bool)
    plans = torch.full((count, most), PAD_ID, dtype=torch.long)
    for position in range(most):
        # Drawn whether needed or not: what a picture gets depends on its seed alone.
        gumbel = noise.draw(model.config.plan_vocab_size)
        if not ended.all():
            logits = model.plan_head(hidden[:count]).float().cpu()
            may = admissible(position, ended, model.config.plan_vocab_size)
            first, past = allowed(position)
            may[:, first:past] &= apart(position, plans)
            if position in fixed:
                only = torch.zeros(may.shape[1], dtype=torch.bool)
                only[list(fixed[position])] = True
                may = torch.where(ended[:, None], may, only)
            tokens = choose(logits.masked_fill(~may, -torch.inf), gumbel, temperature, 0, 1.0)
            plans[:, position] = tokens
            ended |= tokens == PAD_ID
        if not ended.all():
            read = plans[:, position].to(hidden.device).repeat(len(hidden) // count)
            hidden = model.plan_step(read, position, cache)
    slots = slots_of(plans).to(hidden.device).repeat(len(hidden) // count, 1)
    return plans, model.start_picture(cache, slots)

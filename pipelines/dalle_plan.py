"""Draw a plan for each picture: what the caption leaves open, before any code is written.

At temperature 1 the seed decides style, background, places, sizes and mirroring as often as the
world has them; the codes that follow can then be drawn at a low temperature and stay sharp.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2 (one stream).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pipelines.models.dalle import PAD_ID, ImageTransformer, KVCache
from pipelines.sampling import RowNoise, choose
from pipelines.world.plans import SPOT_TOKENS, allowed


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


@torch.no_grad()
def draw_plans(model: ImageTransformer, hidden: Tensor, cache: KVCache, noise: RowNoise,
               temperature: float = 1.0, fixed: Mapping[int, int] | None = None,
               ) -> tuple[Tensor, Tensor]:
    """Write the plans of N pictures, each from random numbers of its own.

    Rows beyond the N first, as those without a caption, read the same plans.

    Args:
        model: with plans.
        hidden: (R, dim) from ``prefill``, R a multiple of N.
        cache: of the same rows.
        noise: of N pictures.
        temperature: below 1 likelier plans come more often.
        fixed: tokens that are given, by position.

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
            tokens = choose(logits.masked_fill(~may, -torch.inf), gumbel, temperature, 0, 1.0)
            if fixed and position in fixed:
                tokens = torch.where(ended, tokens, fixed[position])
            plans[:, position] = tokens
            ended |= tokens == PAD_ID
        if not ended.all():
            read = plans[:, position].to(hidden.device).repeat(len(hidden) // count)
            hidden = model.plan_step(read, position, cache)
    everywhere = plans.to(hidden.device).repeat(len(hidden) // count, 1)
    return plans, model.start_picture(everywhere, cache)

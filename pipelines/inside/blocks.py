"""Blocks of DALL·E's codes: which are the likeliest, how likely some are, and what they look like.

Source: the likeliest by a beam, Sutskever et al., "Sequence to Sequence Learning with Neural
Networks" (2014), section 3.2.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.inside.layers import draw_layers, over_checks, vqgan_of
from pipelines.models.dalle import ImageTransformer

LIKELIEST = 5
BEAMS = 16
AROUND = 1  # codes on each side of a block that its patch is drawn with


def likeliest_blocks(model: ImageTransformer, hidden: Tensor, keep: int = LIKELIEST,
                     beams: int = BEAMS) -> Tensor:
    """The likeliest blocks, by a beam over their tokens.

    Args:
        model: whose head emits the tokens of a block one after the other.
        hidden: (N, dim), what each of N blocks is predicted from.
        keep: how many of each.
        beams: how many beginnings are followed; with as many as there are beginnings the search
            is exact.

    Returns:
        (N, keep, T) int64, the likeliest first.
    """
    # (N, 1, 0): one beginning, of no token, which is certain.
    found = torch.zeros(len(hidden), 1, 0, dtype=torch.long, device=hidden.device)
    scores = torch.zeros(len(hidden), 1, device=hidden.device)
    for place in range(model.block_codes):
        padded = F.pad(found, (0, model.block_codes - place))
        steps = block_logits(model, hidden, padded, place)[:, :, 0].log_softmax(-1)
        totals = (scores[..., None] + steps).flatten(1)  # (N, beams · values)
        scores, best = totals.topk(min(beams, totals.shape[1]))
        begun = found.gather(1, (best // steps.shape[-1])[..., None].expand(-1, -1, place))
        found = torch.cat([begun, (best % steps.shape[-1])[..., None]], -1)
    return found[:, :keep]


def block_logits(model: ImageTransformer, hidden: Tensor, blocks: Tensor,
                 place: int | None = None) -> Tensor:
    """Logits of the tokens of some blocks, each given those before it in the block.

    Args:
        model: the transformer.
        hidden: (N, dim).
        blocks: (N, C, T) int64, C candidates for each; of a token those after it do not matter.
        place: of which token alone; all where None.

    Returns:
        (N, C, T, values) float32, or (N, C, 1, values).
    """
    width = model.config.head_dim
    rows = slice(None) if place is None else slice(place * width, (place + 1) * width)
    weight = (model.head_past * model.past_mask())[rows]
    past = F.linear(model.embed(blocks).flatten(2), weight)  # (N, C, T · width) or (N, C, width)
    own = F.linear(hidden, model.head_in.weight[rows], model.head_in.bias[rows])[:, None]
    x = (own + past).unflatten(-1, (-1, width))
    return model.head(model.head_norm(model.head_mlp(x))).float()


def draw_blocks(codes: np.ndarray, model: ImageTransformer, blocks: Tensor) -> np.ndarray:
    """Blocks as pictures, each among the codes around its place.

    Args:
        codes: (L, G, G) int64, those of the picture's layers.
        model: knows where blocks go, and whose VQGAN draws them.
        blocks: (N, C, T) int64, candidates for each place in the order of writing.

    Returns:
        (N, C, P, P, 3) uint8 RGB; of things before a chequered ground.
    """
    patch, side = model.config.patch, codes.shape[-1] // model.config.patch
    window = patch + 2 * AROUND
    inner = slice(AROUND, AROUND + patch)
    drawn = []
    for layer, (grid, some) in enumerate(zip(codes, blocks.chunk(len(codes)), strict=True)):
        around = np.pad(grid, AROUND, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(around, (window, window))
        windows = windows[::patch, ::patch].reshape(side * side, 1, window, window)
        windows = np.repeat(windows, some.shape[1], 1)  # (steps, C, window, window)
        windows[:, :, inner, inner] = codes_in(model, some).cpu().numpy()
        pixels = over_checks(draw_layers(windows.reshape(-1, window, window), vqgan_of(model)),
                             layer == 0)
        drawn.append(pixels.reshape(*windows.shape[:2], *pixels.shape[1:]))
    return np.concatenate(drawn)


def codes_in(model: ImageTransformer, blocks: Tensor) -> Tensor:
    """The codes (N, C, patch, patch) that blocks of tokens (N, C, T) spell."""
    digits = blocks.unflatten(-1, (model.config.patch, model.config.patch, model.config.digits))
    codes = torch.zeros_like(digits[..., 0])
    for digit in digits.unbind(-1):  # the highest first
        codes = codes * model.config.codebook_size + digit
    return codes

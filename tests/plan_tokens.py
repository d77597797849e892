"""The plan that tokens stand for, for the tests of those who write tokens."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.world.plans import BACKGROUNDS, PAD, SPOT_TOKENS, TOKENS, Plan, Spot, allowed
from pipelines.world.sprites import STYLES


def from_tokens(ids: Sequence[int]) -> Plan:
    """The plan of a row of tokens, up to the first ``PAD``.

    Raises:
        ValueError: a token is not of the kind that belongs at its position.
    """
    style, background = STYLES[_at(ids, 0)], BACKGROUNDS[_at(ids, 1)]
    spots = []
    for start in range(2, min(len(ids), TOKENS) - SPOT_TOKENS + 1, SPOT_TOKENS):
        if ids[start] == PAD:
            break
        column, row, side, flip = (_at(ids, start + k) for k in range(SPOT_TOKENS))
        spots.append(Spot(column, row, side + 1, flip % 2 == 1, flip >= 2))
    return Plan(style, background, tuple(spots))


def _at(ids: Sequence[int], position: int) -> int:
    first, end = allowed(position)
    if not first <= ids[position] < end:
        raise ValueError(f"plan token {ids[position]} is not one of {first} to {end - 1}")
    return ids[position] - first

"""What a caption leaves open, as data and as tokens: style, background, places, sizes, mirroring.

A thing that is painted or in a medium is drafted in its own colours before it is finished: of that,
too, the plan tells the layers that follow.

A model that writes these first, drawn at random, and then the picture at a low temperature, lets
the seed decide what the caption does not say and still draws sharp things. Tokens are a fixed
number a scene, so that they stand between text and codes at fixed positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.world.layouts import GRID
from pipelines.world.media import OPERATIONS
from pipelines.world.scenes import BACKDROP_NAMES, COLOURS, PLACES, Scene, SceneObject
from pipelines.world.sprites import STYLES

BACKGROUNDS = (*COLOURS, *PLACES, *BACKDROP_NAMES)
MOST_THINGS = 5
LAYERS = 1 + MOST_THINGS  # of a picture, the ground among them; drafts come on top
NONE = -1  # a layer that a picture has not
PAD = 0
# First ids of each kind of token; a column and a row are of a cell, a side is 1 to GRID cells.
_STYLE = 1
_BACKGROUND = _STYLE + len(STYLES)
_COLUMN = _BACKGROUND + len(BACKGROUNDS)
_ROW = _COLUMN + GRID
_SIDE = _ROW + GRID
_FLIP = _SIDE + GRID
_DRAFTED = _FLIP + 2  # as the two before, of things that are drafted
VOCABULARY_SIZE = _DRAFTED + 2
SPOT_TOKENS = 4
TOKENS = 2 + SPOT_TOKENS * MOST_THINGS


@dataclass(frozen=True)
class Spot:
    """Where one thing stands: left column, upper row and side in cells, whether mirrored, and
    whether it is drafted before it is finished."""

    column: int
    row: int
    side: int
    flip: bool
    drafted: bool = False


@dataclass(frozen=True)
class Plan:
    """One way to lay out a caption.

    Attributes:
        style: of the first thing, one of ``STYLES``; the scene's where all share it.
        background: one of ``BACKGROUNDS``.
        spots: of the things, in the order in which the caption names them.
    """

    style: str
    background: str
    spots: tuple[Spot, ...]


class Spots(NamedTuple):
    """Of many plans at once; zeros and False where a plan has no such thing.

    Attributes:
        cells: (B, MOST_THINGS, 4) int64, column, row, side in cells and 1 where mirrored.
        there: (B, MOST_THINGS) bool, which things there are.
        drafted: (B, MOST_THINGS) bool, which are drafted before they are finished.
    """

    cells: Tensor
    there: Tensor
    drafted: Tensor


def is_drafted(thing: SceneObject, medium: str | None) -> bool:
    """Whether a thing of a scene in a medium does not look as it does in its own colours."""
    return thing.colour is not None or medium in OPERATIONS


def spot_of(item: SceneObject, medium: str | None) -> Spot:
    """Where a thing stands; a box off the grid is rounded to cells."""
    x0, y0, x1, _ = item.box
    side = min(max(round((x1 - x0) * GRID), 1), GRID)
    column, row = (min(max(round(edge * GRID), 0), GRID - side) for edge in (x0, y0))
    return Spot(column, row, side, item.flip, is_drafted(item, medium))


def plan_of(scene: Scene) -> Plan:
    """The plan of a scene; boxes off the grid are rounded to cells."""
    spots = tuple(spot_of(thing, scene.medium) for thing in scene.objects)
    return Plan(scene.objects[0].style, scene.background, spots)


def to_tokens(plan: Plan) -> list[int]:
    """A plan as ``TOKENS`` ids below ``VOCABULARY_SIZE``; spots that there are not are ``PAD``.

    Raises:
        ValueError: more things than ``MOST_THINGS``, or a name that is not known.
    """
    if len(plan.spots) > MOST_THINGS:
        raise ValueError(f"a plan holds {MOST_THINGS} things, and these are {len(plan.spots)}")
    ids = [_STYLE + STYLES.index(plan.style), _BACKGROUND + BACKGROUNDS.index(plan.background)]
    for spot in plan.spots:
        ids += [_COLUMN + spot.column, _ROW + spot.row, _SIDE + spot.side - 1,
                (_DRAFTED if spot.drafted else _FLIP) + spot.flip]
    return ids + [PAD] * (TOKENS - len(ids))


def fixed_tokens(style: str | None, background: str | None, spots: Sequence[Spot],
                 ) -> dict[int, tuple[int, ...]]:
    """Which tokens may stand at the positions of a plan of which parts are given.

    Whether a thing is drafted is not: the caption decides that.

    Args:
        style: one of ``STYLES``, or None where it is not given.
        background: one of ``BACKGROUNDS``, or None.
        spots: those of the first things.
    """
    plan = to_tokens(Plan(style or STYLES[0], background or BACKGROUNDS[0], tuple(spots)))
    given = [position for position, name in enumerate((style, background)) if name is not None]
    given += range(2, 2 + SPOT_TOKENS * len(spots))
    fixed: dict[int, tuple[int, ...]] = {position: (plan[position],) for position in given}
    for number, spot in enumerate(spots, 1):
        fixed[1 + SPOT_TOKENS * number] = (_FLIP + spot.flip, _DRAFTED + spot.flip)
    return fixed


def told_names(ids: Sequence[int]) -> tuple[str, str]:
    """Style and background of a plan's tokens."""
    return STYLES[ids[0] - _STYLE], BACKGROUNDS[ids[1] - _BACKGROUND]


def allowed(position: int) -> tuple[int, int]:
    """First id and one past the last that may stand at a position, besides ``PAD`` for spots."""
    if position < 2:
        return ((_STYLE, _BACKGROUND), (_BACKGROUND, _COLUMN))[position]
    return ((_COLUMN, _ROW), (_ROW, _SIDE), (_SIDE, _FLIP), (_FLIP, VOCABULARY_SIZE))[
        (position - 2) % SPOT_TOKENS]


def spots_of(tokens: Tensor) -> Spots:
    """The spots of many plans at once.

    Args:
        tokens: (B, P) int64, P at most ``TOKENS``.
    """
    spots = F.pad(tokens, (0, TOKENS - tokens.shape[1]))[:, 2:].unflatten(1, (MOST_THINGS, -1))
    there = (spots != PAD).all(-1)
    drafted = there & (spots[..., -1] >= _DRAFTED)
    first = torch.tensor((_COLUMN, _ROW, _SIDE - 1, _FLIP), device=tokens.device)
    cells = spots - first
    cells[..., -1] -= (_DRAFTED - _FLIP) * drafted
    return Spots(cells * there[..., None], there, drafted)


def slots_of(tokens: Tensor) -> Tensor:
    """Which layers the pictures of plans have, in the order in which they are written.

    Args:
        tokens: (B, P) int64, P at most ``TOKENS``.

    Returns:
        (B, L) int64, L of the picture that has most: 0 is the ground, n the n-th thing in its own
        colours, n + LAYERS that thing finished, after its draft; ``NONE`` beyond a picture's last.
    """
    _, there, drafted = spots_of(tokens)
    rows = []
    for things, twice in zip(there.tolist(), drafted.tolist(), strict=True):
        row = [0]
        for n in range(MOST_THINGS):
            row += [n + 1] * things[n] + [n + 1 + LAYERS] * twice[n]
        rows.append(row)
    most = max(map(len, rows))
    return torch.tensor([row + [NONE] * (most - len(row)) for row in rows], device=tokens.device)

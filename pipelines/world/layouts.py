"""Where the things of a scene stand, and how large they are: free on the grid of the image codes.

One cell is a sixteenth of the picture. Whatever a caption leaves open is drawn at random, so that
a model which has learnt the world draws "a dog" left or right, near or far; what it says holds.
"""

from __future__ import annotations

import random

GRID = 16
Box = tuple[float, float, float, float]
Cells = tuple[int, int, int]  # x, y, side
# Sides in cells of as many things as the picture holds.
_SIDES = {2: (5, 8), 3: (4, 7), 4: (4, 6), 5: (3, 5)}
_ATTEMPTS = 60


def square(x: float, y: float, side: float) -> Box:
    """A square given in cells, as (x0, y0, x1, y1) in [0, 1]."""
    return (x / GRID, y / GRID, (x + side) / GRID, (y + side) / GRID)


def place(kind: str, relation: str | None, count: int, rng: random.Random,
          size: str | None = None) -> list[Box]:
    """Choose the squares of a scene's objects.

    Args:
        kind: one of ``KINDS``.
        relation: relation of the first object to the second, or None.
        count: number of objects, 1 to 5.
        rng: source of randomness.
        size: stated size of a single object: "small", "big" or None.

    Returns:
        ``count`` squares (x0, y0, x1, y1) in [0, 1], on the token grid.
    """
    if kind == "portrait":
        cells = _portrait(count, rng)
    elif count == 1:
        cells = [_single(rng, size)]
    elif relation in ("left of", "right of"):
        cells = _beside(rng, 3)
        cells = cells[::-1] if relation == "right of" else cells
    elif relation in ("above", "below"):
        cells = _stacked(rng)
        cells = cells[::-1] if relation == "below" else cells
    elif relation == "on top of":
        cells = _on_top(rng)
    elif relation == "next to":
        cells = _beside(rng, 1)
        rng.shuffle(cells)
    elif relation == "with":
        cells = _with(rng)
    else:
        cells = _several(count, rng, alike=kind == "count")
    return [square(*cell) for cell in cells]


def _anywhere(side: int, rng: random.Random) -> Cells:
    return rng.randint(0, GRID - side), rng.randint(0, GRID - side), side


def _single(rng: random.Random, size: str | None) -> Cells:
    if size == "big":
        return _anywhere(rng.randint(14, 16), rng)
    return _anywhere(rng.randint(3, 6) if size == "small" else rng.randint(7, 13), rng)


def _portrait(count: int, rng: random.Random) -> list[Cells]:
    """A person from the chest up, cut off by the lower edge as portraits are, and a thing held."""
    side = rng.randint(11, 15) if count > 1 else rng.randint(12, 16)
    left = (GRID - side) // 2
    x = min(max(left + rng.randint(-2, 2), 0), GRID - side)
    cells = [(x, GRID - side, side)]
    if count > 1:
        thing = rng.randint(5, 7)
        low = GRID - thing - rng.randint(0, 2)
        cells.append((rng.randint(0, 1) if rng.random() < 0.5 else GRID - thing - rng.randint(0, 1),
                      low, thing))
    return cells


def _beside(rng: random.Random, drift: int) -> list[Cells]:
    """The left one and the right one, at about one height."""
    first, second = rng.randint(5, 8), rng.randint(5, 8)
    slack = GRID - first - second
    gap = rng.randint(0, slack)
    x = rng.randint(0, slack - gap)
    foot = rng.randint(max(first, second), GRID)
    feet = [foot, min(max(foot + rng.randint(-drift, drift), second), GRID)]
    return [(x, feet[0] - first, first), (x + first + gap, feet[1] - second, second)]


def _stacked(rng: random.Random) -> list[Cells]:
    """The upper one and the lower one, at about one distance from the sides."""
    first, second = rng.randint(5, 8), rng.randint(5, 8)
    slack = GRID - first - second
    gap = rng.randint(0, slack)
    y = rng.randint(0, slack - gap)
    x = rng.randint(0, GRID - max(first, second))
    offset = (second - first) // 2 + rng.randint(-2, 2)
    return [(min(max(x + offset, 0), GRID - first), y, first), (x, y + first + gap, second)]


def _on_top(rng: random.Random) -> list[Cells]:
    upper = rng.randint(4, 7)
    lower = rng.randint(max(6, upper), 9)
    y = rng.randint(0, GRID - upper - lower)
    x = rng.randint(0, GRID - lower)
    offset = (lower - upper) // 2 + rng.randint(-1, 1)
    return [(min(max(x + offset, 0), GRID - upper), y, upper), (x, y + upper, lower)]


def _with(rng: random.Random) -> list[Cells]:
    """The first one large, what it has smaller at its side."""
    first, second = rng.randint(8, 10), rng.randint(4, 6)
    x, foot = rng.randint(0, GRID - first - second), rng.randint(first, GRID)
    y = min(foot - second + rng.randint(-2, 0), GRID - second)
    if rng.random() < 0.5:
        return [(x, foot - first, first), (x + first, y, second)]
    return [(x + second, foot - first, first), (x, y, second)]


def _several(count: int, rng: random.Random, alike: bool) -> list[Cells]:
    """Things that do not overlap: in rows now and then, else wherever there is room."""
    low, high = _SIDES[count]
    if rng.random() < 0.4:
        return _in_rows(count, rng)
    while True:
        side = rng.randint(low, high)
        found: list[Cells] = []
        for _ in range(_ATTEMPTS):
            cell = _anywhere(side if alike else rng.randint(low, high), rng)
            if all(_apart(cell, other) for other in found):
                found.append(cell)
            if len(found) == count:
                return found
        high = max(low, high - 1)


def _apart(first: Cells, second: Cells) -> bool:
    (ax, ay, a), (bx, by, b) = first, second
    return ax + a <= bx or bx + b <= ax or ay + a <= by or by + b <= ay


def _in_rows(count: int, rng: random.Random) -> list[Cells]:
    rows = rng.choice({2: [(2,)], 3: [(1, 2), (2, 1), (3,)], 4: [(2, 2), (4,)],
                       5: [(2, 1, 2), (3, 2), (2, 3)]}[count])
    side = rng.randint(3, min(GRID // max(rows), GRID // len(rows), 8))
    top = rng.randint(0, GRID - side * len(rows))
    wide = max(rows) * side
    left = rng.randint(0, GRID - wide)
    return [(left + (wide - number * side) // 2 + k * side, top + r * side, side)
            for r, number in enumerate(rows) for k in range(number)]


def jitter_box(box: Box, rng: random.Random) -> Box:
    """Move a square off the grid by up to half a cell and scale it by up to a tenth."""
    side = (box[2] - box[0]) * rng.uniform(0.9, 1.1)
    x = min(max((box[0] + box[2] - side) / 2 + rng.uniform(-0.5, 0.5) / GRID, -0.02), 1.02 - side)
    y = min(max((box[1] + box[3] - side) / 2 + rng.uniform(-0.5, 0.5) / GRID, -0.02), 1.02 - side)
    return (x, y, x + side, y + side)

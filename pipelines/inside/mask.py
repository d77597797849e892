"""Which codes of a picture, or of its layers, stay: a half, a checkerboard, or any mask.

Source: pictures that are completed from a part of their codes: Chen et al., "Generative Pretraining
from Pixels" (2020), section 3 and figure 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.core.errors import InvalidRequest

SHAPES = ("upper", "left", "checker")
FIELDS = 4  # of the checkerboard, along each side
MAX_SIDE = 512  # rows and columns of a mask
MAX_CHARS = MAX_SIDE * (MAX_SIDE + 2)  # of one that is typed: looked at before it is cut into rows
Mask = str | np.ndarray


def shaped(name: str, side: int) -> np.ndarray:
    """A mask (side, side) bool by one of the names in ``SHAPES``; True stays.

    Raises:
        InvalidRequest: there is no such shape.
    """
    rows, columns = np.indices((side, side))
    if name == "upper":
        return rows < side // 2
    if name == "left":
        return columns < side // 2
    if name == "checker":
        field = max(1, side // FIELDS)
        return (rows // field + columns // field) % 2 == 0
    raise InvalidRequest("There is no mask called {}; there are {}.", name, ", ".join(SHAPES),
                         field="mask")


def kept_codes(mask: Mask, side: int) -> np.ndarray:
    """Which of the codes of a picture stay.

    Args:
        mask: a name of ``SHAPES``, or (R, C) bool of any size that is laid over the picture.
        side: codes along a side.

    Returns:
        (side, side) bool: True where at least half of what lies over the code stays.

    Raises:
        InvalidRequest: all would stay, or none.
    """
    if isinstance(mask, str):
        kept = shaped(mask, side)
    else:
        shares = F.adaptive_avg_pool2d(torch.from_numpy(mask.astype(np.float32))[None], side)[0]
        kept = shares.numpy() >= 0.5
    return check_kept(kept)


def kept_in_layers(cells: np.ndarray, spots: Sequence[tuple[int, int, int, int]], side: int,
                   ) -> np.ndarray:
    """Which codes of a picture's layers stay.

    Args:
        cells: (C, C) bool, what of the picture stays, C cells of a plan along a side.
        spots: column, row and side in cells, and 1 where mirrored, of each thing.
        side: codes along a side of a layer.

    Returns:
        (1 + things, side, side) bool, of the ground and of each thing: True where at least half of
        what the code covers of the picture stays.

    Raises:
        InvalidRequest: all would stay, or none.
    """
    count = len(cells)
    # So fine that the codes of a thing of any size have whole numbers of them.
    fine = cells.repeat(side, 0).repeat(side, 1).astype(np.float32)
    kept = []
    for column, row, size, mirrored in [(0, 0, count, 0), *spots]:
        here = fine[row * side:(row + size) * side, column * side:(column + size) * side]
        beyond = [(0, size * side - have) for have in here.shape]
        covered = np.pad(here, beyond, constant_values=np.nan).reshape(side, size, side, size)
        inside = (~np.isnan(covered)).sum((1, 3))
        stays = np.nansum(covered, (1, 3)) * 2 >= inside  # what covers nothing stays
        kept.append(stays[:, ::-1] if mirrored else stays)
    return check_kept(np.stack(kept))


def check_kept(kept: np.ndarray) -> np.ndarray:
    """Codes that stay, as they came.

    Raises:
        InvalidRequest: all would stay, or none.
    """
    if kept.all():
        raise InvalidRequest("The mask keeps all codes: leave some of them out.", field="mask")
    if not kept.any():
        raise InvalidRequest("The mask keeps none of the codes: keep some of them.", field="mask")
    return kept


def mask_of(value: Any) -> Mask:
    """A mask of what a person asks for.

    Args:
        value: a name of ``SHAPES``, or rows of 0 and 1, as lists or as a text of one row a word.

    Raises:
        InvalidRequest: it is neither.
    """
    if isinstance(value, str) and (len(value) > MAX_CHARS or value.strip("01 \n") or not value):
        return value if value in SHAPES else _refused()
    rows = [list(row) for row in value.split()] if isinstance(value, str) else value
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_SIDE or not all(
            isinstance(row, list) and len(row) == len(rows[0]) and 0 < len(row) <= MAX_SIDE
            for row in rows):
        return _refused()
    if not all(cell in ("0", "1") if isinstance(cell, str) else type(cell) in (int, bool)
               and cell in (0, 1) for row in rows for cell in row):
        return _refused()
    return np.array([[bool(int(cell)) for cell in row] for row in rows])


def _refused() -> Mask:
    raise InvalidRequest("A mask is one of {}, or rows of 0 and 1 of the same length, at most {} × "
                         "{}.", ", ".join(SHAPES), MAX_SIDE, MAX_SIDE, field="mask")

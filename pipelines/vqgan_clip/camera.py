"""A camera that moves between steps, so that the video of a run is a flight through its picture.

Source: nerdyrodent/VQGAN-CLIP, whose zoom and shift between steps this is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.core.errors import InvalidRequest


@dataclass
class Camera:
    """What each move does to the picture, and when the last one was.

    Attributes:
        every: steps between two moves; 0 for none.
        zoom: how much larger the picture is after a move.
        right: how far it moves to the right, as a share of its width.
        down: how far it moves down, as a share of its height.
        turn: by how many degrees it turns, clockwise.
    """

    every: int = 0
    zoom: float = 1.0
    right: float = 0.0
    down: float = 0.0
    turn: float = 0.0
    _moved: int = 0  # before which step; a step that is taken anew needs no second move

    def check(self) -> None:
        """Refuse a camera that should move and stands still, or the other way round.

        Raises:
            InvalidRequest: it is one of these.
        """
        still = (self.zoom, self.right, self.down, self.turn) == (1.0, 0.0, 0.0, 0.0)
        if self.every and still:
            raise InvalidRequest("The camera has steps between its moves and no move: set its "
                                 "zoom, shift or turn.", field="move_every")
        if not self.every and not still:
            raise InvalidRequest("The camera has a move and no steps between its moves: set them.",
                                 field="move_every")

    def moves(self, step: int) -> bool:
        """Whether there is a move before a step, counted from 1; once for each."""
        if not self.every or step == 1 or (step - 1) % self.every or step == self._moved:
            return False
        self._moved = step
        return True

    def seen(self, pixels: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) after a move; what comes in at their sides mirrors what is there.

        Within the sides, the shape of what is seen is kept, whatever the proportions.
        """
        height, width = pixels.shape[-2:]
        angle = math.radians(self.turn)
        cos, sin = math.cos(angle) / self.zoom, math.sin(angle) / self.zoom
        # From places in the picture after the move to those before it, both in [-1, 1].
        turned = torch.tensor([[cos, sin * height / width], [-sin * width / height, cos]])
        back = turned @ torch.tensor([[-2 * self.right], [-2 * self.down]])
        matrix = torch.cat([turned, back], dim=1).to(pixels)
        grid = F.affine_grid(matrix.expand(len(pixels), 2, 3), list(pixels.shape),
                             align_corners=False)
        return F.grid_sample(pixels, grid, mode="bicubic", padding_mode="reflection",
                             align_corners=False).clamp(-1, 1)

    def state(self) -> dict[str, Any]:
        """JSON-ready, for ``restore``."""
        return {"camera_moved": self._moved}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Go back to a ``state``; a run that knew no camera has none."""
        self._moved = int(facts.get("camera_moved", 0))

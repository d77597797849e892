"""Codes of scenes put together from layers: the ground, and each thing alone before a key colour.

Encoded within its scene, a thing has other codes before each ground, and a transformer has to
learn it once for each. Here every thing is drawn alone on one place of a canvas of a colour that no
art has, and only the cells that show some of it are set into the codes of the empty ground: what a
thing looks like at one size is then always the same codes. What is of the key colour in them, the
decoder learns to draw from the ground beside it.

Source: keying, as in Smith and Blinn, "Blue Screen Matting" (1996), section 2, whose unknowns are
known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.world.layouts import GRID
from pipelines.world.scenes import Scene, SceneObject
from training.data import World

KEY_RGB = (1.0, 0.0, 1.0)
MARGIN = 2          # cells of the key colour around a thing, where there is room for them
SEEN = 0.02         # of a cell that a thing has to cover to have it
_NONE = Scene("single", (), None, "white", False, None, 0)


@dataclass(frozen=True)
class Layers:
    """What is encoded for a batch of scenes.

    Attributes:
        grounds: (B, 3, H, W) in [-1, 1], the scenes without their things.
        things: by the side of a thing in cells: pictures (N, 3, S, S) in [-1, 1] and which of the
            thing's cells show some of it, (N, side, side) bool.
        placed: for each scene, from behind to the front, side and number of a thing in ``things``,
            and its row and column of cells.
    """

    grounds: Tensor
    things: dict[int, tuple[Tensor, Tensor]]
    placed: list[list[tuple[int, int, int, int]]]


def layers_of(world: World, scenes: Sequence[Scene], size_px: int) -> Layers:
    """Draw the layers of scenes whose things stand on whole cells, ``size_px`` a side."""
    cell = size_px // GRID
    alone: dict[tuple[SceneObject, str | None], tuple[int, int]] = {}
    groups: dict[int, list[tuple[SceneObject, str | None]]] = {}
    placed = []
    for scene in scenes:
        row = []
        for thing in scene.objects:
            side, top, left = cells_of(thing)
            key = centred(thing, side), scene.medium
            if key not in alone:
                group = groups.setdefault(side, [])
                alone[key] = side, len(group)
                group.append(key)
            row.append((*alone[key], top, left))
        placed.append(row)
    grounds = world.render([replace(scene, objects=()) for scene in scenes], size_px)
    pictures = {}
    for side, group in groups.items():
        keyed, matte = keyed_things(world, group, size_px)
        first = (GRID - side) // 2
        margin = min(MARGIN, first)
        low, high = (first - margin) * cell, (first + side + margin) * cell
        inside = slice(first * cell, (first + side) * cell)
        covered = F.avg_pool2d(matte[..., inside, inside], cell)[:, 0] > SEEN
        pictures[side] = keyed[..., low:high, low:high] * 2 - 1, covered
    return Layers(grounds * 2 - 1, pictures, placed)


def cells_of(thing: SceneObject) -> tuple[int, int, int]:
    """Side, row and column of a thing in cells."""
    x0, y0, x1, _ = thing.box
    side = min(max(round((x1 - x0) * GRID), 1), GRID)
    left, top = (min(max(round(edge * GRID), 0), GRID - side) for edge in (x0, y0))
    return side, top, left


def centred(thing: SceneObject, side: int) -> SceneObject:
    """The thing in the middle of a picture, so that its place makes no difference; what only the
    caption says of it is left away."""
    first = (GRID - side) // 2 / GRID
    last = first + side / GRID
    return replace(thing, box=(first, first, last, last), size=None, say_tone=False)


def keyed_things(world: World, things: Sequence[tuple[SceneObject, str | None]],
                 size_px: int) -> tuple[Tensor, Tensor]:
    """Things alone before the key colour, each in its medium.

    Returns:
        Pictures (N, 3, size_px, size_px) in [0, 1] and how far each pixel is covered, (N, 1,
        size_px, size_px) in [0, 1].
    """
    scenes = [replace(_NONE, objects=(thing,), medium=medium) for thing, medium in things]
    on_white = world.render(scenes, size_px)
    matte = world.renderer.mattes(scenes, size_px)
    media = sorted({medium for _, medium in things}, key=str)
    bare = world.render([replace(_NONE, medium=medium) for medium in media], size_px)
    white = bare[[media.index(medium) for _, medium in things]]
    key = on_white.new_tensor(KEY_RGB).view(1, 3, 1, 1)
    return (on_white + (1 - matte) * (key - white)).clamp(0, 1), matte


def assembled(encode: Callable[[Tensor], Tensor], layers: Layers) -> Tensor:
    """Latents (B, C, grid, grid) of scenes, encoded layer by layer.

    Args:
        encode: pictures (N, 3, H, W) in [-1, 1] to latents (N, C, H / 16, W / 16).
        layers: of the scenes.
    """
    parts = {}
    for side, (pictures, covered) in layers.things.items():
        latents = encode(pictures)
        margin = (latents.shape[-1] - side) // 2
        parts[side] = latents[..., margin:margin + side, margin:margin + side], covered
    rows = []
    for ground, things in zip(encode(layers.grounds).unbind(), layers.placed, strict=True):
        for side, number, top, left in things:
            latents, covered = parts[side][0][number], parts[side][1][number]
            after = GRID - side - left, GRID - side - top
            around = (left, after[0], top, after[1])
            ground = torch.where(F.pad(covered, around), F.pad(latents, around), ground)
        rows.append(ground)
    return torch.stack(rows)

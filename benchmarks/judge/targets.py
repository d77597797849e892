"""What the judge should answer for a scene, as tensors, and its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.judge.model import BACKGROUNDS, COLOUR_LABELS, GRID, LOOKS, Judge
from pipelines.world.concepts import Concept
from pipelines.world.scenes import Scene, SceneObject

IGNORE = -100
HEAT_SIGMA = 0.8  # of the Gaussian around a centre, in cells
POSITIVE_HEAT = 0.2  # cells at least this near a centre answer for its object
# Media that show no colours, and media that hide what lies behind.
COLOURLESS = ("bw", "pencil", "neon")
PLAIN_LOOK = {"emoji": None, "icon": None, None: None}


@dataclass(frozen=True)
class Targets:
    """Truth of a batch.

    Attributes:
        heat: (B, GRID, GRID) in [0, 1], 1 in the cell of a centre.
        rows, ys, xs: (n,) int64, the cells that answer for an object.
        concept, colour: (n,) int64 classes of those cells, ``IGNORE`` where nobody can tell.
        sides: (n, 4) float, distances from the cell's centre to the sides in cells.
        background, look: (B,) int64.
    """

    heat: Tensor
    rows: Tensor
    ys: Tensor
    xs: Tensor
    concept: Tensor
    colour: Tensor
    sides: Tensor
    background: Tensor
    look: Tensor


def look_of(scene: Scene) -> str:
    """The look of a scene: its medium, or its art style where the medium only chooses that."""
    return scene.objects[0].style if scene.medium in PLAIN_LOOK else str(scene.medium)


def _colour_class(item: SceneObject, scene: Scene, concepts: Mapping[str, Concept]) -> int:
    if scene.medium in COLOURLESS:
        return IGNORE
    # The renderer leaves a thing alone that has the colour by itself.
    if item.colour is None or item.colour == concepts[item.concept].native_colour:
        return COLOUR_LABELS.index("native")
    return COLOUR_LABELS.index(item.colour)


def targets_of(scenes: Sequence[Scene], classes: Mapping[str, int],
               concepts: Mapping[str, Concept], unknown: Sequence[bool] | None = None) -> Targets:
    """Truth of scenes.

    Args:
        scenes: what the pictures show.
        classes: class number by concept id; ``len(classes)`` stands for no concept.
        concepts: by id.
        unknown: pictures in which no concept can be made out any more.
    """
    at = torch.arange(GRID) + 0.5
    heat = torch.zeros(len(scenes), GRID, GRID)
    cells: list[Tensor] = []
    labels: list[tuple[int, int, tuple[float, float, float, float]]] = []
    owners: list[Tensor] = []
    for row, scene in enumerate(scenes):
        lost = unknown is not None and unknown[row]
        for item in scene.objects:
            x0, y0, x1, y1 = (GRID * side for side in item.box)
            cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
            # Exactly 1 in the cell that holds the centre, wherever in the cell it lies.
            kx, ky = min(int(cx), GRID - 1) + 0.5, min(int(cy), GRID - 1) + 0.5
            blob = torch.exp(-((at[None] - kx) ** 2 + (at[:, None] - ky) ** 2)
                             / (2 * HEAT_SIGMA**2))
            near = (blob > POSITIVE_HEAT) & (blob >= heat[row])
            heat[row] = torch.maximum(heat[row], blob)
            ys, xs = near.nonzero(as_tuple=True)
            cells.append(torch.stack([torch.full_like(ys, row), ys, xs], 1))
            owners.append(torch.full_like(ys, len(labels)))
            concept = len(classes) if lost else classes[item.concept]
            labels.append((concept, IGNORE if lost else _colour_class(item, scene, concepts),
                           (x0, y0, x1, y1)))
    where, owner = torch.cat(cells), torch.cat(owners)
    boxes = torch.tensor([label[2] for label in labels])[owner]
    centres = where[:, [2, 1]].float() + 0.5
    sides = torch.cat([centres - boxes[:, :2], boxes[:, 2:] - centres], 1).clamp_min(0.05)
    hidden = [scene.medium in COLOURLESS for scene in scenes]
    return Targets(
        heat, where[:, 0], where[:, 1], where[:, 2],
        torch.tensor([label[0] for label in labels])[owner],
        torch.tensor([label[1] for label in labels])[owner], sides,
        torch.tensor([IGNORE if h else _class(s.background, BACKGROUNDS)
                      for s, h in zip(scenes, hidden, strict=True)]),
        torch.tensor([_class(look_of(s), LOOKS) for s in scenes]))


def _class(name: str, names: Sequence[str]) -> int:
    """Number of a class; ``IGNORE`` for what the judge has no name for, as a backdrop."""
    return names.index(name) if name in names else IGNORE


def heat_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss of a heat map, per centre (Zhou et al. 2019, equation 1; alpha 2, beta 4)."""
    probability = logits.sigmoid()
    centre = target == 1
    hit = F.logsigmoid(logits) * (1 - probability) ** 2
    miss = F.logsigmoid(-logits) * probability**2 * (1 - target) ** 4
    return -torch.where(centre, hit, miss).sum() / centre.sum().clamp_min(1)


def box_loss(sides: Tensor, target: Tensor) -> Tensor:
    """1 - IoU of boxes around one common point, both (n, 4) as distances to the sides."""
    overlap = torch.minimum(sides, target)
    both = (overlap[:, 0] + overlap[:, 2]) * (overlap[:, 1] + overlap[:, 3])
    area = (sides[:, 0] + sides[:, 2]) * (sides[:, 1] + sides[:, 3])
    wanted = (target[:, 0] + target[:, 2]) * (target[:, 1] + target[:, 3])
    return (1 - both / (area + wanted - both).clamp_min(1e-3)).mean()


def judge_loss(judge: Judge, pixels: Tensor, truth: Targets) -> dict[str, Tensor]:
    """The parts of the loss on pictures (B, 3, image_px, image_px) in [0, 1]; their sum trains."""
    output = judge(pixels)
    cells = judge.read_cells(output.features[truth.rows, truth.ys, truth.xs])
    parts = {
        "heat": heat_loss(output.heat, truth.heat),
        "concept": F.cross_entropy(cells.concept, truth.concept),
        "box": box_loss(cells.sides, truth.sides),
    }
    # A mean over no cells would be NaN.
    if bool((truth.colour != IGNORE).any()):
        parts["colour"] = 0.5 * F.cross_entropy(cells.colour, truth.colour, ignore_index=IGNORE)
    if bool((truth.look != IGNORE).any()):
        parts["look"] = 0.3 * F.cross_entropy(output.look, truth.look, ignore_index=IGNORE)
    if bool((truth.background != IGNORE).any()):
        parts["background"] = 0.3 * F.cross_entropy(output.background, truth.background,
                                                    ignore_index=IGNORE)
    return parts

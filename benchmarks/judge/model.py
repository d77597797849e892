"""The judge: a small detector that reads back from a picture what it shows.

One cell of a 16 x 16 grid answers for one object: is its centre here, which concept is it, which
colour, and how far are its four sides. Two more heads read the background and the look of the
whole picture. It is trained on renders with exact ground truth (``benchmarks/judge/train.py``) and
shares neither weights nor scene seeds with any model that it judges.

Source: centres as peaks of a heat map, Zhou et al., "Objects as Points" (2019), section 3; boxes
as distances to the sides, Tian et al., "FCOS" (2019), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.world.scenes import COLOURS, PLACES

GRID = 16
COLOUR_LABELS = (*COLOURS, "native")
BACKGROUNDS = (*COLOURS, *PLACES)
# What a picture looks like; "emoji" and "icon" are only words for two of the plain looks.
LOOKS = ("noto", "twemoji", "fluent", "sticker", "watercolour", "oil", "pencil", "pixel", "mosaic",
         "neon", "bw")


@dataclass(frozen=True)
class JudgeConfig:
    """Shape of a judge.

    Attributes:
        num_concepts: concepts it tells apart; one more class stands for "an object, but none of
            these".
        widths: channels at strides 4, 8 and 16.
        depths: residual blocks at strides 4, 8 and 16.
        neck: channels of the grid that the heads read.
        image_px: side of the pictures it looks at.
    """

    num_concepts: int
    widths: tuple[int, ...] = (64, 128, 256)
    depths: tuple[int, ...] = (1, 2, 2)
    neck: int = 160
    image_px: int = 128


class JudgeOutput(NamedTuple):
    """Raw answers of the network.

    Attributes:
        heat: (B, GRID, GRID) logits that an object has its centre in the cell.
        features: (B, GRID, GRID, neck) of the cells, for ``Judge.read_cells``.
        background: (B, len(BACKGROUNDS)) logits.
        look: (B, len(LOOKS)) logits.
    """

    heat: Tensor
    features: Tensor
    background: Tensor
    look: Tensor


class CellOutput(NamedTuple):
    """Answers of n cells: logits of concepts (n, num_concepts + 1) and colours (n, 12), and the
    distances (n, 4) from the cell's centre to the left, top, right and bottom side in cells."""

    concept: Tensor
    colour: Tensor
    sides: Tensor


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))


class _Block(nn.Module):
    """Two 3 x 3 convolutions around a shortcut (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class Judge(nn.Module):
    """Pictures to objects, background and look."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        fine, middle, coarse = config.widths
        self.stem = _conv(3 * 16, fine)
        self.fine = nn.Sequential(*(_Block(fine) for _ in range(config.depths[0])))
        self.to_middle = _conv(fine, middle, 2)
        self.middle = nn.Sequential(*(_Block(middle) for _ in range(config.depths[1])))
        self.to_coarse = _conv(middle, coarse, 2)
        self.coarse = nn.Sequential(*(_Block(coarse) for _ in range(config.depths[2])))
        self.lateral = nn.Conv2d(middle, config.neck, 1)
        self.descend = nn.Conv2d(coarse, config.neck, 1)
        self.neck = _conv(config.neck, config.neck)
        self.heat = nn.Linear(config.neck, 1)
        self.concept = nn.Linear(config.neck, config.num_concepts + 1)
        self.colour = nn.Linear(config.neck, len(COLOUR_LABELS))
        self.sides = nn.Linear(config.neck, 4)
        self.background = nn.Linear(middle + coarse, len(BACKGROUNDS))
        self.look = nn.Linear(middle + coarse, len(LOOKS))
        nn.init.constant_(self.heat.bias, -3.0)  # few cells hold a centre

    def forward(self, pixels: Tensor) -> JudgeOutput:
        """Look at pictures (B, 3, image_px, image_px), float in [0, 1]."""
        x = F.pixel_unshuffle(pixels * 2 - 1, 4)
        x = self.fine(F.relu(self.stem(x.contiguous(memory_format=torch.channels_last))))
        middle = self.middle(F.relu(self.to_middle(x)))
        coarse = self.coarse(F.relu(self.to_coarse(middle)))
        up = F.interpolate(self.descend(coarse), scale_factor=2.0, mode="nearest")
        features = F.relu(self.neck(F.relu(self.lateral(middle) + up))).permute(0, 2, 3, 1)
        pooled = torch.cat([middle.mean((2, 3)), coarse.mean((2, 3))], dim=1)
        return JudgeOutput(self.heat(features)[..., 0].float(), features,
                           self.background(pooled).float(), self.look(pooled).float())

    def read_cells(self, cells: Tensor) -> CellOutput:
        """What the cells with features (n, neck) hold."""
        return CellOutput(self.concept(cells).float(), self.colour(cells).float(),
                          F.softplus(self.sides(cells).float()))


@dataclass(frozen=True)
class Detection:
    """One object that the judge saw.

    Attributes:
        concept: id of the likeliest concept; None where it is like no concept.
        probability: of ``concept``, in [0, 1].
        score: that there is an object at all, in [0, 1].
        colour: a colour's name, or "native".
        box: (x0, y0, x1, y1) in [0, 1].
    """

    concept: str | None
    probability: float
    score: float
    colour: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Verdict:
    """All that the judge says of one picture; detections come best first."""

    detections: tuple[Detection, ...]
    background: str
    look: str


def prepare(images: Tensor, image_px: int) -> Tensor:
    """Pictures (B, 3, H, W) float in [0, 1] at the judge's size, averaged down or drawn up."""
    if images.shape[-1] == image_px and images.shape[-2] == image_px:
        return images
    shrinking = images.shape[-1] >= image_px
    return F.interpolate(images, (image_px, image_px), mode="area" if shrinking else "bilinear")


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def suppress(detections: Sequence[Detection], max_iou: float = 0.6) -> tuple[Detection, ...]:
    """Keep the best of detections that overlap by more than ``max_iou``, whatever their class."""
    kept: list[Detection] = []
    for one in sorted(detections, key=lambda d: -d.score):
        if all(_iou(one.box, other.box) <= max_iou for other in kept):
            kept.append(one)
    return tuple(kept)


@torch.no_grad()
def look_at(judge: Judge, concept_ids: Sequence[str], images: Tensor, min_score: float = 0.4,
            batch_size: int = 64) -> list[Verdict]:
    """Judge pictures.

    Args:
        judge: the network, in evaluation mode.
        concept_ids: ids of its concepts, in training order.
        images: (N, 3, H, W) float in [0, 1] or (N, H, W, 3) uint8.
        min_score: peaks of the heat map below this are no objects.
        batch_size: pictures looked at together.

    Returns:
        One verdict a picture.
    """
    verdicts: list[Verdict] = []
    for part in images.split(batch_size):
        if part.dtype == torch.uint8:
            part = part.permute(0, 3, 1, 2).float() / 255
        output = judge(prepare(part, judge.config.image_px))
        heat = output.heat.sigmoid()
        peaks = (heat == F.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]) & (heat >= min_score)
        rows, ys, xs = peaks.nonzero(as_tuple=True)
        cells = judge.read_cells(output.features[rows, ys, xs])
        found = _detections(cells, heat[rows, ys, xs], ys, xs, concept_ids)
        for i in range(len(part)):
            mine = [d for d, row in zip(found, rows.tolist(), strict=True) if row == i]
            verdicts.append(Verdict(suppress(mine), BACKGROUNDS[int(output.background[i].argmax())],
                                    LOOKS[int(output.look[i].argmax())]))
    return verdicts


def _detections(cells: CellOutput, scores: Tensor, ys: Tensor, xs: Tensor,
                concept_ids: Sequence[str]) -> list[Detection]:
    probabilities, concepts = cells.concept.softmax(-1).max(-1)
    centres = torch.stack([xs, ys, xs, ys], 1) + 0.5
    boxes = (centres + cells.sides * cells.sides.new_tensor([-1, -1, 1, 1])) / GRID
    colours = cells.colour.argmax(-1).tolist()
    classes: list[int] = concepts.tolist()
    rows = zip(classes, probabilities.tolist(), scores.tolist(), colours, boxes.tolist(),
               strict=True)
    return [Detection(concept_ids[c] if c < len(concept_ids) else None, p, s, COLOUR_LABELS[colour],
                      (box[0], box[1], box[2], box[3])) for c, p, s, colour, box in rows]


def config_dict(config: JudgeConfig) -> dict[str, Any]:
    """The configuration as plain data."""
    return asdict(config)

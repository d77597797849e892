"""The judge: truth of scenes as tensors, decoding, files, and that it can learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.judge.files import load_judge, save_judge
from benchmarks.judge.model import (
    COLOUR_LABELS,
    GRID,
    Detection,
    Judge,
    JudgeConfig,
    look_at,
    prepare,
    suppress,
)
from benchmarks.judge.targets import IGNORE, box_loss, heat_loss, judge_loss, targets_of
from pipelines.world.concepts import concepts_by_id
from pipelines.world.scenes import Scene, SceneObject

IDS = ("dog", "car", "apple", "banana")
TINY = JudgeConfig(num_concepts=len(IDS), widths=(16, 24, 32), depths=(0, 1, 1), neck=32)


def scene(*objects: SceneObject, medium: str | None = None) -> Scene:
    return Scene("pair", objects, None, "white", False, medium, 0)


def thing(concept: str, x: float, y: float, side: float = 6, colour: str | None = None,
          ) -> SceneObject:
    """An object with its upper left corner in cell (x, y) of the grid."""
    box = (x / GRID, y / GRID, (x + side) / GRID, (y + side) / GRID)
    return SceneObject(concept, "fluent", colour, None, box)


def truth(*scenes: Scene, **options):
    return targets_of(scenes, {name: i for i, name in enumerate(IDS)}, concepts_by_id(), **options)


def blobs(*scenes: Scene) -> torch.Tensor:
    """Pictures (B, 3, 128, 128) with a flat square of the concept's own shade for each object."""
    shades = {"dog": (0.9, 0.5, 0.1), "car": (0.1, 0.2, 0.9), "apple": (0.9, 0.1, 0.2),
              "banana": (0.9, 0.9, 0.1)}
    pictures = torch.ones(len(scenes), 3, 128, 128)
    for row, one in enumerate(scenes):
        for item in one.objects:
            x0, y0, x1, y1 = (round(128 * v) for v in item.box)
            pictures[row, :, y0:y1, x0:x1] = torch.tensor(shades[item.concept])[:, None, None]
    return pictures


def test_truth_has_a_peak_and_the_box_of_each_object() -> None:
    found = truth(scene(thing("dog", 0, 4), thing("car", 9, 5, colour="blue")))
    assert [tuple(c) for c in (found.heat[0] == 1).nonzero().tolist()] == [(7, 3), (8, 12)]
    dog = found.concept == IDS.index("dog")
    assert dog.any()
    assert (found.concept[~dog] == IDS.index("car")).all()
    centre = torch.stack([found.xs, found.ys], 1) + 0.5
    left_top = (centre - found.sides[:, :2])[dog]
    assert torch.allclose(left_top, torch.tensor([0.0, 4.0]).expand_as(left_top))
    assert set(found.colour[~dog].tolist()) == {COLOUR_LABELS.index("blue")}
    assert set(found.colour[dog].tolist()) == {COLOUR_LABELS.index("native")}


def test_an_unpainted_colour_is_native_and_a_grey_medium_has_none() -> None:
    red_apple = thing("apple", 4, 4, colour="red")
    assert set(truth(scene(red_apple)).colour.tolist()) == {COLOUR_LABELS.index("native")}
    grey = truth(scene(thing("car", 4, 4, colour="blue"), medium="bw"))
    assert set(grey.colour.tolist()) == {IGNORE}
    assert grey.background.tolist() == [IGNORE]


def test_a_lost_object_is_there_but_of_no_concept() -> None:
    found = truth(scene(thing("dog", 4, 4)), unknown=[True])
    assert (found.heat == 1).sum() == 1
    assert set(found.concept.tolist()) == {len(IDS)}


def test_losses_are_least_at_the_truth() -> None:
    heat = truth(scene(thing("dog", 4, 4))).heat
    right = torch.where(heat == 1, 8.0, -8.0)
    assert heat_loss(right, heat) < 0.01 < heat_loss(-right, heat)
    sides = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert box_loss(sides, sides).item() == pytest.approx(0, abs=1e-6)
    assert box_loss(2 * sides, sides).item() == pytest.approx(0.75, abs=1e-5)


def test_losses_stay_finite_without_a_colour_or_background_to_learn() -> None:
    picture = scene(thing("dog", 4, 4), medium="pencil")
    parts = judge_loss(Judge(TINY), blobs(picture), truth(picture))
    assert all(torch.isfinite(part) for part in parts.values())
    assert not {"colour", "background"} & parts.keys()


def test_overlapping_detections_are_one_object() -> None:
    best = Detection("dog", 0.9, 0.9, "native", (0.0, 0.0, 0.5, 0.5))
    again = replace(best, score=0.7, box=(0.02, 0.0, 0.5, 0.5))
    beside = replace(best, score=0.6, box=(0.5, 0.0, 1.0, 0.5))
    assert suppress([beside, again, best]) == (best, beside)


def test_pictures_of_any_size_are_looked_at() -> None:
    for size in (64, 128, 256):
        assert prepare(torch.rand(2, 3, size, size), 128).shape == (2, 3, 128, 128)
    judge = Judge(TINY).eval()
    assert len(look_at(judge, IDS, torch.zeros(3, 256, 256, 3, dtype=torch.uint8))) == 3


def test_it_overfits_a_tiny_batch() -> None:
    torch.manual_seed(0)
    scenes = [scene(thing("dog", 0, 5), thing("car", 9, 5)), scene(thing("apple", 5, 5)),
              scene(thing("banana", 1, 1), thing("apple", 9, 9)), scene(thing("car", 4, 6))]
    pictures, wanted = blobs(*scenes), truth(*scenes)
    judge = Judge(TINY)
    optimizer = torch.optim.AdamW(judge.parameters(), 1e-2)
    losses = []
    for _ in range(50):
        loss = torch.stack(list(judge_loss(judge, pictures, wanted).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    # Statistics of batch normalisation lag behind weights that move this fast.
    for module in judge.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        judge(pictures)
    for one, verdict in zip(scenes, look_at(judge.eval(), IDS, pictures), strict=True):
        assert sorted(str(d.concept) for d in verdict.detections) == sorted(
            item.concept for item in one.objects)


def test_files_bring_back_the_same_judge(tmp_path: Path) -> None:
    torch.manual_seed(1)
    judge = Judge(TINY).eval()
    with torch.no_grad():
        judge.heat.bias.fill_(1.0)  # so that it sees something
    path = tmp_path / "judge.safetensors"
    save_judge(judge, IDS, {"renders": {"objects": 0.5}}, path)
    loaded = load_judge(path)
    assert loaded.concept_ids == IDS
    assert loaded.figures["renders"]["objects"] == 0.5
    pictures = torch.rand(2, 3, 128, 128)
    before, after = judge(pictures), loaded.network(pictures)
    assert torch.allclose(before.heat, after.heat, atol=0.05)
    assert torch.allclose(before.look, after.look, atol=0.05)
    assert loaded(pictures)[0].detections


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    judge = Judge(TINY)
    with torch.no_grad():
        judge.heat.bias.fill_(1e6)
    with pytest.raises(ValueError, match="finite"):
        save_judge(judge, IDS, {}, tmp_path / "judge.safetensors")
    assert not (tmp_path / "judge.safetensors").exists()

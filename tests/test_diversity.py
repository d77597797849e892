"""Diversity: nothing between equal pictures, as much as the world's between its renders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.diversity import (
    alike_share,
    chosen_prompts,
    distance,
    diversity_figures,
    diversity_table,
    ssim,
)
from benchmarks.tasks import TASKS, TaskPrompt, Wanted, scene_of
from training.data import World

PROMPT = TaskPrompt("single_object", "a photo of a dog", (Wanted("dog"),))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def thumbnails(pictures: Tensor) -> Tensor:
    """Features that tell pictures apart: their thumbnails, around grey."""
    return F.interpolate(pictures, (8, 8), mode="area").flatten(1) - 0.5


def renders(world: World, count: int, first: int = 0) -> Tensor:
    return world.render([scene_of(PROMPT, salt) for salt in range(first, first + count)], 128)


def as_images(pictures: Tensor) -> np.ndarray:
    return (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()


def figures(world: World, *candidates: Tensor) -> dict[str, float]:
    return diversity_figures([(PROMPT, as_images(c)) for c in candidates], thumbnails,
                             lambda scenes: world.render(scenes, 128))


def test_equal_pictures_have_no_diversity(world: World) -> None:
    same = renders(world, 1).expand(8, -1, -1, -1)
    found = figures(world, same)
    assert found["share"] == 0
    assert "| dalle | 1 | 8 | 0.00 | 1.00 |" in diversity_table({"dalle": found})
    assert found["alike"] == 1
    assert found["prompts"] == 1
    assert found["candidates"] == 8


def test_other_renders_are_as_varied_as_renders(world: World) -> None:
    found = figures(world, renders(world, 8, first=100), renders(world, 8, first=200))
    assert 0.5 < found["share"] < 2
    assert found["alike"] < 0.2
    assert found["renders_alike"] < 0.2
    # Half of the candidates twice is less varied, and every seventh pair is alike.
    half = renders(world, 4, first=100)
    doubled = figures(world, torch.cat([half, half]))
    assert 0 < doubled["share"] < found["share"]
    assert doubled["alike"] == pytest.approx(4 / 28, abs=0.02)


def test_the_renders_of_a_prompt_show_what_it_asks_for() -> None:
    scenes = [scene_of(PROMPT, salt) for salt in range(40)]
    assert {o.concept for s in scenes for o in s.objects} == {"dog"}
    assert len({s.objects[0].style for s in scenes}) > 4
    assert len({s.objects[0].box for s in scenes}) > 30
    assert len({s.background for s in scenes}) > 5


def test_ssim_is_one_of_equals_and_falls_with_what_differs(world: World) -> None:
    first = renders(world, 4)
    assert torch.allclose(ssim(first, first), torch.ones(4), atol=1e-5)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(first.shape, generator=generator)
    little, much = (ssim(first, (first + s * noise).clamp(0, 1)).mean() for s in (0.02, 0.2))
    assert 1 > little > much
    assert ssim(first, 1 - first).max() < 0.9
    assert alike_share(torch.cat([first[:1], first[:1] + 0.004])) == 1


def test_distance_is_that_of_directions() -> None:
    ones = torch.zeros(2, 3, 8, 8)
    assert distance(ones, lambda _: torch.tensor([[1.0, 0.0], [5.0, 0.0]])) == pytest.approx(0)
    assert distance(ones, lambda _: torch.tensor([[1.0, 0.0], [0.0, 3.0]])) == pytest.approx(1)


def test_a_hundred_prompts_are_of_all_tasks(world: World) -> None:
    prompts = chosen_prompts(world.by_id)
    assert len(prompts) == 100
    assert {p.task for p in prompts} > set(TASKS)


def test_one_picture_of_a_prompt_is_not_measured(world: World) -> None:
    with pytest.raises(ValueError, match="two pictures"):
        figures(world, renders(world, 1))

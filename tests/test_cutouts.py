"""Cutouts: gradients, the whole picture, antialiasing, rows that do not know of one another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from pipelines.vqgan_clip.cutouts import (
    STRENGTHS,
    Cutouts,
    _homographies,
    _sizes,
    draw_numbers,
    make_cutouts,
)

PLAIN = Cutouts(num_cutouts=6, augmentations="none", noise=0)
STRONG = Cutouts(num_cutouts=6, augmentations="strong", flip=True, noise=0.1)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def smooth(count: int, side_px: int) -> torch.Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, (side_px, side_px), mode="bicubic").clamp(0, 1)


def test_every_cutout_reaches_the_pixels() -> None:
    pixels = smooth(2, 32).requires_grad_()
    cut = make_cutouts(pixels, draw_numbers(generators(0, 1), STRONG, 24), STRONG, 24)
    assert cut.shape == (12, 3, 24, 24)
    for i, one in enumerate(cut):
        (gradient,) = torch.autograd.grad(one.square().sum(), pixels, retain_graph=True)
        assert gradient[i // 6].abs().sum() > 0
        assert not gradient[1 - i // 6].any(), "a cutout shows its own picture only"


def test_the_first_cutout_is_the_picture_itself() -> None:
    pixels = smooth(2, 32)
    cut = make_cutouts(pixels, draw_numbers(generators(0, 1), STRONG, 32), STRONG, 32)
    torch.testing.assert_close(cut[::6], pixels, atol=1e-5, rtol=0)
    assert not torch.allclose(cut[1::6], pixels, atol=1e-2)


def test_cutouts_without_augmentation_are_plain_crops() -> None:
    cutouts = replace(PLAIN, whole=0.0, smallest=0.5, cut_power=100.0)  # all but the first are half
    x = torch.linspace(0, 1, 65)[:64].expand(1, 3, 64, 64) + 1 / 130
    cut = make_cutouts(x, draw_numbers(generators(3), cutouts, 32), cutouts, 32)
    for one in cut[1:]:
        slope = (one[:, :, 31] - one[:, :, 0]).mean()
        assert slope.item() == pytest.approx(31 / 65, abs=0.02)


def test_large_pictures_are_read_without_aliasing() -> None:
    stripes = (torch.arange(128) % 2).float().expand(1, 3, 128, 128)  # 1 px wide
    cut = make_cutouts(stripes, draw_numbers(generators(0), PLAIN, 32), PLAIN, 32)
    assert (cut[0] - 0.5).abs().max() < 0.01
    finest = replace(PLAIN, smallest=0.1, whole=0.0, cut_power=100.0)
    near = make_cutouts(stripes, draw_numbers(generators(0), finest, 32), finest, 32)
    assert near[1:].std() > 0.2, "a small cutout shows the stripes"


def test_cutouts_of_a_picture_depend_on_its_generator_alone() -> None:
    pixels = smooth(3, 32)
    together = make_cutouts(pixels, draw_numbers(generators(4, 5, 6), STRONG, 24), STRONG, 24)
    alone = make_cutouts(pixels[1:2], draw_numbers(generators(5), STRONG, 24), STRONG, 24)
    torch.testing.assert_close(together[6:12], alone)


@pytest.mark.parametrize(("height", "width"), [(32, 96), (96, 32)])
def test_cutouts_of_a_long_picture_are_squares_and_reach_its_ends(height: int, width: int) -> None:
    across = (torch.arange(width) + 0.5).expand(height, width)
    down = (torch.arange(height) + 0.5)[:, None].expand(height, width)
    places = torch.stack([across, down, across])[None]
    cutouts = replace(PLAIN, num_cutouts=64, smallest=0.5, whole=0.0)
    cut = make_cutouts(places, draw_numbers(generators(0), cutouts, 16), cutouts, 16)
    spans = cut[:, :2, -1, -1] - cut[:, :2, 0, 0]
    # The first is the whole picture, squeezed; the others are squares of its shorter side or less.
    assert spans[0].tolist() == pytest.approx([width * 15 / 16, height * 15 / 16], rel=0.07)
    torch.testing.assert_close(spans[1:, 0], spans[1:, 1], rtol=0.05, atol=0.5)
    assert spans[1:].max() <= 32
    along = cut[1:, 0 if width > height else 1]
    assert along.amin() < 10
    assert along.amax() > 86


def test_mirrored_and_not() -> None:
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    cutouts = replace(PLAIN, num_cutouts=40, flip=True, whole=1.0)
    cut = make_cutouts(ramp, draw_numbers(generators(0), cutouts, 16), cutouts, 16)
    mirrored = (cut[:, 0, 0, 0] > cut[:, 0, 0, -1]).float().mean()
    assert 0.2 < mirrored < 0.8
    plain = replace(cutouts, flip=False)
    cut = make_cutouts(ramp, draw_numbers(generators(0), plain, 16), plain, 16)
    assert (cut[:, 0, 0, 0] < cut[:, 0, 0, -1]).all()


def test_one_pass_is_what_single_reads_and_plain_formulas_give() -> None:
    pixels = smooth(1, 32).requires_grad_()
    numbers, side, count = draw_numbers(generators(2), STRONG, 24), 24, STRONG.num_cutouts
    untouched = torch.arange(count) == 0
    sizes = _sizes(numbers.uniform[:, 0], torch.arange(len(numbers.uniform)) % 6, STRONG, (32, 32))
    matrices = _homographies(numbers.uniform, sizes, untouched, STRONG)
    axis = (torch.arange(side) * 2 + 1) / side - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    mapped = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(1, -1, 3) @ matrices.mT
    grid = (mapped[..., :2] / mapped[..., 2:]).view(-1, side, side, 2)
    cut = torch.cat([F.grid_sample(pixels, each[None], padding_mode="border", align_corners=False)
                     for each in grid])
    signed = ((2 * numbers.uniform - 1) * ~untouched[:, None]).view(count, -1, 1, 1, 1)
    strength = STRENGTHS["strong"]
    contrast = 1 + signed[:, 8] * strength.contrast
    grey = cut.mean(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    coloured = (grey + (cut - grey) * (1 + signed[:, 9] * strength.saturation) - mean) * contrast
    noise = (numbers.uniform[:, 10] * STRONG.noise * ~untouched).view(-1, 1, 1, 1)
    assert numbers.normal is not None
    expected = coloured + mean + signed[:, 7] * strength.brightness + noise * numbers.normal
    found = make_cutouts(pixels, numbers, STRONG, side)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    weights = torch.randn(found.shape, generator=generators(9)[0])
    gradients = [torch.autograd.grad((each * weights).sum(), pixels, retain_graph=True)[0]
                 for each in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("at_once", [1, 2, 4, 5])
def test_groups_of_cutouts_are_those_of_the_whole(at_once: int) -> None:
    pixels, numbers = smooth(2, 48), draw_numbers(generators(1, 2), STRONG, 24)
    whole = make_cutouts(pixels, numbers, STRONG, 24).unflatten(0, (2, 6))
    for first in range(0, 6, at_once):
        last = min(first + at_once, 6)
        part = make_cutouts(pixels, numbers.some(6, first, last), STRONG, 24, first)
        torch.testing.assert_close(part.unflatten(0, (2, -1)), whole[:, first:last])

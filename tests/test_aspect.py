"""Pictures that are no squares: their proportions, sides, and VQGAN+CLIP's pictures of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.core.aspect import oblongs_px, parse_aspect, sides_px
from pipelines.core.errors import InvalidRequest
from pipelines.core.events import Preview, Result
from pipelines.core.images import fit
from pipelines.models.cache.cache import ModelCache
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from pipelines.vqgan_clip.options import VQGANCLIPOptions
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.small_models import small_cache


@pytest.mark.parametrize(("text", "aspect"), [
    ("1:1", 1.0), ("3:2", 1.5), (" 16:9 ", 16 / 9), ("2x3", 2 / 3), ("1.85:1", 1.85), ("4×1", 4.0)])
def test_proportions_are_read(text: str, aspect: float) -> None:
    assert parse_aspect(text) == pytest.approx(aspect)


@pytest.mark.parametrize("text", ["", "3", "3:", "a:b", "-1:1", "0:1", "1:0", "1:2:3", "1e3:1",
                                  "3 : 2 cm", "1" * 20])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^Proportions are written as width:height") as caught:
        parse_aspect(text)
    assert caught.value.field == "aspect"


@pytest.mark.parametrize("text", ["1:100", "100:1", "9:2"])
def test_long_strips_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"^Proportions of {text} are too long: one side may "
                                             r"be up to 4 times the other\.$"):
        parse_aspect(text)


@pytest.mark.parametrize("aspect", [0.25, 0.5, 2 / 3, 1.0, 1.5, 16 / 9, 4.0])
@pytest.mark.parametrize("size_px", [128, 256, 768])
def test_sides_fit_the_grid_and_hold_as_many_pixels(aspect: float, size_px: int) -> None:
    height, width = sides_px(size_px, aspect, 16)
    assert height % 16 == width % 16 == 0
    assert height * width == pytest.approx(size_px**2, rel=0.15)
    assert width / height == pytest.approx(aspect, rel=0.15)
    assert sides_px(size_px, 1.0, 16) == (size_px, size_px)


def test_every_oblong_that_can_be_drawn_is_known() -> None:
    def by_trying(side: int) -> set[tuple[int, int]]:
        aspects = 4 ** np.linspace(-1, 1, 40_001)
        made = (sides_px(side, aspect, 16) for aspect in aspects)
        return {(width, height) for height, width in made if width != height}

    for side in (128, 192, 320):
        found = oblongs_px([side], 16)
        assert set(found) == by_trying(side)
        for (width, height), (size_px, aspect) in found.items():
            assert sides_px(size_px, parse_aspect(aspect), 16) == (height, width)
    both = oblongs_px([192, 128], 16)
    assert {size_px for size_px, _ in both.values()} == {192, 128}
    assert set(both) == by_trying(128) | by_trying(192)
    assert oblongs_px([128], 8)[160, 104] == (128, "20:13"), "its own proportions where they do"


def test_a_picture_is_cut_to_the_proportions_and_not_squeezed() -> None:
    picture = np.zeros((60, 90, 3), np.uint8)
    picture[10:50, 5:85] = 255  # what the central 80 × 40 holds
    fitted = fit(picture, 40, 80)
    assert fitted.shape == (40, 80, 3)
    assert fitted[4:-4, 6:-6].min() > 230, "nothing but the middle is left"
    assert fit(picture, 32, 32).shape == (32, 32, 3)


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def run(cache: ModelCache, **fields: Any) -> tuple[list[Preview], Result]:
    registry = Registry()
    registry.register(VQGANCLIPPipeline())
    options = {"iterations": 2, "preview_every": 1, **fields.pop("options", {})}
    request = registry.check({"pipeline": "vqgan_clip", "prompt": "a red apple", "seed": 3,
                              "num_images": 2, "options": options, **fields})
    events = list(registry.get("vqgan_clip").run(request, RunContext(cache, torch.device("cpu"))))
    assert isinstance(events[-1], Result)
    return [event for event in events if isinstance(event, Preview)], events[-1]


@pytest.mark.parametrize("init", ["plain", "noise"])
def test_vqgan_clip_draws_what_is_no_square(cache: ModelCache, init: str) -> None:
    options = {"aspect": "2:1", "init": init, "num_cutouts": 3, "whole_cuts": 0.4}
    previews, result = run(cache, options=options)
    height, width = result.candidates[0].image.shape[:2]
    assert width / height == pytest.approx(2, rel=0.1)
    assert previews[0].images.shape[1:3] == (height // 2, width // 2), "then drawn twice as large"
    _, again = run(cache, options=options)
    assert np.array_equal(result.candidates[0].image, again.candidates[0].image)


def test_shapes_are_made_of_options_that_make_them() -> None:
    shapes = VQGANCLIPPipeline().shapes_px()
    assert next(iter(shapes)) == (256, 256), "the usual one first"
    for (width, height), options in shapes.items():
        checked = VQGANCLIPOptions.model_validate(dict(options))
        assert sides_px(checked.size_px, parse_aspect(checked.aspect), 8) == (
            height // 2, width // 2)


def test_an_init_image_of_other_proportions(cache: ModelCache) -> None:
    file = io.BytesIO()
    Image.new("RGB", (90, 60), "red").save(file, "PNG")
    _, result = run(cache, init_image=file.getvalue(),
                    options={"aspect": "2:3", "image_weight": 1.0, "init_weight": 1.0})
    height, width = result.candidates[0].image.shape[:2]
    assert height / width == pytest.approx(1.5, rel=0.1)

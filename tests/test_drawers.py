"""Drawers beside the VQGAN: pixel art and waves, behind one interface, in whole runs."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.core.errors import InvalidRequest
from pipelines.core.events import Preview
from pipelines.models.cache.cache import ModelCache
from pipelines.registry import Registry
from pipelines.vqgan_clip.cutouts import Cutouts
from pipelines.vqgan_clip.descent import Descent
from pipelines.vqgan_clip.drawer import Drawer
from pipelines.vqgan_clip.fourier_drawer import FourierDrawer
from pipelines.vqgan_clip.guides import Guide
from pipelines.vqgan_clip.optimise import Optimisation
from pipelines.vqgan_clip.options import VQGANCLIPOptions
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from pipelines.vqgan_clip.pixel_drawer import PixelDrawer
from pipelines.vqgan_clip.presets import automatic_values
from pipelines.vqgan_clip.starts import Init, start_parameters
from pipelines.weighted_prompts import WeightedPrompt
from tests.paused_server import FEW, Server, cache, curve_of, result_of, same, server
from tests.test_vqgan_clip import events_of, image_of, picture

__all__ = ["cache", "server"]

CPU = torch.device("cpu")
NAMES = ("pixel", "fourier")


def drawer_of(name: str) -> Drawer:
    return PixelDrawer(4, 6, CPU) if name == "pixel" else FourierDrawer(1.0, CPU)


def scene(height: int = 32, width: int = 48) -> torch.Tensor:
    """A picture (1, 3, H, W) in [-1, 1] with a smooth sky and a square with hard edges."""
    pixels = torch.linspace(-0.9, 0.9, height).view(1, 1, height, 1).repeat(1, 3, 1, width)
    pixels[:, 0, 8:24, 8:24] = 0.8
    pixels[:, 1:, 8:24, 8:24] = -0.6
    return pixels


def colours_of(image: np.ndarray) -> int:
    return len(np.unique(image.reshape(-1, 3), axis=0))


def test_pixel_art_is_squares_of_few_colours() -> None:
    drawer = PixelDrawer(4, 6, CPU)
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    parameters = torch.cat([drawer.random(8, 12, generator) for generator in generators])
    drawn = drawer.draw(parameters)
    assert drawn.shape == (2, 3, 32, 48)
    squares = drawn.unflatten(3, (12, 4)).unflatten(2, (8, 4))
    assert torch.equal(squares, squares[:, :, :, :1, :, :1].expand_as(squares))
    for each in drawn.round(decimals=4).permute(0, 2, 3, 1).numpy():
        assert colours_of(each) == 6
    assert not torch.equal(*(torch.unique(each) for each in drawn)), "a palette for each"


def test_pixel_art_of_a_picture_keeps_its_colours() -> None:
    drawer = PixelDrawer(4, 16, CPU)
    drawn = drawer.draw(drawer.parameters(scene()))
    red = drawn[0, :, 12:20, 12:20].mean(dim=(1, 2))
    torch.testing.assert_close(red, torch.tensor([0.8, -0.6, -0.6]), atol=0.02, rtol=0)
    assert (drawn - scene()).abs().mean() < 0.1


@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_waves_draw_any_picture_whatever_their_decay(decay: float, shape: tuple[int, int]) -> None:
    drawer = FourierDrawer(decay, CPU)
    parameters = drawer.parameters(scene(*shape))
    torch.testing.assert_close(drawer.draw(parameters), scene(*shape), atol=1e-4, rtol=0)


def test_long_waves_alone_are_a_smooth_picture_that_does_not_wrap() -> None:
    drawer = FourierDrawer(1.0, CPU)
    parameters = drawer.parameters(scene())
    coarse = drawer.resized(drawer.resized(parameters, 4, 6), 32, 48)
    assert coarse.shape == parameters.shape
    drawn = drawer.draw(coarse)
    assert drawn.diff(dim=3).abs().max() < scene().diff(dim=3).abs().max() / 2
    assert drawn[0, 2, 0, 47] < -0.7, "the dark upper side"
    assert drawn[0, 2, 31, 47] > 0.7, "the light lower one, next to it where it would wrap"


@pytest.mark.parametrize("name", NAMES)
def test_none_depends_on_those_beside_it(name: str) -> None:
    drawer = drawer_of(name)
    parameters = torch.cat([drawer.random(8, 8, torch.Generator().manual_seed(seed))
                            for seed in (0, 1, 2)])
    alone = torch.cat([drawer.draw(parameters[row:row + 1]) for row in range(3)])
    torch.testing.assert_close(drawer.draw(parameters), alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("init", ["plain", "noise", "pixels", "gradient"])
@pytest.mark.parametrize("name", NAMES)
def test_the_guides_score_rises(cache: ModelCache, name: str, init: Init) -> None:
    drawer = drawer_of(name)
    with cache.lease("embedded/clip-guide") as clip:
        generators = [torch.Generator().manual_seed(2)]
        start = start_parameters(drawer, init, None, (32, 32), generators)
        descent = Descent(start, drawer, "adam", 0.05, "constant", 0.4)
        optimisation = Optimisation(drawer, [Guide(clip, [WeightedPrompt("a red apple")])], descent,
                                    generators, Cutouts(num_cutouts=4, noise=0.0),
                                    precision="float32")
        found = [optimisation.step(step, 25, lambda: False) for step in range(1, 26)]
    assert found[0] is not None
    assert found[-1] is not None
    assert found[-1]["guide score"] > found[0]["guide score"] + 0.05


@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_on_with_the_same_bits(server: Server, name: str) -> None:
    fields: dict[str, Any] = {"num_images": 2, "options": FEW | {
        "drawer": name, "init": "noise", "optimiser": "adam", "coarse": 0.5, "size_px": 128}}
    whole = server.drawn(**fields)
    assert result_of(whole).metadata["options"]["drawer"] == name
    for pause in (2, 4):
        events = server.resume(server.paused_at(pause, **fields))
        assert same(events, whole)
        assert curve_of(events) == curve_of(whole)


@pytest.mark.parametrize("aspect", ["1:1", "3:2"])
@pytest.mark.parametrize("name", NAMES)
def test_a_candidate_is_drawn_again_alone(server: Server, name: str, aspect: str) -> None:
    options = FEW | {"drawer": name, "init": "noise", "size_px": 128, "aspect": aspect}
    together = {c.seed: c.image for c in result_of(server.drawn(num_images=2, options=options)
                                                   ).candidates}
    assert len(together) == 2
    for seed, image in together.items():
        assert np.array_equal(image_of(server.drawn(seed=seed, options=options)), image)


def test_what_is_seen_and_kept_are_pixels_of_the_size_that_was_chosen(cache: ModelCache) -> None:
    options = {"drawer": "pixel", "pixel_px": 5, "palette_size": 3, "iterations": 2}
    events = events_of(cache, options=options)
    image = image_of(events)
    assert image.shape == (255, 255, 3), "whole pixels, next to 256, and not drawn larger"
    assert np.array_equal(image, image[::5, ::5].repeat(5, axis=0).repeat(5, axis=1))
    seen = [each.images for each in events if isinstance(each, Preview)]
    assert seen[0].shape[1:] == image.shape
    assert colours_of(image) <= 3


@pytest.mark.parametrize("name", NAMES)
def test_other_sides_an_init_image_a_mask_and_a_camera(cache: ModelCache, name: str) -> None:
    options = {"drawer": name, "size_px": 128, "iterations": 3}
    oblong = image_of(events_of(cache, options=options | {"aspect": "2:1"}))
    assert oblong.shape[1] == pytest.approx(2 * oblong.shape[0], abs=8)
    image = image_of(events_of(cache, init_image=picture("teal"),
                               options=options | {"iterations": 1}))
    assert np.abs(image.astype(int) - [0, 128, 128]).max() <= 2, "the first step draws the start"
    mask = np.zeros((40, 50), np.uint8)
    mask[:, :25] = 255
    held = image_of(events_of(cache, init_image=picture("teal"), mask=png(mask), options=options))
    assert np.abs(held[:, 80:].astype(int) - [0, 128, 128]).max() <= 2
    assert not np.array_equal(held[:, :40], np.broadcast_to(held[0, -1], held[:, :40].shape))
    still, moved = (image_of(events_of(cache, options=options | {"init": "gradient"} | more))
                    for more in ({}, {"move_every": 1, "zoom": 1.5}))
    assert not np.array_equal(still, moved)


def png(grey: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_no_vqgan_is_leased_and_none_refuses_the_guide(name: str) -> None:
    registry = Registry()
    registry.register(VQGANCLIPPipeline())
    fields = {"pipeline": "vqgan_clip", "prompt": "a cat"}
    checked = registry.check({**fields, "options": {"drawer": name}})
    models = registry.get("vqgan_clip").models_of(checked)
    assert models == ("embedded/clip-guide", "embedded/clip-ranker")
    assert checked.options.upscaler == "off"
    assert registry.check({**fields, "options": {"drawer": name, "upscaler": "on"}}
                          ).options.upscaler == "on"


@pytest.mark.parametrize(("options", "says"), [
    ({"drawer": "pencil"}, "Drawer must be "),
    ({"pixel_px": 0}, "Pixel size in px must be a whole number between 1 and 32"),
    ({"palette_size": 1}, "Palette must be a whole number between 2 and 256"),
    ({"wave_decay": -1}, "Wave decay must be a number between 0 and 2"),
])
def test_bad_options_are_refused_in_a_sentence(cache: ModelCache, options: dict[str, Any],
                                               says: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{re.escape(says)}"):
        events_of(cache, options=options)


def test_a_step_with_a_public_guide_moves_pixels_as_lucents_does() -> None:
    """By 0.05, see docs/checkpoints.md: Adam's first step has the same length in all waves."""
    values = automatic_values(False, False, "normal", "fourier")
    signs = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)).sign()
    moved = FourierDrawer(1.0, torch.device("cpu")).draw(signs * values["step_size"])
    assert float(moved.std()) == pytest.approx(0.05, abs=0.003)
    assert VQGANCLIPOptions.model_fields["wave_decay"].default == 1.0

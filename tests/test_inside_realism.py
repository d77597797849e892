"""Where pictures look real to a patch discriminator, against the network asked directly."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.core.errors import Cancelled
from pipelines.core.images import load_image
from pipelines.core.settings import EngineSettings
from pipelines.engine import build_cache
from pipelines.inside.codes import CODER, ReadCodes
from pipelines.inside.realism import (
    DISCRIMINATOR,
    STRONGEST,
    JudgePatches,
    PatchMap,
    over,
    patch_maps,
)
from pipelines.models.cache.cache import ModelCache
from pipelines.models.patch_discriminator import DiscriminatorConfig, PatchDiscriminator, build
from pipelines.models.pixels import from_uint8, to_uint8
from pipelines.world.atlas import default_atlas
from pipelines.world.concepts import load_concepts
from pipelines.world.renderer import Renderer
from pipelines.world.scenes import SceneSampler
from tests.conftest import REPOSITORY
from tests.small_models import small_cache

WEIGHTS = REPOSITORY / "assets" / "weights" / "discriminator"


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    built = small_cache()
    yield built
    built.close()


def picture(height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_both_pictures_are_judged_as_the_network_does_it(cache: ModelCache) -> None:
    found = JudgePatches(picture()).answer(cache)
    codes = ReadCodes(picture()).answer(cache)
    assert np.array_equal(found.codes.reconstruction, codes.reconstruction)
    assert found.right == 0.75
    with cache.lease(DISCRIMINATOR) as discriminator, torch.no_grad():
        for image, judged in ((codes.image, found.picture),
                              (codes.reconstruction, found.reconstruction)):
            logits = discriminator.network(from_uint8(image[None]))[0, 0].numpy()
            np.testing.assert_allclose(judged.logits, logits, atol=1e-5)
            assert judged.mean == pytest.approx(float(logits.mean()), abs=1e-5)
            assert judged.real == pytest.approx(float((logits > 0).mean()), abs=0.02)
            assert judged.cells.shape == codes.grid.shape


def test_a_picture_of_another_size_is_squeezed_first(cache: ModelCache) -> None:
    found = JudgePatches(picture(50, 90)).answer(cache)
    assert found.codes.image.shape == (32, 32, 3)
    again = JudgePatches(found.codes.image).answer(cache)
    np.testing.assert_allclose(found.picture.logits, again.picture.logits, atol=0.1)


@pytest.mark.parametrize("layers", [2, 3])
def test_a_patch_is_as_large_as_is_said_and_lies_where_its_spot_is(layers: int) -> None:
    """What changes one logit is the patch around its spot, and nothing else."""
    side, config = 128, DiscriminatorConfig(128, 4, layers)
    discriminator = PatchDiscriminator(config).eval()
    for module in discriminator.modules():  # no zero hides what a logit sees
        if isinstance(module, nn.Conv2d):
            nn.init.uniform_(module.weight, 0.01, 0.02)
    pixels = torch.zeros(1, 3, side, side, requires_grad=True)
    logits = discriminator(pixels)
    middle = logits.shape[-1] // 2
    logits[0, middle, middle].backward()
    assert pixels.grad is not None
    seen = pixels.grad[0].abs().sum(0).nonzero()
    first, last = seen.amin(0), seen.amax(0)
    assert (last - first + 1).tolist() == [discriminator.patch_px] * 2
    stride = discriminator.stride
    [found] = patch_maps(to_uint8(pixels), 16, discriminator)
    assert found.spots.shape == (side // stride, side // stride)
    ahead = (len(found.spots) - len(found.logits)) // 2
    assert np.array_equal(found.spots[ahead:-ahead, ahead:-ahead], found.logits)
    spot = (middle + ahead) * stride  # its first pixel
    assert (first + last)[0] / 2 == spot + (stride - 1) / 2
    assert found.spots[0, 0] == found.logits[0, 0], "the edge repeats what is next to it"


def test_all_maps_have_one_scale_which_ends_somewhere() -> None:
    image = np.full((8, 8, 3), 100, np.uint8)

    def moved(logit: float) -> float:
        spots = np.full((8, 8), logit, np.float32)
        return float(np.abs(over(image, PatchMap(spots, spots, spots)).astype(int) - image).mean())

    assert moved(0.0) == 0
    assert moved(STRONGEST) == pytest.approx(2 * moved(STRONGEST / 2), rel=0.05)
    assert moved(STRONGEST * 9) == moved(STRONGEST)
    colours = [over(image, PatchMap(*[np.full((8, 8), logit, np.float32)] * 3))[0, 0]
               for logit in (1.0, -1.0)]
    assert colours[0][0] > colours[0][2], "orange"
    assert colours[1][2] > colours[1][0], "blue"


def test_maps_are_over_both_pictures(cache: ModelCache) -> None:
    found = JudgePatches(picture()).answer(cache)
    assert np.array_equal(found.heat_maps[0], over(found.codes.image, found.picture))
    assert np.array_equal(found.heat_maps[1],
                          over(found.codes.reconstruction, found.reconstruction))


def test_stop_is_heard(cache: ModelCache) -> None:
    with pytest.raises(Cancelled):
        JudgePatches(picture()).answer(cache, lambda: True)


@pytest.mark.weights("vqgan", "discriminator")
def test_the_one_that_ships_tells_unseen_renders_from_their_codes() -> None:
    """As often as its configuration says, within what forty scenes can show."""
    concepts = load_concepts()
    renderer = Renderer(default_atlas(), {concept.id: concept for concept in concepts}, "cpu")
    sampler = SceneSampler(concepts, "test-discriminator", jitter=0.25, held_out=True)
    renders = to_uint8(renderer.render([sampler.sample(i) for i in range(40)], 128) * 2 - 1)
    models = build_cache(EngineSettings(device="cpu"))
    try:
        found = [JudgePatches(image).answer(models) for image in renders]
        assert found[0].patch_px == 34
        stated = json.loads((WEIGHTS / "config.json").read_text())["config"]["right"]
        assert found[0].right == stated
        right = np.mean([(each.picture.real + 1 - each.reconstruction.real) / 2 for each in found])
        assert right == pytest.approx(stated, abs=0.08)
        higher = [each.picture.mean > each.reconstruction.mean for each in found]
        assert sum(higher) >= 32
        for path in sorted((REPOSITORY / "assets" / "samples").glob("*.png")):
            seen = JudgePatches(load_image(path.read_bytes())).answer(models)
            assert seen.picture.mean > 0 > seen.reconstruction.mean, "as the page says of them"
    finally:
        models.close()


@pytest.mark.weights("discriminator")
def test_the_one_that_ships_is_small_and_owns_what_it_is() -> None:
    assert (WEIGHTS / "model.safetensors").stat().st_size < 1_100_000
    config = json.loads((WEIGHTS / "config.json").read_text())
    assert isinstance(build(config["config"]), PatchDiscriminator)
    card = (WEIGHTS / "README.md").read_text()
    assert "the VQGAN never heard it" in card
    assert f"{config['config']['right']:.2f}" in card


def test_the_vqgan_that_it_learned_on_is_asked_with_it() -> None:
    assert JudgePatches(picture()).models == (CODER, DISCRIMINATOR)

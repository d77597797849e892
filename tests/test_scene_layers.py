"""Scenes put together from layers: a thing has one look in codes, whatever stands behind it."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models.vqgan import VQGAN, VQGANConfig
from pipelines.world.layouts import GRID
from pipelines.world.scenes import Scene, SceneObject
from training import train_vqgan
from training.codes import encode
from training.data import World
from training.export import export
from training.layers import (
    KEY_RGB,
    Layers,
    assembled,
    cells_of,
    centred,
    keyed_things,
    layers_of,
)
from training.loop import Loop

CODES = VQGANConfig(resolution=256, patch_widths=(8, 8, 16), patch_depths=(1, 1, 1), z_channels=8,
                    embed_dim=3, n_embed=125, levels=(5, 5, 5))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def vqgan() -> VQGAN:
    torch.manual_seed(0)
    return VQGAN(CODES).eval().requires_grad_(False)


def thing(column: int, row: int, side: int, concept: str = "dog", style: str = "noto",
          ) -> SceneObject:
    box = column / GRID, row / GRID, (column + side) / GRID, (row + side) / GRID
    return SceneObject(concept, style, None, None, box)


def scene(*things: SceneObject, background: str = "white", medium: str | None = None) -> Scene:
    return Scene("pair", things, None, background, False, medium, 5)


@torch.no_grad()
def latents_of(vqgan: VQGAN, world: World, scenes: list[Scene]) -> Tensor:
    """Latents (N, grid, grid, 3); a network that learnt nothing has few codes to tell apart by."""
    return assembled(vqgan.encode_latents, layers_of(world, scenes, 256)).permute(0, 2, 3, 1)


def seen_cells(world: World, things: Scene) -> Tensor:
    """Which cells of a picture show something of the things, (grid, grid) bool."""
    return F.avg_pool2d(world.renderer.mattes([things]), 256 // GRID)[0, 0] > 0.02


@pytest.mark.parametrize("medium", [None, "watercolour", "pencil", "sticker"])
def test_a_thing_has_the_same_codes_before_every_ground(world: World, vqgan: VQGAN,
                                                        medium: str | None) -> None:
    grounds = ("white", "beach", "night", "checks")
    first, *others = latents_of(vqgan, world, [
        scene(thing(3, 4, 7), background=name, medium=medium) for name in grounds])
    seen = seen_cells(world, scene(thing(3, 4, 7), medium=medium))
    assert 10 < seen.sum() < 49, "a dog fills some of its square"
    for other in others:
        assert torch.equal(other[seen], first[seen])
    assert (others[0] != first)[~seen].float().mean() > 0.9, "and the grounds are others"


def test_a_thing_has_the_same_codes_at_every_place(world: World, vqgan: VQGAN) -> None:
    near, far = latents_of(vqgan, world, [scene(thing(1, 2, 6), background="beach"),
                                          scene(thing(10, 9, 6), background="space")])
    seen = seen_cells(world, scene(thing(1, 2, 6)))[2:8, 1:7]
    assert torch.equal(near[2:8, 1:7][seen], far[9:15, 10:16][seen])


def test_what_no_thing_covers_is_the_bare_ground(world: World, vqgan: VQGAN) -> None:
    full = scene(thing(3, 4, 7), background="forest")
    with_thing, bare = latents_of(vqgan, world, [full, replace(full, objects=())])
    with torch.no_grad():
        whole = vqgan.encode_latents(world.render([replace(full, objects=())], 256) * 2 - 1)[0]
    seen = seen_cells(world, full)
    torch.testing.assert_close(with_thing[~seen], bare[~seen])
    torch.testing.assert_close(bare, whole.permute(1, 2, 0))


def test_the_front_one_covers_the_one_behind(world: World, vqgan: VQGAN) -> None:
    behind, front = thing(2, 2, 9, "elephant"), thing(5, 5, 7, "cat")
    both, alone = latents_of(vqgan, world, [scene(behind, front), scene(front)])
    seen = seen_cells(world, scene(front))
    assert torch.equal(both[seen], alone[seen])
    turned = latents_of(vqgan, world, [scene(front, behind)])[0]
    assert not torch.equal(turned[seen], alone[seen])


def test_a_store_holds_the_codes_of_layers(world: World, vqgan: VQGAN) -> None:
    scenes = [scene(thing(3, 4, 7), background=name) for name in ("white", "beach")]
    wanted = vqgan.nearest(latents_of(vqgan, world, scenes).permute(0, 3, 1, 2))
    found = encode(vqgan, world, scenes, layered=True)
    assert (found == wanted).float().mean() > 0.9, "bfloat16 rounds a few the other way"


def test_mattes_say_how_much_of_the_ground_shows(world: World) -> None:
    # Before two plain grounds that are known, what differs is what shows of them.
    item = thing(4, 4, 8)
    pictures = world.render([scene(item, background=name) for name in ("white", "black")], 256)
    white, black = world.render([scene(background=name) for name in ("white", "black")], 256)
    shown = (pictures[0] - pictures[1]).mean(0) / (white - black).mean(0)
    matte = world.renderer.mattes([scene(item)])[0, 0]
    torch.testing.assert_close(shown, 1 - matte, atol=0.01, rtol=0)
    outside = torch.ones(256, 256, dtype=torch.bool)
    outside[64:192, 64:192] = False
    assert matte[outside].max() == 0
    assert matte.max() == 1


def test_around_a_thing_is_the_key_colour_in_every_medium(world: World) -> None:
    things = [(centred(thing(0, 0, 6), 6), medium) for medium in (None, "oil", "neon", "bw")]
    keyed, matte = keyed_things(world, things, 256)
    bare = (matte[:, 0] == 0)
    bare[:, 70:186, 70:186] = False  # some media spill a little over the outline
    for picture, cells in zip(keyed, bare, strict=True):
        assert cells.sum() > 20_000
        torch.testing.assert_close(picture[:, cells].mean(1), torch.tensor(KEY_RGB), atol=0.03,
                                   rtol=0)


def test_gradients_reach_the_encoder_through_what_shows(world: World) -> None:
    torch.manual_seed(0)
    vqgan = VQGAN(CODES)
    layers = layers_of(world, [scene(thing(3, 4, 7), background="beach")], 256)
    latents = assembled(vqgan.encode_latents, layers)
    assert latents.shape == (1, 3, GRID, GRID)
    latents.square().mean().backward()
    gradient = vqgan.quant_conv.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_layers_share_a_thing_that_two_scenes_show(world: World) -> None:
    scenes = [scene(thing(3, 4, 7)), scene(thing(8, 1, 7), thing(0, 9, 5), background="snow")]
    layers = layers_of(world, scenes, 256)
    assert sorted(layers.things) == [5, 7]
    assert [len(pictures) for pictures, _ in layers.things.values()] == [1, 1]
    assert layers.placed == [[(7, 0, 4, 3)], [(7, 0, 1, 8), (5, 0, 9, 0)]]
    assert cells_of(thing(8, 1, 7)) == (7, 1, 8)
    assert layers.things[7][0].shape[-1] == (7 + 4) * 16
    assert layers.things[7][1].shape == (1, 7, 7)


def test_a_vqgan_trains_on_layers_and_on_whole_scenes(tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(world: World, scenes: list[Scene], size_px: int) -> Layers:
        seen.append(len(scenes))
        return layers_of(world, scenes, size_px)

    class ThreeSteps(Loop[VQGAN]):
        @property
        def progress(self) -> float:
            return self.step / 3

    monkeypatch.setattr(train_vqgan, "layers_of", counted)
    monkeypatch.setattr(train_vqgan, "Loop", partial(ThreeSteps, runs_dir=tmp_path / "runs"))
    monkeypatch.setattr(train_vqgan, "export", partial(export, folder=tmp_path / "weights"))
    monkeypatch.setattr(train_vqgan, "evaluate", partial(train_vqgan.evaluate, scenes=16))
    decibels = train_vqgan.train({
        "name": "layers-test", "seed": 3, "batch_size": 2, "lr": 3e-3, "warmup_steps": 1,
        "ema_decay": 0.5, "mixed_precision": "no", "minutes": 1, "jitter": 0.25,
        "decoder_only": False, "layered_every": 2, "gradient_weight": 0.5, "square_weight": 2.0,
        "discriminator_from": 2.0, "model": asdict(CODES)})
    assert 3 < decibels < 30
    assert (tmp_path / "weights" / "vqgan" / "model.safetensors").exists()
    # Of the steps 0, 1 and 2 the second one; the thread may have drawn the fourth as well.
    assert seen in ([2], [2, 2])

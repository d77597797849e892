"""Scenes as layers with transparency: drawn, put together, encoded, and their VQGAN's training."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.models.vqgan import VQGAN, VQGANConfig
from pipelines.world.composition import composed
from pipelines.world.media import OPERATIONS
from pipelines.world.plans import NONE, plan_of, slots_of, spots_of, to_tokens
from pipelines.world.scenes import Scene, SceneObject
from training import train_layer_vqgan
from training.data import World
from training.export import export
from training.layer_codes import (
    STORED,
    LayerCodeStore,
    encode_layers,
    in_stream,
    with_drafts,
)
from training.loop import Loop
from training.train_layer_vqgan import LayerSampler, begin_from, over
from training.train_vqgan import psnr_of
from training.transparent import LAYER_PX, draft_of, draw_layers, layers_of

SMALL: dict[str, Any] = {"resolution": LAYER_PX, "patch_widths": (8, 8, 16),
                         "patch_depths": (1, 1, 1), "z_channels": 8, "embed_dim": 3,
                         "n_embed": 125, "levels": (5, 5, 5)}


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def vqgan() -> VQGAN:
    torch.manual_seed(0)
    return VQGAN(VQGANConfig(**SMALL, channels=4)).eval().requires_grad_(False)


def put_together(world: World, scene: Scene) -> torch.Tensor:
    ground, *things = draw_layers(world, layers_of(scene))
    return composed(ground, things, spots_of(torch.tensor([to_tokens(plan_of(scene))]))[0][0], 256)


def test_layers_put_together_are_the_scene(world: World) -> None:
    sampler = world.sampler("test-transparent", in_medium=0.6)
    scenes = [sampler.sample(number) for number in range(60)]
    together = torch.stack([put_together(world, scene) for scene in scenes])
    truth, found = world.render(scenes, 256), {}
    for medium in {scene.medium for scene in scenes}:
        rows = [k for k, scene in enumerate(scenes) if scene.medium == medium]
        found[medium] = float(psnr_of(together[rows] * 2 - 1, truth[rows] * 2 - 1))
    # Grounds and large things are drawn at half the size.
    assert found[None] > 27
    # What a medium does where a thing meets its ground is not in the layers: a glow, a tile.
    assert min(found.values()) > 13, found


def test_a_thing_is_one_layer_wherever_it_stands(world: World) -> None:
    here = SceneObject("cat", "twemoji", "red", None, (0.0, 0.0, 0.5, 0.5))
    there = replace(here, box=(0.5, 0.25, 0.8125, 0.5625), flip=True, size="small", say_tone=True)
    scene = Scene("pair", (here, there), None, "beach", True, None, 5)
    ground, first, second = layers_of(scene)
    assert first == second
    assert first != layers_of(replace(scene, medium="oil"))[1]
    assert ground == layers_of(replace(scene, objects=(here,), relation="left of"))[0]
    pixels = draw_layers(world, [ground, first, (replace(here, colour="blue"), None), first])
    assert pixels.shape == (4, 4, LAYER_PX, LAYER_PX)
    assert (pixels[:, :3] <= pixels[:, 3:] + 1e-6).all(), "premultiplied"
    assert (pixels[0, 3] == 1).all()
    assert pixels[1, 3].mean() < 0.9
    assert torch.equal(pixels[1], pixels[3])
    assert torch.equal(pixels[1, 3], pixels[2, 3])
    assert not torch.equal(pixels[1], pixels[2])


@pytest.mark.parametrize(("colour", "medium"), [
    ("red", None), (None, "oil"), ("red", "oil"), (None, None), (None, "icon")])
def test_a_draft_is_the_thing_in_its_own_colours(colour: str | None, medium: str | None) -> None:
    thing = SceneObject("cat", "twemoji", colour, "big", (0.0, 0.0, 0.5, 0.5), True)
    draft = draft_of(thing, medium)
    plain = layers_of(Scene("single", (replace(thing, colour=None),), None, "white", False, None,
                            1))[1]
    assert draft == (plain if colour or medium == "oil" else None)
    assert plan_of(Scene("single", (thing,), None, "white", False, medium, 1)).spots[0].drafted == (
        draft is not None)


@pytest.mark.parametrize("medium", [None, *OPERATIONS])
def test_nothing_stands_where_a_thing_does_not(world: World, medium: str | None) -> None:
    thing = SceneObject("banana", "noto", None, None, (0.0, 0.0, 1.0, 1.0))
    (pixels,) = draw_layers(world, [(thing, medium)])
    assert not pixels[:, pixels[3] == 0].any()


def test_a_larger_thing_stands_behind() -> None:
    ground = torch.zeros(4, 8, 8)
    red, green = torch.zeros(2, 4, 8, 8)
    red[0], green[1] = 1, 1
    red[3] = green[3] = 1
    spots = torch.tensor([[4, 4, 4, 0], [2, 2, 8, 0]])
    picture = composed(ground, [red, green], spots, 16)
    assert picture[:, 5, 5].tolist() == [1, 0, 0]
    assert picture[:, 3, 3].tolist() == [0, 1, 0]
    assert picture[:, 0, 0].tolist() == [0, 0, 0]
    half = composed(torch.ones(4, 8, 8), [red * 0.5], spots[1:], 16)
    assert half[:, 5, 5].tolist() == [1, 0.5, 0.5]


def test_a_mirrored_thing_is_mirrored_and_cut_at_the_edge() -> None:
    thing = torch.zeros(4, 4, 4)
    thing[[0, 3], :, 0] = 1
    plain, mirrored = (composed(torch.zeros(4, 4, 4), [thing], torch.tensor([[14, 0, 4, flip]]), 16)
                       for flip in (0, 1))
    assert plain[0, 0].nonzero().flatten().tolist() == [14]
    assert not mirrored.any()
    whole = composed(torch.zeros(4, 4, 4), [thing], torch.tensor([[4, 0, 4, 1]]), 16)
    assert whole[0, 0].nonzero().flatten().tolist() == [7]


def test_codes_are_those_of_the_layers(world: World, vqgan: VQGAN) -> None:
    sampler = world.sampler("test-transparent")
    scenes = [sampler.sample(number) for number in range(6)]
    codes = encode_layers(vqgan, world, scenes)
    assert codes.shape == (6, STORED, 8, 8)
    for row, scene in zip(codes, scenes, strict=True):
        layers = with_drafts(scene)
        there = [place for place, layer in enumerate(layers) if layer is not None]
        missing = [place for place in range(STORED) if place not in there]
        assert (row[missing] == NONE).all()
        drawn = draw_layers(world, [layer for layer in layers if layer is not None])
        alone = vqgan.encode(drawn * 2 - 1)
        # The encoder may run in bfloat16 for the store: a few latents round the other way.
        assert (row[there] == alone).float().mean() > 0.9


def test_layers_in_the_stream_are_what_the_plan_says(world: World, vqgan: VQGAN) -> None:
    sampler = world.sampler("test-transparent", in_medium=0.6)
    scenes = [sampler.sample(number) for number in range(24)]
    codes = encode_layers(vqgan, world, scenes)
    turned = [tuple(reversed(range(len(scene.objects)))) for scene in scenes]
    named = [replace(scene, objects=scene.objects[::-1]) for scene in scenes]
    layers, slots = in_stream(codes, turned)
    assert torch.equal(slots, slots_of(torch.tensor([to_tokens(plan_of(s)) for s in named])))
    assert (slots == NONE).any()
    assert ((layers == NONE).all((2, 3)) == (slots == NONE)).all()
    for row, scene in zip(layers, scenes, strict=True):
        wanted = [layer for layer in with_drafts(replace(scene, objects=scene.objects[::-1]))
                  if layer is not None]
        known = {layer: place for place, layer in enumerate(with_drafts(scene))}
        own = codes[scenes.index(scene)]
        assert torch.equal(row[:len(wanted)], own[[known[layer] for layer in wanted]])


def test_a_store_encodes_a_layer_once(world: World, vqgan: VQGAN, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def counted(world: World, layers: Any) -> torch.Tensor:
        drawn.append(len(layers))
        return draw_layers(world, layers)

    monkeypatch.setattr("training.layer_codes.draw_layers", counted)
    store = LayerCodeStore(tmp_path, vqgan, world, "train-test", 4, kinds={"count": 1.0})
    store.grow()
    # Two to five equal things in each of four scenes are one layer each, and so is each ground and
    # each draft.
    assert sum(drawn) <= 12
    before = sum(drawn)
    store.encode([store.sampler.sample(number) for number in range(4)])
    assert sum(drawn) == before
    again = LayerCodeStore(tmp_path, vqgan, world, "train-test", 4, kinds={"count": 1.0})
    assert torch.equal(again.codes([1, 3]), store.codes([1, 3]))


def test_a_sampler_gives_few_grounds_and_no_thing_twice_a_scene(world: World) -> None:
    taken = LayerSampler(world, "test", grounds=3, kinds={"count": 1.0}).take(40)
    assert len(taken) == 40
    assert 8 <= sum(isinstance(layer, Scene) for layer in taken) <= 12


def test_a_layer_before_a_colour() -> None:
    layers = torch.full((1, 4, 1, 1), -1.0)
    assert over(layers, torch.full((1, 3, 1, 1), 0.25)).flatten().tolist() == [-0.5] * 3
    layers[:, 3] = 1
    assert over(layers, torch.full((1, 3, 1, 1), 0.25)).flatten().tolist() == [-1.0] * 3


def test_a_run_begins_with_a_vqgan_of_three_channels(tmp_path: Path, vqgan: VQGAN) -> None:
    torch.manual_seed(1)
    three, four = VQGAN(VQGANConfig(**SMALL)), VQGAN(VQGANConfig(**SMALL, channels=4))
    export(three, "three", "vqgan", {}, "A test.", tmp_path)
    begin_from(four, tmp_path / "three")
    codes = torch.randint(0, 125, (2, 8, 8))
    with torch.no_grad():
        torch.testing.assert_close(four.decode_indices(codes)[:, :3], three.decode_indices(codes),
                                   atol=1e-2, rtol=1e-2)
    export(vqgan, "four", "vqgan", {}, "A test.", tmp_path)
    begin_from(four, tmp_path / "four")
    with torch.no_grad():
        torch.testing.assert_close(four.decode_indices(codes), vqgan.decode_indices(codes),
                                   atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("decoder_only", [False, True])
def test_a_run_ends_with_a_vqgan_of_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                           decoder_only: bool) -> None:
    monkeypatch.setattr(train_layer_vqgan, "export", partial(export, folder=tmp_path))
    monkeypatch.setattr(train_layer_vqgan, "Loop", partial(Loop, runs_dir=tmp_path / "runs"))
    monkeypatch.setattr(train_layer_vqgan, "evaluate",
                        partial(train_layer_vqgan.evaluate, count=32))
    config = {"name": "layers-test", "export_as": "layers-test", "minutes": 0.02, "batch_size": 4,
              "lr": 1e-3, "muon_lr": 0.01, "threads": 1, "mixed_precision": "no",
              "decoder_only": decoder_only, "gradient_weight": 0.5, "square_weight": 2.0,
              "cover_weight": 0.5, "realism_every": 2, "discriminator_from": 1.1,
              "perceptual": "", "model": {**SMALL, "channels": 4}}
    assert train_layer_vqgan.train(config) > 3
    model = VQGAN(VQGANConfig(**SMALL, channels=4))
    begin_from(model, tmp_path / "layers-test")
    assert model.decode_indices(torch.zeros(1, 8, 8, dtype=torch.long)).shape == (1, 4, 128, 128)

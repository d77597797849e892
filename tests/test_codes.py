"""Scenes as codes: put together from their parts, and the same wherever a part is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.models.vqgan import VQGAN, VQGANConfig
from pipelines.world.scenes import Scene, SceneObject
from training import make_codes
from training.codes import CodeStore, SceneCodes
from training.data import World

CONFIG = VQGANConfig(resolution=128, ch=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(),
                     z_channels=16, embed_dim=3, n_embed=125, levels=(5, 5, 5), patch_size=4)
LEFT, RIGHT = (0.0, 0.25, 0.5, 0.75), (0.5, 0.25, 1.0, 0.75)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def vqgan() -> VQGAN:
    torch.manual_seed(0)
    return VQGAN(CONFIG).eval().requires_grad_(False)


def scene(*things: SceneObject, background: str = "white", seed: int = 0) -> Scene:
    return Scene("pair", things, None, background, False, None, seed)


def thing(world: World, n: int, box: tuple[float, float, float, float]) -> SceneObject:
    return SceneObject(world.concepts[n].id, "fluent", None, None, box)


def test_a_thing_has_the_same_codes_beside_anything(world: World, vqgan: VQGAN) -> None:
    first = thing(world, 3, LEFT)
    scenes = [scene(first, thing(world, n, RIGHT)) for n in (10, 40)]
    together = SceneCodes(vqgan, world).encode(scenes)
    assert torch.equal(together[0, 4:12, :8], together[1, 4:12, :8])
    assert not torch.equal(together[0, 4:12, 8:], together[1, 4:12, 8:])
    # The encoder alone does not do that: it sees the neighbour.
    plain = vqgan.encode(world.render(scenes, 128) * 2 - 1)
    assert not torch.equal(plain[0, 4:12, :8], plain[1, 4:12, :8])


def test_a_thing_has_the_same_codes_anywhere_on_a_plain_field(world: World, vqgan: VQGAN) -> None:
    codes = SceneCodes(vqgan, world).encode([scene(thing(world, 3, LEFT)),
                                             scene(thing(world, 3, RIGHT))])
    assert torch.equal(codes[0, 4:12, :8], codes[1, 4:12, 8:])
    empty = SceneCodes(vqgan, world).encode([scene()])
    assert torch.equal(codes[0, :, 8:], empty[0, :, 8:])


def test_a_place_shows_around_the_thing(world: World, vqgan: VQGAN) -> None:
    beach = scene(thing(world, 3, LEFT), background="beach", seed=4)
    codes = SceneCodes(vqgan, world).encode([beach, replace(beach, objects=(), seed=10)])
    assert torch.equal(codes[0, :, 8:], codes[1, :, 8:])
    alone = vqgan.encode(world.render([beach], 128) * 2 - 1)
    # The encoder runs in bfloat16 for the store: a few latents round the other way.
    assert (codes[0, 4:12, :8] == alone[0, 4:12, :8]).float().mean() > 0.9


def test_things_that_overlap_are_encoded_together(world: World, vqgan: VQGAN) -> None:
    large, small = thing(world, 3, (0.125, 0.25, 0.875, 1.0)), thing(world, 9, (0.0, 0.5, 0.5, 1.0))
    codes = SceneCodes(vqgan, world).encode([scene(large, small), scene(small)])
    # What the small one leaves free shows the large one behind it, and not the white wall.
    assert not torch.equal(codes[0, 8:, :8], codes[1, 8:, :8])
    whole = vqgan.encode(world.render([scene(large, small)], 128) * 2 - 1)
    assert (codes[0, 8:, :8] == whole[0, 8:, :8]).float().mean() > 0.9


def test_a_store_goes_on_where_it_ended(tmp_path: Path, world: World, vqgan: VQGAN) -> None:
    store = CodeStore(tmp_path, vqgan, world, "train-test", 4)
    store.grow()
    store.grow()
    again = CodeStore(tmp_path, vqgan, world, "train-test", 4)
    assert len(again) == 8
    assert torch.equal(again.codes([1, 6]), store.codes([1, 6]))
    other = CodeStore(tmp_path, vqgan, world, "train-test", 4, coloured=1.0)
    assert len(other) == 0


def test_shards_may_be_made_in_any_order(tmp_path: Path, world: World, vqgan: VQGAN) -> None:
    makers = [CodeStore(tmp_path, vqgan, world, "train-test", 4) for _ in range(2)]
    makers[1].write(1)
    assert len(CodeStore(tmp_path, vqgan, world, "train-test", 4)) == 0, "the first is missing"
    makers[0].write(0)
    makers[0].write(3)
    store = CodeStore(tmp_path, vqgan, world, "train-test", 4)
    assert len(store) == 8
    alone = CodeStore(tmp_path / "alone", vqgan, world, "train-test", 4)
    alone.grow()
    alone.grow()
    assert torch.equal(store.codes([0, 5]), alone.codes([0, 5]))
    store.grow()
    assert len(store) == 12
    assert len(CodeStore(tmp_path, vqgan, world, "train-test", 4)) == 16


def test_several_processes_fill_a_store(tmp_path: Path, vqgan: VQGAN, world: World,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"split": "train-test", "chunk": 4, "kinds": {"pair": 1.0}, "coloured": 0.5}
    monkeypatch.setattr(make_codes, "World", lambda device: world)
    monkeypatch.setattr(make_codes, "load_vqgan", lambda: vqgan)
    monkeypatch.setattr(make_codes, "code_store", lambda config, vqgan, world: CodeStore(
        tmp_path, vqgan, world, config["split"], config["chunk"], kinds=config["kinds"]))
    make_codes.fill("dalle", config, 10, 0, 2)
    store = make_codes.code_store(config, vqgan, world)
    assert sorted(path.name for path in store.folder.glob("*.pt")) == ["00000.pt", "00002.pt"]
    make_codes.fill("dalle", config, 10, 1, 2)
    assert len(make_codes.code_store(config, vqgan, world)) == 12

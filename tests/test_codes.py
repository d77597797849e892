"""Scenes as codes, kept on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.models.vqgan import VQGAN, VQGANConfig
from training import make_codes
from training.codes import CodeStore, Supply, encode
from training.data import World

CONFIG = VQGANConfig(resolution=128, ch=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(),
                     z_channels=16, embed_dim=3, n_embed=125, levels=(5, 5, 5), patch_size=4)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def vqgan() -> VQGAN:
    torch.manual_seed(0)
    return VQGAN(CONFIG).eval().requires_grad_(False)


def test_codes_are_those_of_the_whole_picture(world: World, vqgan: VQGAN) -> None:
    scenes = [world.sampler("train-test").sample(i) for i in range(20)]
    codes = encode(vqgan, world, scenes)
    assert codes.shape == (20, 16, 16)
    whole = vqgan.encode(world.render(scenes, 128) * 2 - 1)
    # The encoder may run in bfloat16 for the store: a few latents round the other way.
    assert (codes == whole).float().mean() > 0.9


def test_a_run_has_new_scenes_all_along_whatever_there_is() -> None:
    for there, first in ((0, 0), (640, 0), (640, 4000)):
        supply = Supply(there, 128, 4)
        known = [supply.known(step) for step in range(first, first + 12)]
        begins = there or 128
        assert known == [begins] * 4 + [begins + 128] * 4 + [begins + 256] * 4


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
    config = {"vqgan": "vqgan", "split": "train-test", "chunk": 4, "kinds": {"pair": 1.0},
              "coloured": 0.5}
    monkeypatch.setattr(make_codes, "World", lambda device: world)
    monkeypatch.setattr(make_codes, "load_vqgan", lambda name: vqgan)
    monkeypatch.setattr(make_codes, "code_store", lambda config, vqgan, world: CodeStore(
        tmp_path, vqgan, world, config["split"], config["chunk"], kinds=config["kinds"]))
    make_codes.fill("dalle", config, 10, 0, 2)
    store = make_codes.code_store(config, vqgan, world)
    assert sorted(path.name for path in store.folder.glob("*.pt")) == ["00000.pt", "00002.pt"]
    make_codes.fill("dalle", config, 10, 1, 2)
    assert len(make_codes.code_store(config, vqgan, world)) == 12

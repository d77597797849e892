"""Published VQGAN formats with random weights: they decode as the packages that wrote them."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import VQModel
from pytorch_lightning.callbacks import ModelCheckpoint
from safetensors.torch import save_file
from taming.modules.diffusionmodules.model import Decoder, Encoder
from taming.modules.vqvae.quantize import VectorQuantizer
from torch import Tensor, nn

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.entries import CatalogueEntry, ModelFile
from pipelines.models.checkpoints.formats import loader
from pipelines.models.vqgan import VQGAN

SHAPES: dict[str, dict[str, Any]] = {
    "f16": {"ch": 32, "ch_mult": (1, 1, 2, 2, 4), "attn_resolutions": [16], "z_channels": 24,
            "embed_dim": 24, "n_embed": 64},
    "f16 wide codes": {"ch": 32, "ch_mult": (1, 1, 2, 2, 4), "attn_resolutions": [16],
                       "z_channels": 24, "embed_dim": 16, "n_embed": 128},
    "f8 Gumbel": {"ch": 32, "ch_mult": (1, 1, 2, 4), "attn_resolutions": [32], "z_channels": 16,
                  "embed_dim": 16, "n_embed": 48, "gumbel": True},
}


class Taming(nn.Module):
    """A VQGAN as taming's training builds it, discriminator apart: names and all."""

    quantize: Any  # one of two kinds

    def __init__(self, shape: dict[str, Any]) -> None:
        super().__init__()
        gumbel, embed_dim = shape.get("gumbel", False), shape["embed_dim"]
        names = ("ch", "ch_mult", "attn_resolutions", "z_channels")
        common: dict[str, Any] = {name: shape[name] for name in names} | {
            "out_ch": 3, "in_channels": 3, "num_res_blocks": 2, "resolution": 256}
        with contextlib.redirect_stdout(io.StringIO()):
            self.encoder = Encoder(double_z=False, **common)
            self.decoder = Decoder(**common)
        if gumbel:
            self.quantize = nn.Module()
            self.quantize.embed = nn.Embedding(shape["n_embed"], embed_dim)
            self.quantize.proj = nn.Conv2d(shape["z_channels"], shape["n_embed"], 1)
        else:
            self.quantize = VectorQuantizer(shape["n_embed"], embed_dim, beta=0.25)
        self.quant_conv = nn.Conv2d(shape["z_channels"], embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, shape["z_channels"], 1)
        self.loss = nn.Module()
        self.loss.logvar = nn.Parameter(torch.zeros(()))
        self.loss.discriminator = nn.Conv2d(3, 8, 4)


def random_taming(name: str) -> Taming:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Taming(SHAPES[name]).eval().requires_grad_(False)
        if not SHAPES[name].get("gumbel"):  # codes that differ, so that encoding has a choice
            nn.init.normal_(model.quantize.embedding.weight)
    return model


def entry(loader_name: str, *files: str) -> CatalogueEntry:
    return CatalogueEntry.model_validate({
        "id": "test/vqgan", "title": "test VQGAN", "family": "vqgan", "loader": loader_name,
        "licence": "MIT", "source": "made by a test",
        "files": tuple(ModelFile(name=name) for name in files)})


def load(folder: Path, loader_name: str, *files: str) -> VQGAN:
    model = loader(loader_name)(folder, entry(loader_name, *files))
    assert isinstance(model, VQGAN)
    return model.eval().requires_grad_(False)


def trainers_record(model: nn.Module) -> dict[str, Any]:
    """What pytorch_lightning wrote around the tensors in taming's time."""
    return {"epoch": 7, "global_step": 120, "pytorch-lightning_version": "1.0.8",
            "callbacks": {ModelCheckpoint: {"best_model_score": torch.tensor(0.4)}},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}],
            "lr_schedulers": [], "state_dict": model.state_dict()}


def grid(side: int = 3) -> Tensor:
    return torch.randint(48, (2, side, side), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("file", ["last.ckpt", "pytorch_model.bin", "model.safetensors"])
def test_taming_decodes_as_itself(tmp_path: Path, name: str, file: str) -> None:
    peer = random_taming(name)
    if file.endswith(".ckpt"):
        torch.save(trainers_record(peer), tmp_path / file)
    elif file.endswith(".bin"):
        torch.save(peer.state_dict(), tmp_path / file)
    else:
        save_file(peer.state_dict(), tmp_path / file)
    model = load(tmp_path, "taming-vqgan", file)
    config = model.config
    assert (config.ch, config.ch_mult, config.embed_dim, config.n_embed) == tuple(
        SHAPES[name][key] for key in ("ch", "ch_mult", "embed_dim", "n_embed"))
    assert list(config.attn_resolutions) == SHAPES[name]["attn_resolutions"]
    indices = grid()
    codes = (peer.quantize.embed if config.gumbel else peer.quantize.embedding)(indices)
    expected = peer.decoder(peer.post_quant_conv(codes.permute(0, 3, 1, 2)))
    assert torch.allclose(model.decode_indices(indices), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["f16", "f8 Gumbel"])
def test_taming_encodes_as_itself(tmp_path: Path, name: str) -> None:
    peer = random_taming(name)
    torch.save(peer.state_dict(), tmp_path / "pytorch_model.bin")
    model = load(tmp_path, "taming-vqgan", "pytorch_model.bin")
    pixels = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(2)) * 2 - 1
    latents = peer.quant_conv(peer.encoder(pixels))
    if model.config.gumbel:
        expected = peer.quantize.proj(latents).argmax(1)
        assert len(expected.unique()) > 1
    else:
        expected = peer.quantize(latents)[2][2].view(1, *latents.shape[-2:])
    assert torch.equal(model.encode(pixels), expected)


def diffusers_model(**changes: Any) -> VQModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = {
            "block_out_channels": (32, 32, 64), "layers_per_block": 2, "latent_channels": 16,
            "vq_embed_dim": 12, "num_vq_embeddings": 48, "sample_size": 64,
            "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D",
                                 "AttnDownEncoderBlock2D"),
            "up_block_types": ("AttnUpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D")}
        model = VQModel(**{**config, **changes}).eval().requires_grad_(False)
        nn.init.normal_(model.quantize.embedding.weight)
    return model


@pytest.mark.parametrize("safe", [True, False])
def test_diffusers_decodes_as_itself(tmp_path: Path, safe: bool) -> None:
    peer = diffusers_model()
    peer.save_pretrained(tmp_path, safe_serialization=safe)
    weights = f"diffusion_pytorch_model.{'safetensors' if safe else 'bin'}"
    model = load(tmp_path, "diffusers-vqmodel", "config.json", weights)
    indices = grid(6)
    codes = peer.quantize.embedding(indices).permute(0, 3, 1, 2)
    decoded: Any = peer.decode(codes, force_not_quantize=True)
    expected = decoded.sample
    assert torch.allclose(model.decode_indices(indices), expected, atol=1e-4)
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    assert torch.allclose(model.encode_latents(pixels), peer.encode(pixels).latents, atol=1e-4)


def refusal(folder: Path, loader_name: str, *files: str) -> str:
    with pytest.raises(WeightsError) as caught:
        load(folder, loader_name, *files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("changes", [{"norm_type": "spatial"}, {"norm_num_groups": 16}])
def test_other_diffusers_architectures_are_refused(tmp_path: Path, changes: dict[str, Any],
                                                   ) -> None:
    diffusers_model(**changes).save_pretrained(tmp_path)
    found = refusal(tmp_path, "diffusers-vqmodel", "config.json",
                    "diffusion_pytorch_model.safetensors")
    assert next(iter(changes)) in found


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    bomb = Bomb(tmp_path / "mark")
    torch.save({"state_dict": {"encoder.conv_in.weight": bomb}}, tmp_path / "last.ckpt")
    assert "could run code" in refusal(tmp_path, "taming-vqgan", "last.ckpt")
    assert not bomb.mark.exists()


@pytest.mark.parametrize(("change", "words"), [
    (lambda t: t.to(torch.int8), "1 of another kind of numbers (first encoder.conv_in.weight)"),
    (lambda t: torch.complex(t, t), "1 of another kind of numbers (first encoder.conv_in.weight)"),
    (lambda t: t.to("meta"), "a tensor without its own numbers (encoder.conv_in.weight)"),
    (lambda t: t.to_sparse(), "a tensor without its own numbers (encoder.conv_in.weight)"),
    (lambda t: t.flatten()[:1].clone().expand(10**6, 3, 3, 3), "a tensor without its own numbers")])
def test_what_cannot_be_weights_is_refused(tmp_path: Path, change: Callable[[Tensor], Tensor],
                                           words: str) -> None:
    state = random_taming("f16").state_dict()
    state["encoder.conv_in.weight"] = change(state["encoder.conv_in.weight"])
    torch.save(state, tmp_path / "last.ckpt")
    assert words in refusal(tmp_path, "taming-vqgan", "last.ckpt")


@pytest.mark.parametrize("name", [
    "encoder.down.0.block.99999.conv1.weight", "encoder.down.99999.block.0.conv1.weight",
    "encoder.down.0.block.3.conv1.weight", "encoder.down.0.block." + "9" * 5000 + ".conv1.weight"])
def test_no_number_in_a_name_is_believed_alone(tmp_path: Path, name: str) -> None:
    state = random_taming("f16").state_dict()
    torch.save({**state, name: torch.zeros(())}, tmp_path / "one.ckpt")
    assert "not those of a VQGAN" in refusal(tmp_path, "taming-vqgan", "one.ckpt")


def test_no_vqgan_has_thousands_of_blocks(tmp_path: Path) -> None:
    state = random_taming("f16").state_dict()
    one = torch.zeros(())
    names = [f"encoder.down.0.block.{i}.conv1.weight" for i in range(2, 5000)]
    torch.save({**state, **dict.fromkeys(names, one)}, tmp_path / "many.ckpt")
    assert "not those of a VQGAN" in refusal(tmp_path, "taming-vqgan", "many.ckpt")


@pytest.mark.parametrize("channels", [0, 24])
def test_widths_that_no_vqgan_has_are_refused(tmp_path: Path, channels: int) -> None:
    state = random_taming("f16").state_dict()
    state["encoder.conv_in.weight"] = torch.zeros(channels, 3, 3, 3)
    for level in range(5):
        state[f"encoder.down.{level}.block.0.conv1.weight"] = torch.zeros(channels, 1, 1, 1)
    torch.save(state, tmp_path / "last.ckpt")
    assert "not those of a VQGAN" in refusal(tmp_path, "taming-vqgan", "last.ckpt")


def test_diffusers_levels_are_counted_too(tmp_path: Path) -> None:
    diffusers_model().save_pretrained(tmp_path, safe_serialization=False)
    path = tmp_path / "diffusion_pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "decoder.up_blocks.99999.resnets.0.conv1.weight": torch.zeros(())}, path)
    found = refusal(tmp_path, "diffusers-vqmodel", "config.json", path.name)
    assert "not those of a VQGAN" in found


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "linear.bin")
    assert "not those of a VQGAN" in refusal(tmp_path, "taming-vqgan", "linear.bin")
    torch.save([1, 2], tmp_path / "list.bin")
    assert "no named tensors" in refusal(tmp_path, "taming-vqgan", "list.bin")
    state = random_taming("f16").state_dict()
    del state["decoder.mid.block_1.conv1.weight"]
    torch.save(state, tmp_path / "less.bin")
    assert "1 missing" in refusal(tmp_path, "taming-vqgan", "less.bin")
    assert "lists no file of weights" in refusal(tmp_path, "taming-vqgan", "readme.md")
    assert "is not there" in refusal(tmp_path, "taming-vqgan", "nothing.bin")

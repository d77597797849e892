"""unCLIP's trainers: a decoder learns one batch by heart, and what is exported loads again."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.formats import loader
from pipelines.models.clip import ClipModel
from pipelines.models.unclip import UnclipDecoder, UnclipPrior, build_decoder, build_prior
from tests.small_models import UNCLIP_DECODER, UNCLIP_PRIOR, SmallLoader
from training import train_decoder, unclip_data
from training.data import World
from training.export import WEIGHTS_DIR, export_diffusers
from training.loop import Loop, load_config
from training.train_decoder import draw, image_condition
from training.train_prior import Batches, initialised, sample
from training.unclip_data import flow_loss, flow_times

CONFIG: dict[str, Any] = {"name": "small", "minutes": 1e9, "lr": 3e-3, "muon_lr": 0.02,
                          "warmup_steps": 1, "ema_decay": 0.9, "mixed_precision": "no",
                          "time_mean": 0.8, "time_std": 1.2}
CAPTIONS = torch.tensor([[1, 7, 2], [1, 9, 2]])
TARGETS = torch.full((2, 3, 8, 8), 0.8) * torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)


def entry() -> CatalogueEntry:
    return CatalogueEntry.model_validate({
        "id": "some/unclip", "title": "test", "family": "unclip", "loader": "diffusers-unclip",
        "licence": "MIT", "source": "made by a test", "files": []})


def learn(folder: Path, steps: int) -> Loop[UnclipDecoder]:
    """Train a small decoder to draw one of two plain pictures by the caption."""
    torch.manual_seed(0)
    model = build_decoder(UNCLIP_DECODER)
    model.caption_encoder.initialise()
    loop = Loop(CONFIG, model, runs_dir=folder)
    nothing = torch.zeros(16, 32)
    for step in loop.steps():
        generator = torch.Generator().manual_seed(step)
        rows = torch.randint(2, (16,), generator=generator)
        clean, t = TARGETS[rows], flow_times(16, CONFIG, generator)
        noise, at = torch.randn(clean.shape, generator=generator), t.view(-1, 1, 1, 1)
        predicted = loop.prepared((1 - at) * clean + at * noise, t, CAPTIONS[rows], nothing)
        loop.backward(flow_loss(predicted, clean, t, 0.3))
        if step == steps - 1:
            break
    loop.step += 1
    loop.save()
    return loop


def test_a_decoder_learns_two_captions(tmp_path: Path) -> None:
    loop = learn(tmp_path, 60)
    drawn = draw(loop.model.eval(), CAPTIONS, torch.zeros(2, 32), steps=4, guidance=1.0)
    assert drawn.shape == TARGETS.shape
    assert float((drawn - TARGETS).abs().mean()) < 0.3
    resumed = Loop(CONFIG, build_decoder(UNCLIP_DECODER), runs_dir=tmp_path)
    assert resumed.step == 60
    for name, tensor in loop.ema.state_dict().items():
        assert torch.equal(resumed.ema.state_dict()[name], tensor)


def test_a_prior_learns_two_captions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    loop = Loop(CONFIG | {"name": "prior"}, initialised(UNCLIP_PRIOR), runs_dir=tmp_path)
    loop.model.transformer.clip_std.fill_(1.0)
    own, states = torch.randn(2, 32), torch.randn(2, 32, 32)
    visible = torch.arange(32)[None] < torch.tensor([[3], [5]])
    states = states.masked_fill(~visible[..., None], 1e4)
    given = own, states, visible
    targets = torch.randn(2, 32)
    for step in loop.steps():
        generator = torch.Generator().manual_seed(step)
        rows = torch.randint(2, (16,), generator=generator)
        clean, t = targets[rows], flow_times(16, CONFIG, generator)
        at = t[:, None]
        noisy = (1 - at) * clean + at * torch.randn(clean.shape, generator=generator)
        loop.backward(flow_loss(loop.prepared(noisy, t, *(x[rows] for x in given)), clean, t, 0.3))
        if step == 150:
            break
    unit = torch.nn.functional.normalize(targets, dim=-1)
    cosines = torch.nn.functional.cosine_similarity(sample(loop.model.eval(), given, steps=4), unit)
    assert cosines.min() > 0.9, "and padding says nothing, however loud it is"


def test_the_priors_batches_are_of_one_step() -> None:
    config = {"split": "test", "seed": 1, "kinds": {"pair": 1.0}, "coloured": 0.5,
              "caption_dropout": 0.0, "batch_size": 3} | CONFIG
    clip = SmallLoader().load("embedded/clip-guide", torch.device("cpu"), torch.float32)
    assert isinstance(clip, ClipModel)
    world = World()
    first, again = (Batches(config, world, clip).batch(4) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0].shape == first[1].shape == (3, 32)
    sampler = world.sampler("test", kinds={"pair": 1.0}, coloured=0.5)
    pixels = world.render([sampler.sample(12 + k) for k in range(3)], clip.image_size)
    with torch.no_grad():
        expected = clip.encode_image(pixels)
    assert torch.nn.functional.cosine_similarity(first[0], expected).min() > 0.99


@pytest.fixture
def decoder_folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = build_decoder(UNCLIP_DECODER)
    model.caption_encoder.image_mean.fill_(0.25)
    return export_diffusers({"unet": model.unet, "caption_encoder": model.caption_encoder},
                            "decoder", "A test.", {"clip_sha256": "c" * 64}, tmp_path)


def test_an_exported_decoder_loads_again(decoder_folder: Path) -> None:
    torch.manual_seed(0)
    model = build_decoder(UNCLIP_DECODER).eval()
    loaded = loader("diffusers-unclip")(decoder_folder, entry()).float().eval()
    assert isinstance(loaded, UnclipDecoder)
    assert loaded.clip_sha256 == "c" * 64
    assert float(loaded.caption_encoder.image_mean[0]) == 0.25
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([0.3, 0.9])
    with torch.no_grad():
        ours = model(x, t, CAPTIONS, torch.zeros(2, 32))
        theirs = loaded(x, t, CAPTIONS, torch.zeros(2, 32))
    assert torch.allclose(ours, theirs, atol=2e-2), "as far as fp16 goes"


def test_an_exported_decoder_in_8_bits_draws_about_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_decoder(UNCLIP_DECODER).eval()
    folder = export_diffusers({"unet": model.unet, "caption_encoder": model.caption_encoder},
                              "decoder", "A test.", {}, tmp_path, int8=True)
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    assert size < 1.3 * sum(p.numel() for p in model.parameters())
    loaded = loader("diffusers-unclip")(folder, entry()).float().eval()
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([0.3, 0.9])
    with torch.no_grad():
        ours = model(x, t, CAPTIONS, torch.zeros(2, 32))
        theirs = loaded(x, t, CAPTIONS, torch.zeros(2, 32))
    assert 0 < float((ours - theirs).norm() / ours.norm()) < 0.05


def test_an_exported_prior_loads_again(tmp_path: Path) -> None:
    model = build_prior(UNCLIP_PRIOR)
    torch.nn.init.constant_(model.transformer.clip_std, 0.5)
    folder = export_diffusers({"prior": model.transformer}, "prior", "A test.", {}, tmp_path)
    loaded = loader("diffusers-unclip")(folder, entry())
    assert isinstance(loaded, UnclipPrior)
    assert loaded.clip_sha256 is None
    embeds = torch.nn.functional.normalize(torch.randn(3, 32), dim=-1)
    assert torch.allclose(loaded.float().unit(loaded.standardise(embeds)), embeds, atol=1e-5)


@pytest.mark.parametrize(("file", "data", "words"), [
    ("unet/config.json", b"[]", "not a configuration"),
    ("unet/config.json", b'{"sample_size": 4, "block_out_channels": 3}', "does not fit"),
    ("unet/diffusion_pytorch_model.safetensors", b"x", "cut short"),
    ("model_index.json", None, "is not there")])
def test_a_damaged_folder_is_told_in_a_sentence(decoder_folder: Path, file: str,
                                                data: bytes | None, words: str) -> None:
    if data is None:
        (decoder_folder / file).unlink()
    else:
        (decoder_folder / file).write_bytes(data)
    with pytest.raises(WeightsError, match=words):
        loader("diffusers-unclip")(decoder_folder, entry())


def test_nothing_told_stays_nothing() -> None:
    model = build_decoder(UNCLIP_DECODER)
    model.caption_encoder.image_mean.fill_(0.5)
    embeds = torch.nn.functional.normalize(torch.randn(2, 32), dim=-1)
    embeds[1] = 0
    condition = image_condition(model, embeds, noise=0.3)
    assert condition[1].abs().sum() == 0
    assert condition[0].abs().sum() > 0
    states, visible = model.caption_encoder(CAPTIONS, condition)
    assert states.shape[1] == visible.shape[1] == 5
    assert visible[0].all()
    assert not visible[1, 3:].any()


@pytest.mark.usefixtures("amx")
def test_a_run_goes_on_from_the_decoder_that_ships(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.setattr(train_decoder, "Loop", partial(Loop, runs_dir=tmp_path))
    monkeypatch.setattr(train_decoder, "export_diffusers",
                        partial(export_diffusers, folder=tmp_path))
    for name in ("sample_grid", "evaluate"):  # 128 scenes and 16 pictures
        monkeypatch.setattr(train_decoder, name, lambda *_: 0.1)
    monkeypatch.setattr(unclip_data, "RUNS_DIR", tmp_path)
    small = {"from_shipped": True, "split": "train-test", "minutes": 1e-9, "batch_size": 2,
             "chunk": 4, "lr": 1e-9, "muon_lr": 1e-9, "weight_decay": 0.0, "threads": 0}
    config = load_config(repository / "training" / "configs" / "decoder.toml", [])
    train_decoder.train(config | small)
    for part in ("unet", "caption_encoder"):
        name = f"{part}/diffusion_pytorch_model.safetensors"
        made = load_file(tmp_path / "unclip-decoder" / name)
        begun = load_file(WEIGHTS_DIR / "unclip-decoder" / name)
        assert all(torch.allclose(made[key].float(), value.float(), atol=1e-4)
                   for key, value in begun.items()), "the embeddings' statistics among them"


@pytest.mark.parametrize("name", ["decoder", "prior"])
def test_the_configurations_fit_the_models_that_ship(name: str, repository: Path) -> None:
    config = load_config(repository / "training" / "configs" / f"{name}.toml", [])
    clip = json.loads(
        (repository / "assets/weights/clip-guide/config.json").read_text())["config"]
    vqgan = json.loads((repository / "assets/weights/vqgan/config.json").read_text())["config"]
    with torch.device("meta"):
        if name == "prior":
            model = build_prior(config["transformer"])
            assert model.image_dim == clip["embed_dim"]
            assert model.text_length == clip["text_cfg"]["context_length"]
        else:
            decoder = build_decoder(config)
            assert decoder.latent_shape == (vqgan["embed_dim"], 16, 16)
            assert len(decoder.caption_encoder.image_mean) == clip["embed_dim"]
            assert decoder.conditioned_by_cell


def test_a_cell_is_told_its_own_numbers_of_the_embedding() -> None:
    torch.manual_seed(0)
    side = UNCLIP_DECODER["unet"]["sample_size"]
    numbers, width = 2, 2 * side**2
    model = build_decoder(UNCLIP_DECODER)
    assert model.conditioned_by_cell
    seen: list[torch.Tensor] = []
    model.unet.conv_in.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = torch.arange(width, dtype=torch.float32)[None]
    model(torch.zeros(1, *model.latent_shape), torch.ones(1), CAPTIONS[:1], image)
    cells = seen[0][0, -numbers:]
    for row in range(side):
        for column in range(side):
            first = numbers * (row * side + column)
            assert cells[:, row, column].tolist() == [first, first + 1]

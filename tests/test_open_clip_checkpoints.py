"""Published CLIP formats, saved with random weights: features are those of the packages' own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig
from transformers import PreTrainedTokenizerFast as FastTokenizer

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.entries import CatalogueEntry, ModelFile
from pipelines.models.checkpoints.formats import fill, loader
from pipelines.models.clip import ClipModel

TEXTS = ["a red apple", "two blue cars in the snow", "ein Wurm"]
SMALL: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "layers": 2, "heads": 2}}
SIGLIP: dict[str, Any] = {
    "embed_dim": 192, "init_logit_bias": -10, "custom_text": True,
    "vision_cfg": {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224",
                   "timm_model_pretrained": False, "timm_pool": "map", "timm_proj": "none"},
    "text_cfg": {"context_length": 16, "vocab_size": 64, "hf_tokenizer_name": "elsewhere/on-a-hub",
                 "tokenizer_kwargs": {"clean": "canonicalize"}, "width": 192, "heads": 3,
                 "layers": 1, "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
                 "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"}}}


def entry(*files: str, **config: str) -> CatalogueEntry:
    return CatalogueEntry.model_validate({
        "id": "test/clip", "title": "test CLIP", "family": "clip", "loader": "open_clip",
        "licence": "MIT", "source": "made by a test", "config": config,
        "files": tuple(ModelFile(name=name) for name in files)})


def load(folder: Path, *files: str, **config: str) -> ClipModel:
    model = loader("open_clip")(folder, entry(*files, **config))
    assert isinstance(model, ClipModel)
    return model.eval().requires_grad_(False)


def pixels(side: int = 32) -> Tensor:
    return torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))


def pooled(output: Any) -> Tensor:
    """What transformers' models give, in one of several forms, as features."""
    return output.pooler_output


def same(ours: Tensor, theirs: Tensor) -> bool:
    theirs = F.normalize(theirs.float(), dim=-1)
    assert (theirs[0] - theirs[1]).norm() > 0.01, "features that do not differ prove nothing"
    return torch.allclose(ours, theirs, atol=1e-4)


def random_open_clip(folder: Path, config: dict[str, Any], mean: float = 0.5) -> Any:
    """A folder as open_clip pushes it, and open_clip's own reading of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        build = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
        model = build(**{k: v for k, v in config.items() if k != "custom_text"})
        for parameter in model.parameters():
            if parameter.ndim == 1:  # norms and biases that are not all alike
                parameter.data += torch.randn_like(parameter) * 0.1
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({
        "model_cfg": config, "preprocess_cfg": {"mean": [mean] * 3, "std": [0.3] * 3}}))
    return open_clip.create_model(f"local-dir:{folder}").eval().requires_grad_(False)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_open_clips_own_folder(tmp_path: Path, quick_gelu: bool) -> None:
    peer = random_open_clip(tmp_path, SMALL | {"quick_gelu": quick_gelu})
    model = load(tmp_path, "open_clip_model.safetensors", "open_clip_config.json")
    assert same(model.encode_image(pixels()), peer.encode_image((pixels() - 0.5) / 0.3))
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(TEXTS)
    assert same(model.encode_text(TEXTS), peer.encode_text(ids))
    assert model.logit_scale == pytest.approx(float(peer.logit_scale.exp()))


def test_all_but_masks_is_built_without_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                               ) -> None:
    """As of real sizes: a tower of timm's would be filled with random numbers first."""
    theirs, built = random_open_clip(tmp_path, SMALL), list[set[str]]()

    def seen(module: nn.Module, tensors: dict[str, Tensor], model_id: str) -> nn.Module:
        built.append({each.device.type for each in module.parameters() if each.numel() > 6000})
        return fill(module, tensors, model_id)

    monkeypatch.setattr("pipelines.models.checkpoints.open_clip.fill", seen)
    monkeypatch.setattr("pipelines.models.checkpoints.open_clip.MASK_NUMBERS", 6000)
    ours = load(tmp_path, "open_clip_model.safetensors", "open_clip_config.json")
    assert built == [{"meta"}]
    assert {each.device.type for each in (*ours.parameters(), *ours.buffers())} == {"cpu"}
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(TEXTS)
    assert same(ours.encode_text(TEXTS), theirs.encode_text(ids))


def test_siglip2s_folder(tmp_path: Path) -> None:
    words = sorted({word for text in TEXTS for word in text.lower().split()})
    vocabulary = {"<pad>": 0, "<unk>": 1, **{word: i for i, word in enumerate(words, 2)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    FastTokenizer(tokenizer_object=tokenizer, pad_token="<pad>",
                  unk_token="<unk>").save_pretrained(tmp_path)
    peer = random_open_clip(tmp_path, SIGLIP)
    model = load(tmp_path, "open_clip_model.safetensors", "open_clip_config.json",
                 "tokenizer.json", "tokenizer_config.json")
    seen = pixels(224)
    assert same(model.encode_image(seen), peer.encode_image((seen - 0.5) / 0.3))
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(TEXTS)
    assert same(model.encode_text(TEXTS), peer.encode_text(ids))
    assert model.logit_bias == pytest.approx(float(peer.logit_bias))
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"tokenizer\.json of the model test/clip is not there"):
        load(tmp_path, "open_clip_model.safetensors", "open_clip_config.json")


def transformers_clip(activation: str) -> CLIPModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        text = CLIPTextConfig(vocab_size=49408, hidden_size=32, intermediate_size=64,
                              num_hidden_layers=2, num_attention_heads=2, hidden_act=activation,
                              eos_token_id=49407)
        vision = CLIPVisionConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                                  num_attention_heads=4, image_size=32, patch_size=16,
                                  hidden_act=activation)
        config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(),
                            projection_dim=24)
        model = CLIPModel(config).eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_transformers_folder(tmp_path: Path, activation: str) -> None:
    peer = transformers_clip(activation)
    peer.save_pretrained(tmp_path)
    model = load(tmp_path, "model.safetensors", "config.json")
    mean, std = (pixels().new_tensor(v).view(1, 3, 1, 1) for v in (model.mean, model.std))
    theirs = pooled(peer.get_image_features(pixel_values=(pixels() - mean) / std))
    assert same(model.encode_image(pixels()), theirs)
    ids = open_clip.SimpleTokenizer()(TEXTS)
    theirs = pooled(peer.get_text_features(input_ids=ids, attention_mask=ids != 0))
    assert same(model.encode_text(TEXTS), theirs)


def test_a_local_file_named_by_its_entry(tmp_path: Path) -> None:
    open_clip.add_model_config(write_config(tmp_path / "configs" / "easel-test-small.json"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        peer: Any = open_clip.create_model("easel-test-small").eval().requires_grad_(False)
    # As a trainer of open_clip writes it.
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor
                                           in peer.state_dict().items()}}, tmp_path / "mine.pt")
    model = load(tmp_path, "mine.pt", model="easel-test-small")
    ids = open_clip.SimpleTokenizer()(TEXTS)
    assert same(model.encode_text(TEXTS), peer.encode_text(ids))
    (tmp_path / "mine.pt").rename(tmp_path / "easel-test-small.pt")
    assert same(load(tmp_path, "easel-test-small.pt").encode_text(TEXTS), peer.encode_text(ids))


def write_config(path: Path) -> Path:
    path.parent.mkdir()
    path.write_text(json.dumps(SMALL))
    return path


def test_layers_that_no_file_holds_are_not_built(tmp_path: Path) -> None:
    random_open_clip(tmp_path, SMALL)
    path = tmp_path / "open_clip_config.json"
    config = json.loads(path.read_bytes())
    for tower in ("vision_cfg", "text_cfg"):
        changed = {**config["model_cfg"], tower: {**SMALL[tower], "layers": 10**6}}
        path.write_text(json.dumps({**config, "model_cfg": changed}))
        with pytest.raises(WeightsError, match=r"states 1,000,000 layers, and its weights are "):
            load(tmp_path, "open_clip_model.safetensors")


@pytest.mark.parametrize("statistics", [
    {"std": [0, 0, 0]}, {"std": [0.2, -0.2, 0.2]}, {"mean": [0.5]}, {"mean": 0.5},
    {"mean": ["a", "b", "c"]}, {"std": [math.nan] * 3}, {"mean": [math.inf, 0, 0]}])
def test_pixels_that_cannot_be_normalised_are_refused(tmp_path: Path, statistics: dict[str, Any],
                                                      ) -> None:
    random_open_clip(tmp_path, SMALL)
    path = tmp_path / "open_clip_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {
        "preprocess_cfg": config.get("preprocess_cfg", {}) | statistics}))
    with pytest.raises(WeightsError, match="mean or a standard deviation of pixels that cannot"):
        load(tmp_path, "open_clip_model.safetensors")


def test_what_is_no_clip_is_refused_in_a_sentence(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError, match="Nothing says which CLIP the model test/clip is"):
        load(tmp_path, "mine.safetensors")
    with pytest.raises(WeightsError, match="do not fit its configuration"):
        load(tmp_path, "mine.safetensors", model="RN50")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({
        "model_cfg": SMALL | {"text_cfg": {"hf_model_name": "roberta-base"}}}))
    with pytest.raises(WeightsError, match="text tower lies in another repository"):
        load(tmp_path, "mine.safetensors")

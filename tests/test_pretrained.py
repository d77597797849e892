"""The pretrained parts: networks that compute what their publishers' do, and weights that know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio
import pytest
import timm
import torch
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.errors import WeightsError
from pipelines.core.images import load_image
from pipelines.models import efficientnet, minilm
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.entries import CatalogueEntry, ModelFile
from pipelines.models.checkpoints.loading import load_model
from pipelines.models.efficientnet import EfficientNet
from pipelines.models.minilm import SentenceEncoder
from pipelines.models.pixels import to_squares
from training.copy_pretrained import efficientnet_tensors, minilm_tensors, world_captions
from training.export import export

PHOTOGRAPHS = Path(gradio.__file__).parent / "media_assets" / "images"
SMALL = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 32, "max_position_embeddings": 16}
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "dog", "and", "two", "cats")


def published(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of timm's EfficientNet-Lite0 by the names that the checkpoint's publisher gave
    them."""
    found = {}
    number = 0
    names = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1",
             "classifier": "_fc"}
    blocks = {}
    for stage, (count, _, _, expansion, _) in enumerate(efficientnet.STAGES):
        plain = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv",
                 "bn2": "_bn2"}
        inverted = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv",
                    "bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
        for block in range(count):
            for own, theirs in (inverted if expansion > 1 else plain).items():
                blocks[f"blocks.{stage}.{block}.{own}"] = f"_blocks.{number}.{theirs}"
            number += 1
    for name, tensor in model.state_dict().items():
        layer, _, part = name.rpartition(".")
        found[f"{(names | blocks)[layer]}.{part}"] = tensor
    return found


@pytest.mark.parametrize("side_px", [64, 75])
def test_efficientnet_computes_what_another_implementation_does(
        side_px: int, generator: torch.Generator) -> None:
    theirs: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    with torch.no_grad():
        for name, tensor in theirs.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2, generator=generator)
            elif name.endswith("running_mean") or ("bn" in name and name.endswith("bias")):
                tensor.normal_(0, 0.5, generator=generator)
    ours = EfficientNet().eval()
    ours.load_state_dict(efficientnet_tensors(published(theirs)))
    pixels = torch.rand(2, 3, side_px, side_px, generator=generator)
    normalised = (pixels * 255 - 127) / 128
    with torch.no_grad():
        expected = theirs(normalised)
        torch.testing.assert_close(ours(pixels), expected, atol=1e-4, rtol=1e-3)
        pooled = theirs.forward_features(normalised).mean((2, 3))
        torch.testing.assert_close(ours.features(pixels), pooled, atol=1e-4, rtol=1e-3)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side_px", [12, 13])
def test_uneven_padding_of_filters_is_no_copy_of_the_map(
        kernel: int, side_px: int, generator: torch.Generator,
        monkeypatch: pytest.MonkeyPatch) -> None:
    conv = efficientnet.SameConv(4, 4, kernel, 2, groups=4)
    x = torch.rand(2, 4, side_px, side_px, generator=generator)
    total = kernel - (side_px % 2 or 2)
    around = (total // 2, total - total // 2) * 2
    expected = functional.conv2d(functional.pad(x, around), conv.weight, conv.bias, 2, groups=4)
    pad = functional.pad
    padded: list[torch.Size] = []
    monkeypatch.setattr(functional, "pad", lambda given, *args, **kwargs: (
        padded.append(given.shape), pad(given, *args, **kwargs))[1])
    torch.testing.assert_close(conv(x), expected)
    assert x.shape not in padded


def test_stages_give_maps_and_gradients(generator: torch.Generator) -> None:
    model = EfficientNet().eval().requires_grad_(False)
    pixels = torch.rand(1, 3, 48, 40, generator=generator, requires_grad=True)
    maps = model.stage_maps(pixels)
    assert [each.shape[1] for each in maps] == [stage[-1] for stage in efficientnet.STAGES]
    assert [tuple(each.shape[-2:]) for each in maps[:3]] == [(24, 20), (12, 10), (6, 5)]
    maps[2].square().mean().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


def small_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(WORDS)},
                                           unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def small_encoder(max_tokens: int = 12) -> SentenceEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = minilm.build(SMALL)
    return SentenceEncoder(module.eval().requires_grad_(False), small_tokenizer(), max_tokens)


def test_a_sentence_is_the_mean_of_its_own_tokens() -> None:
    encoder = small_encoder()
    texts = ["a red dog", "two cats and a red dog", "cats"]
    together = encoder(texts)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(3))
    alone = torch.cat([encoder([text]) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    ids, states = encoder.read(texts)
    assert states.shape == (3, 8, encoder.width)
    assert (ids != minilm.PAD_ID).sum(1).tolist() == [5, 8, 3]
    mean = states[0, :5].mean(0)
    torch.testing.assert_close(together[0], mean / mean.norm(), atol=1e-5, rtol=1e-4)


def test_a_text_beyond_the_length_is_cut_and_said() -> None:
    encoder = small_encoder(max_tokens=6)
    assert not encoder.truncated("a red dog and")
    assert encoder.truncated("a red dog and two")
    first = encoder(["a red dog and two cats"])
    torch.testing.assert_close(first, encoder(["a red dog and cats"]))
    assert encoder.read(["a red dog and two cats"])[0].shape == (1, 6)
    ids, states = encoder.read(["a red dog and two cats"], most=4)
    assert (ids.shape, states.shape) == ((1, 4), (1, 4, encoder.width))


def test_a_pooler_and_counted_positions_are_left_out() -> None:
    kept = minilm_tensors({"embeddings.word_embeddings.weight": torch.ones(1),
                           "embeddings.position_ids": torch.ones(1),
                           "pooler.dense.weight": torch.ones(1)})
    assert list(kept) == ["embeddings.word_embeddings.weight"]


@pytest.mark.parametrize("text", ["", "{", "<html>404</html>"])
def test_a_damaged_tokenizer_is_one_sentence(tmp_path: Path, text: str) -> None:
    export(minilm.build(SMALL), "encoder", "minilm", SMALL, "A test.", tmp_path, int8=True)
    small_tokenizer().save(str(tmp_path / "encoder" / "tokenizer.json"))
    entry = CatalogueEntry(
        id="embedded/encoder", title="encoder", family="sentences", licence="MIT", source="a test",
        files=tuple(ModelFile(name=name) for name in
                    ("config.json", "model.safetensors", "tokenizer.json")))
    catalogue = Catalogue((entry,), tmp_path)
    encoder = load_model(catalogue, entry)
    assert isinstance(encoder, SentenceEncoder)
    assert encoder(["a dog"]).shape == (1, 16)
    (tmp_path / "encoder" / "tokenizer.json").write_text(text)
    with pytest.raises(WeightsError, match=r"^The tokenizer.json of the model embedded/encoder is "
                                           r"[^\n]+\.$"):
        load_model(catalogue, entry)


def test_captions_to_compare_encoders_on_differ() -> None:
    texts = world_captions(30)
    assert len(set(texts)) == 30
    assert texts == world_captions(30)


@pytest.mark.weights("efficientnet-lite0")
def test_the_shipped_classifier_names_photographs() -> None:
    catalogue = Catalogue.load()
    model = load_model(catalogue, catalogue.get("embedded/efficientnet-lite0"))
    assert isinstance(model, EfficientNet)
    images = [load_image((PHOTOGRAPHS / name).read_bytes())
              for name in ("cheetah1.jpg", "lion.jpg")]
    with torch.no_grad():
        best = model(to_squares(images, efficientnet.IMAGE_SIZE, "cpu")).argmax(1).tolist()
    assert [IMAGENET_CLASSNAMES[each] for each in best] == ["cheetah", "lion"]


@pytest.mark.weights("minilm")
def test_the_shipped_encoder_reads_english() -> None:
    catalogue = Catalogue.load()
    encoder = load_model(catalogue, catalogue.get("embedded/minilm"))
    assert isinstance(encoder, SentenceEncoder)
    with torch.no_grad():
        asked, known = encoder(["puppy", "automobile", "spectacles"]), encoder(["car", "dog",
                                                                                "glasses", "tree"])
    assert (asked @ known.t()).argmax(1).tolist() == [1, 0, 2]

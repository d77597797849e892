"""DALL·E mini against PyPI's min-dalle: tokens, logits, greedy codes and pictures are the same."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.entries import CatalogueEntry, ModelFile
from pipelines.models.checkpoints.formats import loader
from pipelines.models.checkpoints.loading import load_model
from pipelines.models.fast_linear import has_int8
from pipelines.models.min_dalle import GRID, NUM_CODES, PAD_ID, Detokenizer, MinDalle
from pipelines.sampling import guide

PARTS = ("encoder.pt", "decoder.pt", "vocab.json", "merges.txt")
WORDS = """
a an the red blue crimson tiny apple apples worm spaceship lighthouse painting
photograph of in on under two three snow winter's midnight armchair avocado DALL·E 3d 4K
naïve café 日本 🍎 🚀👩‍🚀 ☂️ e-mail don't --ar 16:9 ( ) . , !!! the,the\ttab
""".strip().replace("\n", " ").split(" ")


def prompts(count: int = 1000) -> list[str]:
    """Words in any order, upper and lower case, with double spaces and none at all."""
    source = random.Random(5)
    found = ["a red apple under two blue spaceships", "", "   "]
    while len(found) < count:
        words = source.choices(WORDS, k=source.randint(1, 14))
        words = [word.upper() if source.random() < 0.1 else word for word in words]
        found.append(source.choice((" ", " ", " ", "  ")).join(words))
    return found


def write_vocabulary(folder: Path) -> None:
    """Byte pairs learned from the words, in BART's format."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    lower = [word.lower().encode("ascii", "ignore").decode() for word in WORDS]
    learned.train_from_iterator((f"Ġ{word}" for word in lower),
                                trainers.BpeTrainer(vocab_size=130, show_progress=False))
    model = json.loads(learned.to_str())["model"]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *model["vocab"]]
    (folder / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate(pieces)}))
    merges = [" ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A published model in small, and what min-dalle makes of it."""
    path = tmp_path_factory.mktemp("min-dalle")
    write_vocabulary(path)
    (path / "prompts.json").write_text(json.dumps(prompts()))
    subprocess.run([sys.executable, "-W", "ignore", "-m", "tests.min_dalle_peer", path],
                   cwd=repository, check=True, timeout=240)
    return path


@pytest.fixture(scope="module")
def reference(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "reference.safetensors")


def entry(*files: str) -> CatalogueEntry:
    return CatalogueEntry.model_validate({
        "id": "test/dalle-mini", "title": "test", "family": "dalle-mini", "loader": "min-dalle",
        "licence": "MIT", "source": "made by a test",
        "files": tuple(ModelFile(name=name) for name in files)})


def load(folder: Path, *files: str) -> MinDalle:
    model = loader("min-dalle")(folder, entry(*files))
    assert isinstance(model, MinDalle)
    return model.float().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model(folder: Path) -> MinDalle:
    return load(folder, *PARTS)


def test_tokens_are_those_of_min_dalle(folder: Path, model: MinDalle) -> None:
    expected = json.loads((folder / "tokens.json").read_text())
    texts = json.loads((folder / "prompts.json").read_text())
    assert len(texts) == 1000
    assert [model.tokenizer.encode(text) for text in texts] == expected
    used = {i for row in expected for i in row}
    assert model.tokenizer.unknown_id in used
    assert len(used) > 50, "prompts that hardly differ prove nothing"


@pytest.mark.parametrize(("text", "negative"), [
    ("a red apple", "a worm on two tiny apples"), ("a worm on two tiny apples", "a worm"),
    ("a red apple", "")])
def test_a_negative_text_stands_where_an_empty_one_does(model: MinDalle, text: str,
                                                        negative: str) -> None:
    against, own = model.text_ids(text, negative).tolist()
    tokens = model.tokenizer.encode
    width = max(len(tokens(text)), len(tokens(negative)))
    pad = [PAD_ID] * width
    assert own == (tokens(text) + pad)[:width]
    assert against == (tokens(negative) + pad)[:width]


def test_the_files_are_as_published(folder: Path, model: MinDalle) -> None:
    halves = {name: torch.load(folder / f"{name}.pt", weights_only=True)
              for name in ("encoder", "decoder")}
    for name, tensors in halves.items():
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
        assert not tensors["layers.1.self_attn.q_proj.weight"].is_contiguous()
        scales = [key for key in tensors if "ln" in key and key.endswith("weight")]
        assert not [key for key in scales if "final_ln" in key or "glu.ln" in key]
        assert f"layers.0.pre_{'encoder_attn' if name == 'decoder' else 'self_attn'}_layer_norm" \
               ".bias" in tensors
    loaded = sum(tensor.numel() for tensor in model.state_dict().values())
    published = sum(t.numel() for tensors in halves.values() for t in tensors.values())
    added = sum(value.numel() for name, value in model.state_dict().items()
                if name.endswith("norm.weight") and bool((value == 1).all()))
    assert added > 0
    assert loaded == published + added
    detokenizer = torch.load(folder / "detoker.pt", weights_only=True)
    assert {tensor.dtype for tensor in detokenizer.values()} == {torch.float32}


def test_the_start_code_is_the_networks_own(model: MinDalle) -> None:
    assert model.config.start_code == model.config.code_vocab_size - 1 == 2**14


def test_a_scale_that_every_file_holds_is_missed(folder: Path, tmp_path: Path) -> None:
    for name in PARTS:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    tensors = torch.load(folder / "decoder.pt", weights_only=True)
    del tensors["layers.1.self_attn_layer_norm.weight"]
    torch.save(tensors, tmp_path / "decoder.pt")
    with pytest.raises(WeightsError, match=r"1 missing \(first decoder.layers.1.out_norm.weight"):
        load(tmp_path, *PARTS)


@pytest.mark.parametrize("change", [
    lambda t: t.to(torch.int8), lambda t: torch.complex(t.float(), t.float()), lambda t: t[0, 0]])
def test_a_part_that_cannot_be_weights_is_missed(
        folder: Path, tmp_path: Path, change: Callable[[Tensor], Tensor]) -> None:
    for name in PARTS:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    tensors = torch.load(folder / "decoder.pt", weights_only=True)
    name = "layers.1.self_attn.k_proj.weight"
    torch.save({**tensors, name: change(tensors[name]).clone()}, tmp_path / "decoder.pt")
    with pytest.raises(WeightsError, match=r"1 missing \(first decoder.layers.1.qkv"):
        load(tmp_path, *PARTS)


@pytest.mark.parametrize("layers", [[99999], range(2, 5000)])
def test_no_dalle_mini_has_thousands_of_layers(folder: Path, tmp_path: Path,
                                               layers: Iterable[int]) -> None:
    for name in PARTS:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    tensors = torch.load(folder / "decoder.pt", weights_only=True)
    names = [f"layers.{layer}.glu.fc0.weight" for layer in layers]
    torch.save({**tensors, **dict.fromkeys(names, torch.zeros(()))}, tmp_path / "decoder.pt")
    with pytest.raises(WeightsError, match="not those of DALL·E mini"):
        load(tmp_path, *PARTS)


@pytest.mark.parametrize("part", ["self_attn.k_proj", "encoder_attn.v_proj", "glu.fc1"])
@pytest.mark.parametrize("how", ["gone", "larger"])
def test_a_matrix_of_which_a_part_is_not_there_is_missed(folder: Path, tmp_path: Path, part: str,
                                                         how: str) -> None:
    for name in PARTS:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    tensors = torch.load(folder / "decoder.pt", weights_only=True)
    tensor = tensors.pop(f"layers.1.{part}.weight")
    if how == "larger":
        tensors[f"layers.1.{part}.weight"] = torch.cat([tensor, tensor])
    torch.save(tensors, tmp_path / "decoder.pt")
    with pytest.raises(WeightsError, match=r"1 missing \(first decoder.layers.1."):
        load(tmp_path, *PARTS)


def test_a_layer_is_not_kept_by_the_memory_of_the_others(folder: Path) -> None:
    model = loader("min-dalle")(folder, entry(*PARTS))
    for name, tensor in model.state_dict().items():
        assert tensor.is_contiguous(), name
        assert tensor.untyped_storage().nbytes() == tensor.nbytes, name


def written(model: MinDalle, text: str, codes: Tensor, dtype: torch.dtype = torch.float32,
            ) -> Tensor:
    """Logits (steps, 2 · images, codes) of given codes (images, steps)."""
    model = model.to(dtype)
    keys = model.read(text)
    cache = model.decoder.new_cache(2 * len(codes))
    previous = torch.full((len(codes),), model.config.start_code)
    found = []
    for column in codes.unbind(1):
        found.append(model.decoder(previous.repeat(2), cache, keys).float())
        previous = column
    return torch.stack(found)


def test_logits_are_those_of_min_dalle(model: MinDalle, reference: dict[str, Tensor]) -> None:
    found = written(model, prompts(1)[0], reference["forced"])
    assert reference["logits"].std() > 0.1
    assert (found - reference["logits"]).abs().max() < 1e-3


def test_greedy_codes_are_those_of_min_dalle(model: MinDalle, reference: dict[str, Tensor],
                                             ) -> None:
    keys, cache = model.read(prompts(1)[0]), model.decoder.new_cache(2)
    codes = [torch.tensor([model.config.start_code])]
    (expected,), guidance_scale = reference["greedy"], float(reference["guidance"])
    for _ in expected:
        without, conditioned = model.decoder(codes[-1].repeat(2), cache, keys)
        codes.append(guide(conditioned, without, guidance_scale).argmax()[None])
    assert torch.equal(torch.cat(codes[1:]), expected)
    assert len(expected.unique()) > len(expected) // 4


def test_bfloat16_scores_nearly_the_same(folder: Path, reference: dict[str, Tensor]) -> None:
    found = written(load(folder, *PARTS), prompts(1)[0], reference["forced"], torch.bfloat16)
    error = (found - reference["logits"]).norm() / reference["logits"].norm()
    assert 0 < error < 0.05


@pytest.mark.skipif(not has_int8(), reason="needs a CPU with the integer product")
def test_8_bits_score_nearly_the_same(folder: Path, reference: dict[str, Tensor]) -> None:
    published = entry(*PARTS).model_copy(update={"path": folder})
    catalogue = Catalogue((published,), folder, folder)
    packed = load_model(catalogue, published, dtype=torch.int8)
    assert isinstance(packed, MinDalle)
    found = written(packed, prompts(1)[0], reference["forced"])
    error = (found - reference["logits"]).norm() / reference["logits"].norm()
    assert 0 < error < 0.03
    agreement = found.argmax(-1) == reference["logits"].argmax(-1)
    assert agreement.float().mean() > 0.9


def test_pictures_are_those_of_min_dalle(folder: Path, reference: dict[str, Tensor]) -> None:
    detokenizer = loader("min-dalle")(folder, entry("detoker.pt")).float()
    assert isinstance(detokenizer, Detokenizer)
    with torch.no_grad():
        pixels = detokenizer(reference["codes"])
        assert torch.allclose((pixels + 1) / 2, reference["pixels"], atol=1e-4)


def test_what_is_not_written_is_grey() -> None:
    class Plain(Detokenizer):
        """Draws each code in the colour of its number."""

        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

        def forward(self, codes: Tensor) -> Tensor:
            return (codes[:, None] + 1.0).repeat(1, 3, 1, 1).repeat_interleave(
                16, 2).repeat_interleave(16, 3)

    pixels = Plain().draw([torch.tensor([7, 8])] * (GRID + 3))
    assert pixels.shape == (2, 3, 256, 256)
    assert pixels[0, 0, :16].unique().tolist() == [8]
    assert pixels[1, 0, 16:32, :48].unique().tolist() == [9]
    assert pixels[:, :, 16:32, 48:].abs().max() == 0
    assert pixels[:, :, 32:].abs().max() == 0
    assert Plain().draw([torch.tensor([7])] * NUM_CODES).min() == 8


def test_what_is_not_dalle_mini_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in PARTS:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(WeightsError, match="lists no merges file"):
        load(tmp_path, *PARTS[:3])
    torch.save({"weight": torch.zeros(2)}, tmp_path / "decoder.pt")
    with pytest.raises(WeightsError, match="not those of DALL·E mini"):
        load(tmp_path, *PARTS)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(WeightsError, match=r"file merges\.txt of the model .* is not there"):
        load(tmp_path, *PARTS)
    (tmp_path / "vocab.json").write_text("[]")
    (tmp_path / "merges.txt").write_text("#\n")
    with pytest.raises(WeightsError, match=r"vocabulary of the model .* is damaged"):
        load(tmp_path, *PARTS)

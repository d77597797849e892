"""Janus in small: tokens are those of transformers' own ``generate``, and they stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusImageProcessor,
    JanusProcessor,
)
from transformers import PreTrainedTokenizerFast as FastTokenizer

from pipelines.checkpoints.catalogue import CatalogueEntry, ModelFile
from pipelines.checkpoints.loaders import loader
from pipelines.errors import WeightsError
from pipelines.events import Preview, Progress, Result
from pipelines.janus import JANUS, JanusPipeline
from pipelines.model_cache import ModelCache
from pipelines.models.janus import Janus
from pipelines.registry import Registry, RunContext
from pipelines.request import validate
from tests.small_models import SmallLoader

PROMPT = "a red apple"
PIECES = ("<pad>", "<bos>", "<eos>", "<unk>", "<begin_of_image>", "<end_of_image>",
          "<image_placeholder>", "<|User|>", "<|Assistant|>", ":", "a", "red", "apple")
GRID = 6  # image tokens along one side


def tokenizer() -> FastTokenizer:
    plain = Tokenizer(models.WordLevel({p: i for i, p in enumerate(PIECES)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return FastTokenizer(
        tokenizer_object=plain, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
        unk_token="<unk>", extra_special_tokens={
            "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>",
            "image_token": "<image_placeholder>"})


def whole_model() -> JanusForConditionalGeneration:
    side = 16 * GRID
    config = JanusConfig(
        text_config={"model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
                     "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
                     "vocab_size": len(PIECES), "pad_token_id": 0, "bos_token_id": 1,
                     "eos_token_id": 2, "max_position_embeddings": 256},
        vision_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "image_size": side, "patch_size": 16, "projection_dim": 64,
                       "num_image_tokens": GRID * GRID, "depth": 2},
        vq_config={"embed_dim": 8, "num_embeddings": 40, "latent_channels": 32,
                   "base_channels": 32, "channel_multiplier": [1, 1, 1, 1, 2],
                   "num_res_blocks": 1, "projection_dim": 64, "image_token_embed_dim": 64,
                   "num_patches": GRID, "num_hidden_layers": 2})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = JanusForConditionalGeneration(config).eval().requires_grad_(False)
        for name, parameter in model.named_parameters():  # choices that differ
            if "generation" in name and parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("janus")
    whole_model().save_pretrained(path)
    template = ("{% for message in messages %}<|User|> : {{ message['content'][0]['text'] }} "
                "{% endfor %}<|Assistant|> : ")
    JanusProcessor(JanusImageProcessor(), tokenizer(), chat_template=template,
                   num_image_tokens=GRID * GRID).save_pretrained(path)
    return path


def entry() -> CatalogueEntry:
    return CatalogueEntry.model_validate({
        "id": JANUS, "title": "test Janus", "family": "janus", "loader": "janus",
        "licence": "MIT", "source": "made by a test",
        "files": (ModelFile(name="config.json"), ModelFile(name="model.safetensors"))})


@pytest.fixture(scope="module")
def janus(folder: Path) -> Janus:
    model = loader("janus")(folder, entry())
    assert isinstance(model, Janus)
    return model.eval().requires_grad_(False)


def test_the_prompt_is_the_processors(janus: Janus) -> None:
    empty, text = janus.text_ids(PROMPT)
    words = [PIECES[i] for i in text]
    assert words[-1] == "<begin_of_image>"
    assert [w for w in words if w in ("a", "red", "apple")] == ["a", "red", "apple"]
    assert {PIECES[i] for i in empty} <= {"<bos>", "<begin_of_image>", "<pad>"}


def test_greedy_tokens_are_those_of_generate(folder: Path, janus: Janus) -> None:
    peer = JanusForConditionalGeneration.from_pretrained(folder)
    peer.generation_config.update(pad_token_id=0, bos_token_id=1, eos_token_id=2)
    # A key of Janus's own, which GenerationConfig does not know.
    boi_token_id = PIECES.index("<begin_of_image>")
    setattr(peer.generation_config, "generation_kwargs", {"boi_token_id": boi_token_id})  # noqa: B010
    ids = janus.text_ids(PROMPT)[1:]
    expected = peer.generate(inputs=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                             generation_mode="image", guidance_scale=3.0)[0]
    state, codes = janus.begin(PROMPT, 1, guided=True), None
    found = []
    for _ in range(GRID * GRID):
        with torch.no_grad():
            without, conditioned = janus.score(state, codes)
        codes = (without + 3.0 * (conditioned - without)).argmax()[None]
        found.append(codes)
    assert torch.equal(torch.cat(found), expected)
    assert len(expected.unique()) > 3
    pixels = peer.decode_image_tokens(expected[None]).permute(0, 3, 1, 2)
    with torch.no_grad():
        assert torch.allclose(janus.draw(found), pixels, atol=1e-4)
        half = janus.draw(found[:GRID * 2])
    assert half[:, :, 32:].abs().max() == 0


class JanusLoader(SmallLoader):
    """Small models, Janus from its folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def load(self, model_id: str, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
        if model_id != JANUS:
            return super().load(model_id, device, dtype)
        model = loader("janus")(self.folder, entry())
        return model.to(device, dtype).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def cache(folder: Path) -> ModelCache:
    return ModelCache(JanusLoader(folder))


def test_a_run_streams_previews_and_ends_ranked(cache: ModelCache) -> None:
    registry = Registry()
    registry.register(JanusPipeline())
    fields = {"pipeline": "janus", "prompt": PROMPT, "num_images": 2, "seed": 4,
              "options": {"preview_every": 9, "precision": "float32"}}
    request = validate(fields, registry)
    assert JanusPipeline().models_of(request) == (JANUS, "embedded/clip-ranker")
    events = list(JanusPipeline().run(request, RunContext(cache, torch.device("cpu"))))
    steps = [e.step for e in events if isinstance(e, Progress) and e.total and not e.message]
    assert steps == list(range(1, GRID * GRID + 1))
    previews = [e for e in events if isinstance(e, Preview)]
    assert [p.step for p in previews] == [9, 18, 27]
    assert (previews[0].images[:, 48:] == 128).all(), "what is not written is grey"
    result = events[-1]
    assert isinstance(result, Result)
    assert [c.image.shape for c in result.candidates] == [(96, 96, 3)] * 2
    alone = validate({**fields, "num_images": 1, "seed": 5}, registry)
    again = list(JanusPipeline().run(alone, RunContext(cache, torch.device("cpu"))))[-1]
    assert isinstance(again, Result)
    together = next(c for c in result.candidates if c.seed == 5)
    # The same tokens; the last bits of a convolution depend on the size of the batch.
    assert np.abs(again.candidates[0].image.astype(int) - together.image).max() <= 1


def test_stop_keeps_what_is_written(cache: ModelCache) -> None:
    registry = Registry()
    registry.register(JanusPipeline())
    request = validate({"pipeline": "janus", "prompt": PROMPT, "num_images": 1, "seed": 4,
                        "options": {"precision": "float32"}}, registry)
    steps: list[int] = []
    context = RunContext(cache, torch.device("cpu"), cancelled=lambda: len(steps) >= 5)
    result = None
    for event in JanusPipeline().run(request, context):
        if isinstance(event, Progress) and event.total and not event.message:
            steps.append(event.step)
        result = event
    assert isinstance(result, Result)
    assert result.metadata == {"stopped": True}
    assert (result.candidates[0].image[32:] == 128).all()


def test_what_is_no_janus_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json of the model .* is not there"):
        loader("janus")(tmp_path, entry())
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(WeightsError, match="could not be read as Janus"):
        loader("janus")(tmp_path, entry())

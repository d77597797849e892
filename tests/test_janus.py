"""Janus in small: tokens are those of transformers' own ``generate``, and they stream."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.version import Version
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import JanusForConditionalGeneration

from pipelines.core.errors import WeightsError
from pipelines.core.events import Preview, Progress, Result
from pipelines.janus import JANUS, JanusPipeline
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.formats import loader
from pipelines.models.checkpoints.janus import LEAST_TRANSFORMERS
from pipelines.models.janus import Janus
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from tests.janus_folder import GRID, PIECES, JanusLoader, entry, write_janus
from tests.test_tensor_files import write_shards

PROMPT = "a red apple"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("janus")
    write_janus(path)
    return path


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
    seen: Any = torch.ones_like(ids)
    expected = peer.generate(inputs=ids, attention_mask=seen, do_sample=False,
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


@pytest.fixture(scope="module")
def cache(folder: Path) -> ModelCache:
    return ModelCache(JanusLoader(folder))


def test_a_run_streams_previews_and_ends_ranked(cache: ModelCache) -> None:
    registry = Registry()
    registry.register(JanusPipeline())
    fields = {"pipeline": "janus", "prompt": PROMPT, "num_images": 2, "seed": 4,
              "options": {"preview_every": 9, "precision": "float32"}}
    request = registry.check(fields)
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
    alone = registry.check({**fields, "num_images": 1, "seed": 5})
    again = list(JanusPipeline().run(alone, RunContext(cache, torch.device("cpu"))))[-1]
    assert isinstance(again, Result)
    together = next(c for c in result.candidates if c.seed == 5)
    # The same tokens; the last bits of a convolution depend on the size of the batch.
    assert np.abs(again.candidates[0].image.astype(int) - together.image).max() <= 1


def test_stop_keeps_what_is_written(cache: ModelCache) -> None:
    registry = Registry()
    registry.register(JanusPipeline())
    request = registry.check({"pipeline": "janus", "prompt": PROMPT, "num_images": 1, "seed": 4,
                        "options": {"precision": "float32"}})
    steps: list[int] = []
    context = RunContext(cache, torch.device("cpu"), cancelled=lambda: len(steps) >= 5)
    result = None
    for event in JanusPipeline().run(request, context):
        if isinstance(event, Progress) and event.total and not event.message:
            steps.append(event.step)
        result = event
    assert isinstance(result, Result)
    assert result.metadata == {"stopped": True, "computed_in": "float32"}
    assert (result.candidates[0].image[32:] == 128).all()


def test_what_is_no_janus_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json of the model .* is not there"):
        loader("janus")(tmp_path, entry())
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(WeightsError, match="could not be read as Janus"):
        loader("janus")(tmp_path, entry())


def published_tokenizer(folder: Path, space: str) -> Path:
    """A folder's tokenizer as DeepSeek's is: byte-level pieces, called a LlamaTokenizer."""
    pieces = [*PIECES[:9], *("a", "b", "Ġ", ":"), "Ġa", "Ġb"]
    whole = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [("Ġ", "a"), ("Ġ", "b")]))
    whole.pre_tokenizer = (pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
                           if space else pre_tokenizers.WhitespaceSplit())  # type: ignore
    whole.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    whole.add_special_tokens(list(PIECES[:9]))
    whole.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def copied(folder: Path, target: Path) -> Path:
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_space_is_a_token(folder: Path, tmp_path: Path) -> None:
    model = loader("janus")(published_tokenizer(copied(folder, tmp_path), "Ġ"), entry())
    assert isinstance(model, Janus)
    tokenizer = model.processor.tokenizer
    assert tokenizer.convert_ids_to_tokens(
        tokenizer("a b", add_special_tokens=False)["input_ids"]) == ["a", "Ġb"]
    _, text = model.text_ids("a b")
    assert tokenizer.convert_tokens_to_ids("Ġb") in text.tolist()


def test_a_tokenizer_that_loses_spaces_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"loses the spaces between words under transformers "
                                           r"5\.\d+\.\d+: install 5\.16 or newer"):
        loader("janus")(published_tokenizer(copied(folder, tmp_path), ""), entry())


def test_the_pinned_transformers_keeps_spaces(repository: Path) -> None:
    pinned = re.search(r"^transformers==(\S+)$", (repository / "requirements.txt").read_text(),
                       re.MULTILINE)
    assert pinned is not None
    assert Version(pinned[1]) >= Version(LEAST_TRANSFORMERS)


def test_shards_are_read(folder: Path, tmp_path: Path, janus: Janus) -> None:
    copied(folder, tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    write_shards(tmp_path, "model.safetensors", whole, metadata={"format": "pt"})
    found = loader("janus")(tmp_path, entry())
    assert all(torch.equal(tensor, found.state_dict()[name])
               for name, tensor in janus.state_dict().items())


def test_codes_and_width_are_told(janus: Janus) -> None:
    assert (janus.codes, janus.width) == (40, 64)

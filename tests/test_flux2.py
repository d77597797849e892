"""FLUX.2 [klein] in tiny: downloaded, leased part by part, and the same picture as diffusers'."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinPipeline

from pipelines.core.errors import Cancelled, InvalidRequest, WeightsError
from pipelines.core.events import Event, Preview, Progress
from pipelines.flux2 import PARTS, TEXT_ENCODER, TRANSFORMER, VAE, Flux2Pipeline
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.flux2 import load
from pipelines.models.checkpoints.ids import RANKER
from pipelines.pipeline import RunContext
from pipelines.registry import Registry, build_registry
from tests.flux2_folder import write_flux2
from tests.published_parts import PartsLoader, changed_copy, downloaded, result_of, run_of

SMALL = {"steps": 3, "size_px": 256}
PROMPT = "a red apple"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flux2(tmp_path_factory.mktemp("flux2"))


@pytest.fixture(scope="module")
def catalogue(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return downloaded(PARTS, {"black-forest-labs/FLUX.2-klein-4B": folder},
                      tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def cache(catalogue: Catalogue) -> Iterator[ModelCache]:
    built = ModelCache(PartsLoader(catalogue), "cpu")
    # A run that waits for models asks more often whether it is to stop: here none waits.
    list(run(built))
    yield built
    built.close()


def run(cache: ModelCache, polls: int = 10**6, **fields: Any) -> Iterator[Event]:
    return run_of(Flux2Pipeline(), cache, polls, {
        "num_images": 1, **fields, "options": {**SMALL, **fields.get("options", {})}})


@pytest.mark.parametrize(("aspect", "height", "width"), [("1:1", 256, 256), ("2:1", 176, 368)])
def test_the_picture_is_diffusers_own(cache: ModelCache, folder: Path, aspect: str, height: int,
                                      width: int) -> None:
    own: Any = Flux2KleinPipeline.from_pretrained(folder, local_files_only=True)
    own.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    expected = own(prompt=PROMPT, height=height, width=width, num_inference_steps=3,
                   guidance_scale=1.0, num_images_per_prompt=2, generator=generators,
                   output_type="np").images
    result = result_of(list(run(cache, num_images=2, options={"aspect": aspect})))
    for candidate in result.candidates:
        found = candidate.image.astype(float) / 255
        assert found.shape == (height, width, 3)
        assert np.abs(found - expected[candidate.index]).max() <= 1 / 255
    assert expected.std() > 0.02, "two grey pictures would be alike as well"


def test_the_prompt_is_read(cache: ModelCache) -> None:
    one, other = (result_of(list(run(cache, prompt=prompt))).candidates[0].image
                  for prompt in (PROMPT, "a blue car"))
    assert not np.array_equal(one, other)


def test_parts_are_leased_one_after_the_other(cache: ModelCache) -> None:
    held, events = [], []
    for event in run(cache, num_images=2):
        events.append(event)
        held.append({m.model_id for m in cache.stats().models if m.leases})
    assert {TRANSFORMER, VAE, RANKER} in held
    assert not any({TEXT_ENCODER, TRANSFORMER} <= models for models in held)
    ranking = [models for event, models in zip(events, held, strict=True)
               if isinstance(event, Progress) and event.message == "Ranking."]
    assert ranking == [{RANKER}], "Stop does not wait for it once more"
    steps = [e.step for e in events if isinstance(e, Progress) and e.total and not e.message]
    assert steps == [1, 2, 3]
    assert [e.step for e in events if isinstance(e, Preview)] == [1, 2, 3]
    assert not any(m.leases for m in cache.stats().models)


def test_a_candidate_is_drawn_again_alone(cache: ModelCache) -> None:
    together = {c.seed: c.image.astype(int)
                for c in result_of(list(run(cache, num_images=3))).candidates}
    alone = result_of(list(run(cache, seed=7))).candidates[0]
    assert np.abs(alone.image - together[7]).max() <= 1
    assert not np.array_equal(together[5], together[7])


def test_stop_keeps_what_the_flow_leads_to(cache: ModelCache) -> None:
    with pytest.raises(Cancelled):
        list(run(cache, polls=1))  # nothing is drawn yet
    events = []
    stop = False
    registry = Registry()
    registry.register(Flux2Pipeline())
    request = registry.check({"pipeline": "flux2", "prompt": PROMPT, "seed": 5, "num_images": 1,
                              "options": {**SMALL, "precision": "float32"}})
    context = RunContext(cache, torch.device("cpu"), cancelled=lambda: stop)
    for event in registry.get("flux2").run(request, context):
        events.append(event)
        stop = stop or isinstance(event, Preview)
    (seen,) = (e.images[0] for e in events if isinstance(e, Preview))
    result = result_of(events)
    assert result.metadata == {"stopped": True, "computed_in": "float32"}
    assert np.array_equal(result.candidates[0].image, seen)


def test_layers_that_nobody_reads_are_not_loaded(cache: ModelCache) -> None:
    with cache.lease(TEXT_ENCODER) as reader:
        assert len(reader.model.layers) == 28
        assert not hasattr(reader.model, "lm_head")


def test_it_is_offered_once_its_parts_are_here(catalogue: Catalogue) -> None:
    everything = Catalogue.load()
    assert "flux2" not in [p.name for p in build_registry(everything)], "nothing is downloaded"
    entries = tuple(e for e in everything if not e.id.startswith("flux2/"))
    here = Catalogue((*entries, *(catalogue.get(part) for part in PARTS)),
                     models_dir=catalogue.models_dir)
    assert "flux2" in [p.name for p in build_registry(here)]


@pytest.mark.parametrize(("options", "words"), [
    ({"size_px": 100}, "between 256 and 1024 in steps of 64"), ({"steps": 0}, "between 1 and 50"),
    ({"aspect": "1:100"}, "one side may be up to 4 times the other")])
def test_bad_options_are_refused(cache: ModelCache, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        list(run(cache, options=options))


@pytest.mark.parametrize(("part", "file", "data", "words"), [
    (TRANSFORMER, "transformer/config.json", b"{", "is not a configuration"),
    (VAE, "vae/diffusion_pytorch_model.safetensors", b"short", "cut short"),
    (TEXT_ENCODER, "text_encoder/config.json", b'{"num_hidden_layers": 12}',
     "has 12 layers, and at least 28 are read"),
    (TEXT_ENCODER, "tokenizer/chat_template.jinja", None, "has no chat template"),
    (TRANSFORMER, "scheduler/scheduler_config.json", None, "is not there")])
def test_damaged_folders_are_told_in_a_sentence(folder: Path, tmp_path: Path, part: str, file: str,
                                                data: bytes | None, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        load(changed_copy([folder], tmp_path, file, data), Catalogue.load().get(part))

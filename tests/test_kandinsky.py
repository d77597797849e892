"""Kandinsky 2.2 in tiny: downloaded, leased part by part, and the same picture as diffusers'."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import KandinskyV22Pipeline, KandinskyV22PriorPipeline
from PIL import Image

from pipelines.core.errors import Cancelled, InvalidRequest, WeightsError
from pipelines.core.events import Event, Preview, Progress
from pipelines.kandinsky import IMAGE_ENCODER, MOVQ, PARTS, PRIOR, UNET, KandinskyPipeline
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.formats import fill
from pipelines.models.checkpoints.ids import RANKER
from pipelines.models.checkpoints.kandinsky_blank import BlankEmbedding
from pipelines.models.checkpoints.loading import load_model
from tests.kandinsky_folders import write_kandinsky
from tests.published_parts import PartsLoader, changed_copy, downloaded, result_of, run_of

SMALL = {"decoder_steps": 3, "prior_steps": 3, "size_px": 64, "preview_every": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_kandinsky(tmp_path_factory.mktemp("kandinsky"))


@pytest.fixture(scope="module")
def catalogue(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory,
              ) -> Catalogue:
    repositories = {f"kandinsky-community/kandinsky-2-2-{folder.name}": folder
                    for folder in folders}
    return downloaded(PARTS, repositories, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def cache(catalogue: Catalogue) -> Iterator[ModelCache]:
    built = ModelCache(PartsLoader(catalogue), "cpu")
    # A run that waits for models asks more often whether it is to stop: here none waits.
    list(run(built))
    yield built
    built.close()


def run(cache: ModelCache, polls: int = 10**6, catalogue: Catalogue | None = None,
        **fields: Any) -> Iterator[Event]:
    return run_of(KandinskyPipeline(catalogue), cache, polls, {
        **fields, "options": {**SMALL, **fields.get("options", {})}})


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("scale", "negative"), [(1.0, ""), (4.0, ""), (4.0, "a green worm")])
def test_the_picture_is_diffusers_own(cache: ModelCache, folders: tuple[Path, Path],
                                      scale: float, negative: str) -> None:
    prior: Any = KandinskyV22PriorPipeline.from_pretrained(folders[0], local_files_only=True)
    decoder: Any = KandinskyV22Pipeline.from_pretrained(folders[1], local_files_only=True)
    for pipeline in (prior, decoder):
        pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    # With a negative prompt it imagines that too, from as many generators.
    embeds = prior("a red apple", num_inference_steps=3, guidance_scale=scale,
                   num_images_per_prompt=2, negative_prompt=negative or None,
                   generator=generators * 2 if negative else generators)
    expected = decoder(embeds.image_embeds, embeds.negative_image_embeds, height=64, width=64,
                       num_inference_steps=3, guidance_scale=scale, generator=generators,
                       output_type="np").images
    options = {"prior_guidance_scale": scale, "decoder_guidance_scale": scale,
               "negative_prompt": negative}
    result = result_of(list(run(cache, num_images=2, options=options)))
    for candidate in result.candidates:
        own = candidate.image.astype(float) / 255
        assert np.abs(own - expected[candidate.index]).max() <= 1 / 255
    assert expected.std() > 0.05, "two grey pictures would be alike as well"


def test_parts_are_leased_one_after_the_other(cache: ModelCache) -> None:
    held, events = [], []
    for event in run(cache, num_images=2):
        events.append(event)
        held.append({m.model_id for m in cache.stats().models if m.leases})
    assert {PRIOR} in held
    assert {UNET, MOVQ, RANKER} in held
    assert max(map(len, held)) == 3
    ranking = [models for event, models in zip(events, held, strict=True)
               if isinstance(event, Progress) and event.message == "Ranking."]
    assert ranking == [{RANKER}], "Stop does not wait for it once more"
    steps = [e.step for e in events if isinstance(e, Progress) and e.total and not e.message]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert [e.step for e in events if isinstance(e, Preview)] == [4, 6]
    assert not any(m.leases for m in cache.stats().models)


def test_a_candidate_is_drawn_again_alone(cache: ModelCache) -> None:
    together = {c.seed: c.image.astype(int)
                for c in result_of(list(run(cache, num_images=3))).candidates}
    alone = result_of(list(run(cache, num_images=1, seed=7))).candidates[0]
    assert np.abs(alone.image - together[7]).max() <= 1
    assert not np.array_equal(together[5], together[7])


def test_fewer_are_drawn_at_once_where_the_device_is_full(
        cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = result_of(list(run(cache, num_images=3)))
    with cache.lease(UNET) as painter:
        own = painter.model.forward

        def small_device(rows: torch.Tensor, *others: Any, **named: Any) -> Any:
            if len(rows) > 4:  # with guidance, two rows a picture
                raise torch.OutOfMemoryError("full")
            return own(rows, *others, **named)

        monkeypatch.setattr(painter.model, "forward", small_device)
    events = list(run(cache, num_images=3))
    images = {c.seed: c.image.astype(int) for c in whole.candidates}
    for candidate in result_of(events).candidates:
        assert np.abs(candidate.image - images[candidate.seed]).max() <= 1
    steps = [(e.step, e.total) for e in events if isinstance(e, Progress) and e.total]
    assert steps == sorted(steps)
    assert steps[-1] == (3 + 2 * 6, 3 + 2 * 6), "the prior's steps of the attempt, and two groups"
    assert not any(m.leases for m in cache.stats().models)


def test_variations_need_no_prior(catalogue: Catalogue) -> None:
    loader = PartsLoader(catalogue)
    cache = ModelCache(loader, "cpu")
    result = result_of(list(run(cache, num_images=1, init_image=png())))
    assert result.candidates[0].image.shape == (64, 64, 3)
    assert loader.loaded == [IMAGE_ENCODER, RANKER, UNET, MOVQ]


def test_the_image_encoder_is_loaded_once_for_text(catalogue: Catalogue) -> None:
    loader = PartsLoader(catalogue)
    cache = ModelCache(loader, "cpu")
    first = result_of(list(run(cache, catalogue=catalogue, num_images=1)))
    cache.close()
    assert loader.loaded[0] == IMAGE_ENCODER
    loader = PartsLoader(catalogue)
    cache = ModelCache(loader, "cpu")
    again = result_of(list(run(cache, catalogue=catalogue, num_images=1)))
    assert IMAGE_ENCODER not in loader.loaded
    assert (again.candidates[0].image == first.candidates[0].image).all(), "not a bit differs"
    varied = result_of(list(run(cache, catalogue=catalogue, num_images=1, init_image=png())))
    assert IMAGE_ENCODER in loader.loaded
    assert (varied.candidates[0].image != first.candidates[0].image).any()
    cache.close()


@pytest.mark.parametrize("damage", [b"", b"short"])
def test_a_kept_embedding_that_is_damaged_is_made_anew(catalogue: Catalogue, damage: bytes) -> None:
    cpu, kept = torch.device("cpu"), BlankEmbedding(catalogue, IMAGE_ENCODER)
    blank = torch.randn(1, 32)
    kept.keep(blank, cpu)
    path = kept.path(cpu, torch.float32)
    assert path is not None
    found = kept.read(cpu, torch.float32)
    assert found is not None
    assert torch.equal(found, blank)
    assert kept.read(cpu, torch.bfloat16) is None, "other bits"
    path.write_bytes(damage)
    assert kept.read(cpu, torch.float32) is None
    path.unlink()
    assert BlankEmbedding(None, IMAGE_ENCODER).path(cpu, torch.float32) is None


@pytest.mark.parametrize("part", PARTS)
def test_parts_are_built_without_memory_or_random_numbers(catalogue: Catalogue, part: str,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    entry, built = catalogue.get(part), list[set[str]]()

    def seen(module: torch.nn.Module, tensors: Any, model_id: str) -> torch.nn.Module:
        built.append({parameter.device.type for name, parameter in module.named_parameters()
                      if parameter.ndim == 2 and min(parameter.shape) > 1})
        return fill(module, tensors, model_id)

    monkeypatch.setattr("pipelines.models.checkpoints.library_folders.fill", seen)
    before = torch.random.get_rng_state()
    model = load_model(catalogue, entry)
    assert built == [{"meta"}]
    assert torch.equal(before, torch.random.get_rng_state())
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


def test_stop(cache: ModelCache) -> None:
    with pytest.raises(Cancelled):
        list(run(cache, polls=4))  # in the prior: nothing is drawn yet
    kept = result_of(list(run(cache, polls=10, num_images=1)))
    assert kept.metadata["stopped"] is True


@pytest.mark.parametrize(("options", "words"), [
    ({"size_px": 100}, "steps of 64"), ({"prior_steps": 1}, "between 2 and 100"),
    ({"decoder_guidance_scale": 0.5}, "between 1 and 20")])
def test_bad_options_are_refused(cache: ModelCache, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        list(run(cache, options=options))


@pytest.mark.parametrize(("part", "file", "data", "words"), [
    (UNET, "unet/config.json", b"{", "is not a configuration"),
    (UNET, "unet/config.json", b'{"act_fn": 3}', "cannot be built|do not fit"),
    (MOVQ, "movq/diffusion_pytorch_model.safetensors", b"short", "cut short"),
    (PRIOR, "prior/config.json", None, "is not there")])
def test_damaged_folders_are_told_in_a_sentence(folders: tuple[Path, Path], tmp_path: Path,
                                                part: str, file: str, data: bytes | None,
                                                words: str) -> None:
    from pipelines.models.checkpoints.kandinsky import load

    with pytest.raises(WeightsError, match=words):
        load(changed_copy(folders, tmp_path, file, data), Catalogue.load().get(part))

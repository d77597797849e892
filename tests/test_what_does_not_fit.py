"""Guides that do not fit the device together, and files of half the precision that was stated."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.core.errors import OutOfMemory, WeightsError
from pipelines.core.events import Result
from pipelines.models.cache.cache import ModelCache
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.entries import CatalogueEntry
from pipelines.models.checkpoints.loading import load_model
from pipelines.models.vqgan import VQGAN
from pipelines.pipeline import RunContext
from pipelines.registry import Registry
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline
from tests.small_models import SmallLoader
from tests.test_vqgan_checkpoints import random_taming

SECOND, THIRD = "embedded/clip-second", "embedded/clip-third"


def drawn(cache: ModelCache, **options: Any) -> np.ndarray:
    registry = Registry()
    registry.register(VQGANCLIPPipeline())
    request = registry.check({"pipeline": "vqgan_clip", "prompt": "a red apple", "seed": 3,
                              "num_images": 1, "options": {
                                  "iterations": 2, "precision": "float32", **options}})
    events = list(registry.get("vqgan_clip").run(request, RunContext(cache, cache.device)))
    assert isinstance(events[-1], Result)
    return events[-1].candidates[0].image


def test_guides_that_do_not_fit_together_are_one_sentence_and_nothing_is_lost() -> None:
    plenty = ModelCache(SmallLoader(), "cpu")
    alone = drawn(plenty)
    all_three = drawn(plenty, second_guide=SECOND, third_guide=THIRD)
    sizes = {m.model_id: m.size_bytes for m in plenty.stats().models}
    plenty.close()
    # Room for a run with two guides, whoever else is idle.
    budget = sum(sizes.values()) - sizes[THIRD]
    cache = ModelCache(SmallLoader(), "cpu", budget_bytes=budget, room_timeout_s=0.0)
    with pytest.raises(OutOfMemory, match=r"^The model embedded/\S+ needs .*, and the budget of "
                                          r".* has .* that no running job or pin holds\.$"):
        drawn(cache, second_guide=SECOND, third_guide=THIRD)
    assert not any(m.leases for m in cache.stats().models)
    drawn(cache, second_guide=SECOND)
    assert np.array_equal(drawn(cache), alone), "the next run draws as if nothing had been"
    assert not np.array_equal(alone, all_three)
    cache.close()


def taming_file(path: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A small VQGAN as published, in a number format."""
    taming: Any = random_taming("f16")
    state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
             for name, tensor in taming.state_dict().items()}
    torch.save(state, path)
    return state


def entry_of(folder: Path, **facts: Any) -> CatalogueEntry:
    return CatalogueEntry.model_validate({
        "id": "test/vqgan", "title": "VQGAN", "family": "vqgan", "loader": "taming-vqgan",
        "licence": "MIT", "source": "made by a test", "path": folder,
        "files": [{"name": "pytorch_model.bin", **facts}]})


def test_half_the_precision_in_the_place_of_a_known_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    taming_file(path, torch.float32)
    whole = path.read_bytes()
    entry = entry_of(tmp_path, size_bytes=len(whole), sha256=hashlib.sha256(whole).hexdigest())
    catalogue = Catalogue((entry,), tmp_path)
    assert isinstance(load_model(catalogue, entry), VQGAN)
    taming_file(path, torch.float16)
    half = path.read_bytes()
    with pytest.raises(WeightsError, match=r"^The file pytorch_model\.bin of the model test/vqgan "
                                           r"is damaged or was exchanged: its SHA-256 is not the "
                                           r"one in the catalogue\.$"):
        load_model(catalogue, entry)
    assert path.read_bytes() == half, "a file of one's own stays where it is"


def test_half_the_precision_of_a_file_that_nobody_stated_is_read_as_it_is(tmp_path: Path) -> None:
    state = taming_file(tmp_path / "pytorch_model.bin", torch.float16)
    entry = entry_of(tmp_path)
    vqgan = load_model(Catalogue((entry,), tmp_path), entry)
    assert isinstance(vqgan, VQGAN)
    assert {p.dtype for p in vqgan.parameters()} == {torch.float32}
    assert torch.equal(vqgan.post_quant_conv.weight, state["post_quant_conv.weight"].float())
    pixels = vqgan.decode_indices(torch.zeros(1, 2, 2, dtype=torch.int64))
    assert pixels.isfinite().all()

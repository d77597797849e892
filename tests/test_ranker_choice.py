"""Who judges pictures where nobody chose: the best CLIP here that did not guide them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.core.options import AUTO, option_fields
from pipelines.janus import JanusPipeline
from pipelines.kandinsky import KandinskyPipeline
from pipelines.min_dalle import MinDallePipeline
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.models.checkpoints.ids import RANKER
from pipelines.pipeline import Pipeline
from pipelines.ranker_choice import PREFERRED, best_ranker
from pipelines.registry import Registry
from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline

LARGE, SIGLIP, LAION, _, OPENAI = PREFERRED


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue.load(models_dir=tmp_path)


def put(catalogue: Catalogue, *model_ids: str) -> None:
    """Files as if they had been downloaded."""
    for model_id in model_ids:
        entry = catalogue.get(model_id)
        for file in entry.files:
            path = catalogue.folder(entry) / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def test_the_best_that_is_here_and_did_not_guide(catalogue: Catalogue) -> None:
    assert best_ranker(catalogue) == best_ranker(None) == RANKER
    put(catalogue, OPENAI)
    assert best_ranker(catalogue) == OPENAI
    assert best_ranker(catalogue, guides=[OPENAI]) == RANKER
    put(catalogue, LAION, SIGLIP)
    assert best_ranker(catalogue) == SIGLIP
    assert best_ranker(catalogue, guides=[SIGLIP]) == LAION
    put(catalogue, LARGE)
    assert best_ranker(catalogue) == LARGE


def ranker_of(pipeline: Pipeline, **options: Any) -> str:
    registry = Registry()
    registry.register(pipeline)
    request = registry.check({"pipeline": pipeline.name, "prompt": "a harbour",
                              "options": options})
    assert request.options.ranker == pipeline.models_of(request)[-1]
    return request.options.ranker


@pytest.mark.parametrize("kind", [MinDallePipeline, JanusPipeline, KandinskyPipeline])
def test_public_generators_are_judged_by_a_public_clip(catalogue: Catalogue, kind: Any) -> None:
    pipeline = kind(catalogue)
    field = next(field for field in option_fields(pipeline.Options) if field.name == "ranker")
    assert field.default == AUTO == field.choices[0]
    assert ranker_of(pipeline) == RANKER
    put(catalogue, LAION)
    assert ranker_of(pipeline) == LAION
    assert ranker_of(pipeline, ranker=RANKER) == RANKER, "who chose is asked no more"


def test_the_guide_is_no_judge(catalogue: Catalogue) -> None:
    put(catalogue, LAION, OPENAI)
    pipeline, vqgan = VQGANCLIPPipeline(catalogue), "compvis/vqgan-f16-1024"
    assert ranker_of(pipeline) == RANKER, "the embedded world has a judge of its own"
    assert ranker_of(pipeline, vqgan=vqgan, guide=LAION) == OPENAI
    assert ranker_of(pipeline, vqgan=vqgan, guide=OPENAI) == LAION

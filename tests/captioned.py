"""Scenes to caption: sampled ones, and small ones made by hand."""

from __future__ import annotations

import random

import pytest

from pipelines.world.captions import caption
from pipelines.world.concepts import Concept, concepts_by_id, load_concepts
from pipelines.world.scenes import Scene, SceneObject, SceneSampler

NUM_SCENES = 600


@pytest.fixture(scope="module")
def concepts() -> dict[str, Concept]:
    return concepts_by_id()


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    sampler = SceneSampler(load_concepts(), "test-captions")
    return [sampler.sample(seed) for seed in range(NUM_SCENES)]


def thing(
    concept: str, x: float = 0.1, colour: str | None = None, size: str | None = None
) -> SceneObject:
    return SceneObject(concept, "fluent", colour, size, (x, 0.2, x + 0.4, 0.6))


def picture(
    kind: str,
    *objects: SceneObject,
    relation: str | None = None,
    medium: str | None = None,
    place: str | None = None,
) -> Scene:
    return Scene(kind, objects, relation, place or "white", place is not None, medium, 0)


def sayings(
    scene: Scene, concepts: dict[str, Concept], number: int, language: str = "en"
) -> list[str]:
    return [caption(scene, concepts, random.Random(i), language) for i in range(number)]

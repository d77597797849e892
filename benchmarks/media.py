"""Whether a picture is drawn in the medium that its prompt asks for, by the ranker.

Writes ``benchmarks/results/media.json``. The ranker chooses among the ten media for the same
thing ("a watercolor painting of a dog", "a pencil sketch of a dog", …); it counts as recognised
where the medium asked for is its first. True renders beside them say what the ranker can tell.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.compose import weights_of
from benchmarks.pictures import PictureStore
from benchmarks.tasks import TaskPrompt, Wanted, noun
from benchmarks.zero_shot import concept_scenes, render_uint8
from easel.serving.backend import LocalBackend
from pipelines.models.clip import ClipModel
from pipelines.models.clip_features import embed_images, embed_texts
from pipelines.registry import Registry
from pipelines.rerank import RANKER
from pipelines.world.concepts import Concept
from pipelines.world.grammar import raw_grammar
from pipelines.world.scenes import MEDIA
from training.data import World


def sentence(concept: Concept, medium: str) -> str:
    """A thing in a medium, in the first words that the grammar has for it."""
    return str(raw_grammar()["en"]["media"][medium][0][1]).format(s=noun(concept))


def media_prompts(concepts: Sequence[Concept], things: int) -> list[TaskPrompt]:
    """Every medium for the same things, COCO's classes in an order of their own."""
    chosen = [c for c in concepts if c.coco]
    random.Random("media").shuffle(chosen)
    return [TaskPrompt("media", sentence(c, medium), (Wanted(c.id),))
            for c in chosen[:things] for medium in MEDIA]


def recognised(images: np.ndarray, asked: Sequence[tuple[Concept, str]], ranker: ClipModel,
               ) -> dict[str, float]:
    """Share of pictures whose medium the ranker puts first, by medium, and their mean.

    Args:
        images: (N, H, W, 3) uint8.
        asked: thing and medium of each.
        ranker: the CLIP that chooses.
    """
    things = list({concept.id: concept for concept, _ in asked}.values())
    texts = embed_texts(ranker, [sentence(c, m) for c in things for m in MEDIA])
    texts = texts.reshape(len(things), len(MEDIA), -1)
    row = {concept.id: n for n, concept in enumerate(things)}
    pictures = embed_images(ranker, list(images))
    hits: dict[str, list[bool]] = {}
    for picture, (concept, medium) in zip(pictures, asked, strict=True):
        best = int(np.argmax(texts[row[concept.id]] @ picture))
        hits.setdefault(medium, []).append(MEDIA[best] == medium)
    shares = {medium: round(float(np.mean(found)), 4) for medium, found in hits.items()}
    return shares | {"mean": round(float(np.mean(list(shares.values()))), 4)}


def media_figures(names: Mapping[str, int], registry: Registry, backend: LocalBackend,
                  ) -> dict[str, Any]:
    """Figures of the pipelines and of true renders.

    Args:
        names: how many things to draw in each medium, by pipeline.
        registry: the pipelines.
        backend: where they run.
    """
    world = World()
    found: dict[str, Any] = {}
    with backend.cache.lease(RANKER) as ranker:
        renders: list[np.ndarray] = []
        asked: list[tuple[Concept, str]] = []
        for medium in MEDIA:
            scenes = concept_scenes(world, medium)
            renders += render_uint8(world, scenes, ranker.image_size)
            asked += [(concept, medium) for concept in world.concepts]
        found["renders"] = recognised(np.stack(renders), asked, ranker) | {
            "pictures": len(renders)}
    for name, things in names.items():
        fingerprints = weights_of(backend.cache, registry.get(name).models)
        store = PictureStore(backend, name, {}, fingerprints)
        prompts = media_prompts(world.concepts, things)
        store.fill([(prompt, 1) for prompt in prompts], None)
        drawn = [store.draw(prompt, 1).images[0] for prompt in prompts]
        pairs = [(world.by_id[p.wanted[0].concept], MEDIA[n % len(MEDIA)])
                 for n, p in enumerate(prompts)]
        with backend.cache.lease(RANKER) as ranker:
            found[name] = recognised(np.stack(drawn), pairs, ranker) | {"pictures": len(drawn)}
        found[name]["weights_sha256"] = fingerprints
    return found

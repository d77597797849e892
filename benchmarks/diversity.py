"""How much the candidates of one prompt differ, beside pictures that really differ.

Eight candidates of a prompt and eight true renders of it from the world are compared in the pooled
features of a network that has seen photographs: the mean distance between two candidates, as a
share of that between two renders. A share of 1 is as varied as the world. Smears are far apart as
well, so that this figure means something only where ``compose`` holds with it. Pairs that are alike
to the eye are counted apart, by SSIM.

Source: Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to
Structural Similarity" (2004), section III.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.compose import weights_of
from benchmarks.controls import RenderFunction
from benchmarks.markdown import share, table
from benchmarks.pictures import PictureStore, interleaved
from benchmarks.tasks import TaskPrompt, scene_of, task_prompts
from benchmarks.variations import pairwise_distance
from easel.serving.backend import LocalBackend
from pipelines.registry import Registry
from pipelines.world.concepts import Concept, concepts_by_id
from pipelines.world.paint import LUMA
from training.data import World

# (N, 3, H, W) float pictures in [0, 1] to features (N, D) of any length.
FeatureFunction = Callable[[Tensor], Tensor]
MODEL = "embedded/efficientnet-lite0"
CANDIDATES, PROMPTS = 8, 100
ALIKE = 0.95
RENDER_PX = 256
SSIM_PX = 128  # the side at which pictures are compared to the eye
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def distance(pictures: Tensor, features: FeatureFunction) -> float:
    """Mean cosine distance between pictures (N, 3, H, W) in [0, 1], N at least 2; in [0, 2]."""
    return pairwise_distance(F.normalize(features(pictures).float(), dim=-1))


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity (N,) in [-1, 1] of pictures (N, 3, H, W) in [0, 1], by luminance."""
    taps = torch.arange(_WINDOW) - _WINDOW // 2
    line = torch.exp(-(taps**2) / (2 * _SIGMA**2))
    window = (line[:, None] * line[None] / line.sum() ** 2)[None, None].to(first)
    weights = first.new_tensor(LUMA).view(1, 3, 1, 1)
    a, b = ((x * weights).sum(1, keepdim=True) for x in (first, second))
    both = torch.cat([a, b, a * a, b * b, a * b])
    mean_a, mean_b, aa, bb, ab = F.conv2d(both, window).chunk(5)
    covariance = ab - mean_a * mean_b
    spread = aa - mean_a**2 + bb - mean_b**2
    scores = ((2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
              / ((mean_a**2 + mean_b**2 + _C1) * (spread + _C2)))
    return scores.mean((1, 2, 3))


def alike_share(pictures: Tensor) -> float:
    """Share of the pairs of pictures (N, 3, H, W) in [0, 1] whose SSIM is above ``ALIKE``."""
    small = F.interpolate(pictures, (SSIM_PX, SSIM_PX), mode="area")
    pairs = list(itertools.combinations(range(len(small)), 2))
    scores = ssim(small[[i for i, _ in pairs]], small[[j for _, j in pairs]])
    return float((scores > ALIKE).float().mean())


def chosen_prompts(concepts: Mapping[str, Concept], count: int = PROMPTS) -> list[TaskPrompt]:
    """The first prompts of ``compose``, its tasks in turn."""
    return interleaved(task_prompts(concepts))[:count]


def diversity_figures(drawn: Sequence[tuple[TaskPrompt, np.ndarray]], features: FeatureFunction,
                      render: RenderFunction) -> dict[str, Any]:
    """Compare the candidates of prompts with true renders of the same prompts.

    Args:
        drawn: of each prompt its candidates, (N, H, W, 3) uint8 RGB; the first ``CANDIDATES``
            count, and a prompt with a single one does not.
        features: what pictures are compared by.
        render: scenes to pictures (N, 3, H, W) in [0, 1].

    Returns:
        ``share``: mean distance of candidates over that of as many renders; ``distance`` and
        ``renders``: both of them; ``alike`` and ``renders_alike``: shares of pairs with an SSIM
        above ``ALIKE``; ``prompts`` and ``candidates``.

    Raises:
        ValueError: no prompt has two pictures.
    """
    rows = []
    counts = set()
    for prompt, images in drawn:
        images = images[:CANDIDATES]
        if len(images) < 2:
            continue
        counts.add(len(images))
        candidates = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float() / 255
        true = render([scene_of(prompt, salt) for salt in range(len(images))]).float()
        rows.append((distance(candidates, features), distance(true, features),
                     alike_share(candidates), alike_share(true)))
    if not rows:
        raise ValueError("diversity needs two pictures of a prompt")
    found, renders, alike, renders_alike = (sum(column) / len(rows)
                                            for column in zip(*rows, strict=True))
    return {"share": round(found / renders, 3), "distance": round(found, 4),
            "renders": round(renders, 4), "alike": round(alike, 3),
            "renders_alike": round(renders_alike, 3), "prompts": len(rows),
            "candidates": max(counts)}


def pipeline_diversity(name: str, prompts: int, num_images: int, minutes: float | None,
                       registry: Registry, backend: LocalBackend) -> dict[str, Any]:
    """Draw what is missing of a pipeline's candidates at its defaults, and compare them.

    Args:
        name: the pipeline.
        prompts: how many of ``chosen_prompts``.
        num_images: candidates a prompt, 2 to ``CANDIDATES``.
        minutes: time for drawing, or None; prompts that were not reached do not count.
        registry: the pipelines.
        backend: where they run.
    """
    concepts, world = concepts_by_id(), World()
    fingerprints = weights_of(backend.cache, registry.get(name).models)
    store = PictureStore(backend, name, {}, fingerprints)
    chosen = chosen_prompts(concepts, prompts)
    store.fill([(prompt, num_images) for prompt in chosen], minutes)
    drawn = [(prompt, found.images[:num_images]) for prompt in chosen
             if (found := store.read(prompt)) is not None]
    with backend.cache.lease(MODEL) as network, torch.inference_mode():
        device = next(network.parameters()).device
        figures = diversity_figures(
            drawn, lambda pictures: network.features(pictures.to(device)).float().cpu(),
            lambda scenes: world.render(scenes, RENDER_PX))
    return figures | {"weights_sha256": fingerprints}


def diversity_table(results: Mapping[str, Any]) -> str:
    """How much the candidates of a prompt differ, a row a generator, as Markdown."""
    rows = [[name, f"{row['prompts']}", f"{row['candidates']}", share(row["share"]),
             share(row["alike"]), share(row["renders_alike"])] for name, row in results.items()]
    return table(["candidates of a prompt", "prompts", "pictures each", "share of what true "
                  "renders differ", "pairs alike", "pairs of renders alike"], rows)

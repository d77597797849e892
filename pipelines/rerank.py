"""Put pictures in order by how well CLIP says that they match a text.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2.6: sample many, keep
those that a contrastive model likes best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.core.events import Candidate
from pipelines.models.clip import ClipModel
from pipelines.models.clip_features import image_features, image_hash, text_features

WeightedText = tuple[str, float]


@torch.no_grad()
def similarities(images: Sequence[np.ndarray], texts: Sequence[str], clip: ClipModel) -> Tensor:
    """Cosine similarities of every picture with every text.

    Args:
        images: N pictures, (H, W, 3) uint8 RGB each, of any sizes.
        texts: M texts.
        clip: the CLIP that judges.

    Returns:
        (N, M) float32 on the CPU, range [-1, 1].
    """
    # Equal pictures once: rows of a product may differ in the last bit, which would order them.
    places: dict[bytes, int] = {}
    rows = [places.setdefault(image_hash(image), len(places)) for image in images]
    distinct = [images[rows.index(row)] for row in range(len(places))]
    cosines = (image_features(clip, distinct) @ text_features(clip, texts).t()).float().cpu()
    return cosines[rows]


def weighted_scores(cosines: Tensor, weights: Sequence[float]) -> Tensor:
    """One score a picture: the mean of its similarities, weighted.

    A text with a negative weight counts against the picture. A single text of any positive weight
    gives the plain cosine similarity.

    Args:
        cosines: (N, M).
        weights: M numbers, not all zero.

    Returns:
        (N,) in [-1, 1].
    """
    factors = torch.tensor(weights, dtype=cosines.dtype)
    return cosines @ (factors / factors.abs().sum())


def probabilities(scores: Tensor, logit_scale: float) -> Tensor:
    """Share of each picture, were one of them the text's own: softmax over the pictures.

    Args:
        scores: (N,) cosine similarities.
        logit_scale: from similarities to logits, as CLIP was trained.
    """
    return (scores * logit_scale).softmax(dim=0)


def ranking_order(scores: Tensor) -> list[int]:
    """Indices of scores (N,), highest first; equal ones keep their order."""
    return torch.argsort(scores, descending=True, stable=True).tolist()


def rank(images: Sequence[np.ndarray], texts: Sequence[str], clip: ClipModel,
         ) -> list[dict[str, Any]]:
    """Rank pictures against each of several texts.

    Args:
        images: N pictures, (H, W, 3) uint8 RGB each, of any sizes; at least one.
        texts: what they are compared with; at least one.
        clip: the CLIP that judges.

    Returns:
        For each text, JSON-ready: "prompt", "order" (indices of the pictures, best first),
        "similarities" and "probabilities" (both in the order of ``images``).
    """
    cosines = similarities(images, texts, clip)
    found = []
    for text, scores in zip(texts, cosines.unbind(1), strict=True):
        shares = probabilities(scores, clip.logit_scale)
        found.append({"prompt": text, "order": ranking_order(scores),
                      "similarities": scores.tolist(), "probabilities": shares.tolist()})
    return found


def rank_candidates(images: np.ndarray, seeds: Sequence[int], prompts: Sequence[WeightedText],
                    clip: ClipModel) -> tuple[Candidate, ...]:
    """Score what a generator drew.

    Args:
        images: (N, H, W, 3) uint8 RGB, in the order of the run.
        seeds: seed of each.
        prompts: texts and their weights, negative for what should not be there.
        clip: the ranker.

    Returns:
        Candidates, best first, with scores "clip" (``weighted_scores``) and "probability".
    """
    cosines = similarities(list(images), [text for text, _ in prompts], clip)
    scores = weighted_scores(cosines, [weight for _, weight in prompts])
    shares = probabilities(scores, clip.logit_scale)
    return tuple(Candidate(images[i], seeds[i], i,
                           {"clip": float(scores[i]), "probability": float(shares[i])})
                 for i in ranking_order(scores))

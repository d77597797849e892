"""Pictures against several prompts, for and against, by one or more CLIPs.

Source: Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021), section 2.6, whose reranking
this widens to several texts and judges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.core.errors import InvalidRequest
from pipelines.core.request import MAX_PROMPT_CHARS
from pipelines.models.clip_features import Features
from pipelines.weighted_prompts import MAX_WEIGHT, parse_prompts

MAX_PROMPTS = 16
Embed = Callable[[str, Sequence[np.ndarray], Sequence[str]], Features]


@dataclass(frozen=True)
class RankedBy:
    """What one CLIP says.

    Attributes:
        model_id: which CLIP.
        cosines: (N, M) of pictures and prompts, in [-1, 1].
        scores: (N,) means of the cosines, weighted; a prompt against counts negative.
    """

    model_id: str
    cosines: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Ranking:
    """Pictures in order.

    Attributes:
        prompts: M texts with their weights, negative for what should not be there.
        judges: what each CLIP says.
        scores: (N,) by which the order is made: the score of the only CLIP, or the mean of the
            scores of several, each in standard deviations from its mean, since cosines of
            different CLIPs have different ranges.
        order: indices of the pictures, best first; equal ones keep their order.
    """

    prompts: tuple[tuple[str, float], ...]
    judges: tuple[RankedBy, ...]
    scores: np.ndarray
    order: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, JSON-ready."""
        return {"prompts": [{"text": text, "weight": weight} for text, weight in self.prompts],
                "order": list(self.order), "scores": [float(s) for s in self.scores],
                "clips": {judge.model_id: {"scores": judge.scores.tolist(),
                                           "similarities": judge.cosines.tolist()}
                          for judge in self.judges}}


def read_prompts(wanted: Sequence[Any], unwanted: Sequence[Any] = ()) -> list[tuple[str, float]]:
    """Texts with weights from lines such as "a red apple" or "a red apple:2".

    Args:
        wanted: what should be in the picture; empty lines are left out.
        unwanted: what should not; their weights count negative.

    Raises:
        InvalidRequest: no text, too many, too long, or a malformed weight.
    """
    found = []
    for lines, sign in ((wanted, 1.0), (unwanted, -1.0)):
        for line in lines:
            if not isinstance(line, str):
                raise InvalidRequest("Prompts must be a list of texts.", field="prompt")
            if len(line) > MAX_PROMPT_CHARS:
                raise InvalidRequest("A prompt has more than {} characters.", MAX_PROMPT_CHARS,
                                     field="prompt")
            if line.strip():
                found += [(part.text, sign * part.weight) for part in parse_prompts(line.strip())]
    if not found:
        raise InvalidRequest("There is no prompt to compare the pictures with.", field="prompt")
    if len(found) > MAX_PROMPTS:
        raise InvalidRequest("{} prompts are too many: {} is the most.", len(found), MAX_PROMPTS,
                             field="prompt")
    if not any(0 < abs(weight) <= MAX_WEIGHT for _, weight in found):
        raise InvalidRequest("All weights are 0, so nothing is asked for.", field="prompt")
    return found


def rank_pictures(images: Sequence[np.ndarray], prompts: Sequence[tuple[str, float]],
                  model_ids: Sequence[str], embed: Embed) -> Ranking:
    """Put pictures in order.

    Args:
        images: (H, W, 3) uint8 RGB each, at least one.
        prompts: texts and weights, as ``read_prompts`` makes them.
        model_ids: CLIPs of the catalogue, at least one.
        embed: ``Backend.embed``, or its like.

    Raises:
        InvalidRequest: no pictures or no CLIP.
        EaselError: a CLIP cannot be used.
    """
    if not images:
        raise InvalidRequest("There are no pictures to put in order.", field="images")
    if not model_ids:
        raise InvalidRequest("No CLIP is chosen: choose at least one.", field="clips")
    weights = np.array([weight for _, weight in prompts])
    weights = weights / np.abs(weights).sum()
    judges = []
    for model_id in dict.fromkeys(model_ids):
        features = embed(model_id, images, [text for text, _ in prompts])
        cosines = features.images @ features.texts.T
        judges.append(RankedBy(model_id, cosines, cosines @ weights))
    scores = judges[0].scores
    if len(judges) > 1:
        scores = np.mean([_standardised(judge.scores) for judge in judges], axis=0)
    order = np.argsort(-scores, kind="stable")
    return Ranking(tuple(prompts), tuple(judges), scores, tuple(int(i) for i in order))


def _standardised(scores: np.ndarray) -> np.ndarray:
    spread = scores.std()
    return (scores - scores.mean()) / spread if spread > 1e-9 else np.zeros_like(scores)

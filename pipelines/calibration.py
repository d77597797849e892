"""What a CLIP's cosine means to a person: how few near misses reach it, and when none fits.

A near miss is a caption of which one part was exchanged: another thing, colour, count, relation,
place or medium. Cosines of pictures with their near misses are a scale on which any cosine has a
place, by the same CLIP. ``training.calibrate`` measures it; it is kept beside the weights, and
holds for these weights alone.

Source: Hendricks and Nematzadeh, "Probing Image-Language Transformers for Verb Understanding"
(2021), section 3 (captions of which one part is wrong).
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.core.errors import WeightsError
from pipelines.models.checkpoints.catalogue import Catalogue
from pipelines.weighted_prompts import ranking_texts

FILE = "calibration.json"
LIMIT = 90  # percent of near misses that a picture must beat to be said to fit
# Percent of near misses under which none is said to fit: most that miss a part score more. Between
# the two its score does not tell: of true captions too many lie under LIMIT (see ``true_pairs``).
MISS_LIMIT = 50
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Calibration:
    """The scale of one CLIP.

    Attributes:
        near_misses: cosines under which 0, 1, … 99 percent of near misses lie, ascending.
        tie: two cosines that differ by less say the same; what a shift of a picture by a hundredth
            of its side changes, in three of four cases.
        true_pairs: share of true captions of unseen scenes that reach ``LIMIT``.
        pairs: how many scenes it was measured on.
    """

    near_misses: tuple[float, ...]
    tie: float
    true_pairs: float
    pairs: int

    def percent(self, cosine: float) -> int:
        """Percent of near misses that score less, 0 to 99."""
        return max(0, min(99, bisect_left(self.near_misses, cosine) - 1))

    def fits(self, cosine: float) -> bool:
        """Whether a picture of this cosine fits its text, as far as the CLIP can tell."""
        return self.percent(cosine) >= LIMIT

    def misses(self, cosine: float) -> bool:
        """Whether a picture of this cosine misses a part of its text, for all the CLIP knows."""
        return self.percent(cosine) < MISS_LIMIT

    def tied(self, cosines: Sequence[float]) -> int:
        """How many of some cosines, from the highest on, say the same as the highest."""
        best = max(cosines, default=0.0)
        return sum(best - cosine < self.tie for cosine in cosines)


def write_calibration(calibration: Calibration, folder: Path, sha256: str) -> Path:
    """Keep a calibration beside the weights that it holds for.

    Args:
        calibration: of them.
        folder: of the model.
        sha256: of the weights' file.
    """
    facts = {"weights_sha256": sha256, "pairs": calibration.pairs, "tie": calibration.tie,
             "true_pairs": calibration.true_pairs, "near_misses": calibration.near_misses}
    path = folder / FILE
    path.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    return path


@lru_cache(maxsize=16)
def read_calibration(path: Path, sha256: str) -> Calibration | None:
    """A calibration; None where there is none, or one of other weights.

    Args:
        path: its file.
        sha256: of the weights' file in use.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["weights_sha256"] != sha256:
            return None
        return Calibration(tuple(map(float, facts["near_misses"])), float(facts["tie"]),
                           float(facts["true_pairs"]), int(facts["pairs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@lru_cache(maxsize=1)
def _catalogue() -> Catalogue:
    return Catalogue.load()


def calibration_of(facts: Mapping[str, Any], prompt: str) -> Calibration | None:
    """The scale of a picture's score.

    Args:
        facts: of its run, with the options and the weights' hashes, as
            ``pipelines.core.metadata.provenance`` tells them.
        prompt: what was asked for.

    Returns:
        None where the ranker has none, and where the score is not that of one text alone.
    """
    options, weights = facts.get("options"), facts.get("weights")
    if not isinstance(options, Mapping) or not isinstance(weights, Mapping):
        return None
    ranker = str(options.get("ranker", ""))
    if len(ranking_texts(prompt)) != 1 or not weights.get(ranker):
        return None
    try:
        folder = _catalogue().folder(_catalogue().get(ranker))
    except WeightsError:
        return None
    return read_calibration(folder / FILE, str(weights[ranker]))

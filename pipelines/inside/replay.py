"""How a CLIP learned to tell twelve pairs apart: matrices of eight moments of a training.

``python -m training.train_contrast`` wrote them; nothing is computed by a model here. What becomes
of a matrix at a temperature is what ``pipelines.inside.contrast`` makes of any.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.inside.contrast import Contrast, check_temperature, contrast_of
from pipelines.inside.question import check_whole
from pipelines.models.checkpoints.catalogue import ASSETS

REPLAY_DIR = ASSETS / "contrast"
FACTS = "moments.json"
NAME = "contrast"  # of the run, in place of a model's id: its weights are not in the catalogue


@dataclass(frozen=True, eq=False)
class Moment:
    """The twelve pairs as the CLIP saw them after some steps of its training.

    Attributes:
        step: steps of the optimiser before it.
        pictures_seen: pictures, each with its caption, that it had learned from by then.
        seconds: that the training had taken.
        training_loss: mean of its loss in the last batches, in nats.
        contrast: matrix, softmaxes and loss of the pairs, ``trained`` the run's temperature then.
    """

    step: int
    pictures_seen: int
    seconds: int
    training_loss: float
    contrast: Contrast


@dataclass(frozen=True)
class Pairs:
    """The pairs that are looked at again and again.

    Attributes:
        texts: the captions, in English, as the CLIP read them.
        paths: files of their pictures.
        batch_size: pairs of a batch in training.
        steps: after how many steps each moment is.
    """

    texts: tuple[str, ...]
    paths: tuple[Path, ...]
    batch_size: int
    steps: tuple[int, ...]


def picture_name(number: int) -> str:
    """The file of a pair's picture, numbered from 0."""
    return f"{number + 1:02d}.webp"


def replayed_pairs() -> Pairs:
    """The pairs, the same at every moment."""
    facts = _facts()
    paths = tuple(REPLAY_DIR / picture_name(at) for at in range(len(facts["texts"])))
    return Pairs(tuple(facts["texts"]), paths, facts["batch_size"],
                 tuple(each["step"] for each in facts["moments"]))


def replayed(number: int, temperature: float | None = None) -> Moment:
    """One moment of the training.

    Args:
        number: which, from 1, the start, to 8, the end.
        temperature: what similarities are divided by; the run's own at that moment where None.

    Raises:
        InvalidRequest: there is no such moment, or the temperature is out of bounds.
    """
    moments = _facts()["moments"]
    check_whole(number, 1, len(moments), "The moment", "moment")
    check_temperature(temperature)
    found = moments[number - 1]
    contrast = contrast_of(np.array(found["similarities"], np.float32),
                           temperature or found["temperature"], found["temperature"], NAME)
    return Moment(found["step"], found["pictures_seen"], found["seconds"],
                  found["training_loss"], contrast)


@lru_cache(maxsize=1)
def _facts() -> dict[str, Any]:
    return json.loads((REPLAY_DIR / FACTS).read_text())

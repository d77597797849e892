"""How often a zero-shot classifier is right on pictures whose labels are known.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
(2021), section 3.1 (accuracy of zero-shot classifiers) and figure 4 (what templates add).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from pipelines.zero_shot import Classification, classify

TOP = 5
# "cat", "cat 2", "cat-03", "cat_3" and "cat (4)" are all pictures of "cat".
_NUMBER = re.compile(r"[\s_-]{0,3}\(?\d{1,9}\)?$")


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Of pictures with known labels, what a classifier said.

    Attributes:
        labels: L of them.
        confusion: (L, L) int64; in row i and column j, how many pictures of label i were taken for
            label j.
        among_first: how many have their own label among the ``TOP`` likeliest.
    """

    labels: tuple[str, ...]
    confusion: np.ndarray
    among_first: int

    @property
    def total(self) -> int:
        """How many pictures have a known label."""
        return int(self.confusion.sum())

    @property
    def right(self) -> int:
        """How many were taken for what they are."""
        return int(np.trace(self.confusion))

    def described(self) -> dict[str, Any]:
        """All of it by name, in JSON's types."""
        return {"right": self.right, "total": self.total, "among_first": self.among_first,
                "first": TOP, "labels": list(self.labels), "confusion": self.confusion.tolist()}


@dataclass(frozen=True, eq=False)
class TemplateAnswer:
    """What one template by itself says of N pictures.

    Attributes:
        template: with ``{}`` for the label.
        best: (N,) int64, index of the likeliest label of each.
        shares: (N,) float32, its probability.
    """

    template: str
    best: np.ndarray
    shares: np.ndarray


def known_labels(paths: Sequence[PurePath], labels: Sequence[str]) -> np.ndarray:
    """Which label each picture has by its file's name, or by its folder's.

    Args:
        paths: of N pictures: ``cat.png``, ``cat-3.jpg``, ``cat (2).png``, ``cat/anything.png``.
        labels: L of them; capitals do not matter.

    Returns:
        (N,) int64 indices of labels; -1 where none is named.
    """
    index = {label.casefold(): number for number, label in enumerate(labels)}

    def named(path: PurePath) -> int:
        stem = " ".join(path.stem.split()).casefold()
        for said in (stem, _NUMBER.sub("", stem), path.parent.name.casefold()):
            if said in index:
                return index[said]
        return -1

    return np.array([named(path) for path in paths], np.int64)


def accuracy_of(found: Classification, known: np.ndarray) -> Accuracy | None:
    """How often a classification is right.

    Args:
        found: of N pictures.
        known: (N,) int64 indices of their labels, -1 for unknown.

    Returns:
        None where no two labels are known of any picture: there is nothing to be right about.
    """
    rows = np.flatnonzero(known >= 0)
    if len(set(known[rows].tolist())) < 2:
        return None
    own, shares = known[rows], found.probabilities[rows]
    count = len(found.labels)
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (own, shares.argmax(1)), 1)
    # Its place among all: labels that are likelier than one's own.
    likelier = (shares > shares[np.arange(len(rows)), own][:, None]).sum(1)
    return Accuracy(found.labels, confusion, int((likelier < TOP).sum()))


def template_answers(image_features: np.ndarray, text_features: np.ndarray, labels: Sequence[str],
                     templates: Sequence[str], logit_scale: float) -> tuple[TemplateAnswer, ...]:
    """Each template's own answer, of those that are averaged.

    Args:
        image_features: (N, D) float32, unit length.
        text_features: (L · T, D) float32, unit length, of ``class_texts``.
        labels: L of them.
        templates: T of them.
        logit_scale: of the CLIP.
    """
    by_label = text_features.reshape(len(labels), len(templates), -1)
    answers = []
    for number, template in enumerate(templates):
        shares = classify(image_features, by_label[:, number], labels, logit_scale).probabilities
        answers.append(TemplateAnswer(template, shares.argmax(1), shares.max(1)))
    return tuple(answers)

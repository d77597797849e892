"""Zero-shot classification: the label whose text is most like the picture.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
(2021), section 3.1.2 (a classifier from class names) and 3.1.4 (prompt templates and their mean).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.core.articles import is_english, with_article
from pipelines.core.errors import InvalidRequest
from pipelines.core.texts import check_text

DEFAULT_TEMPLATE = "a picture of a {}"
MAX_LABELS = 1000
MAX_LABEL_CHARS = 200
MAX_TEMPLATES = 100
MAX_TEXTS = 16_000  # labels times templates, each of which CLIP reads
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Classification:
    """How pictures spread over labels.

    Attributes:
        labels: L of them, in the order given.
        logit_scale: factor from similarities to logits.
        similarities: (N, L) float32 cosine similarities of pictures and labels.
        probabilities: (N, L) float32, the softmax over labels of ``logit_scale`` · similarities.
    """

    labels: tuple[str, ...]
    logit_scale: float
    similarities: np.ndarray
    probabilities: np.ndarray

    def ranking(self, picture: int) -> list[int]:
        """Indices of the labels of one picture, the likeliest first."""
        return np.argsort(-self.probabilities[picture], kind="stable").tolist()


def parse_labels(text: str) -> tuple[str, ...]:
    """Labels from what was typed, pasted or read from a file.

    Args:
        text: labels between commas, semicolons or line ends; repeated ones count once, however
            they are capitalised.

    Raises:
        InvalidRequest: fewer than two labels, more than ``MAX_LABELS``, or one too long.
    """
    return check_labels(split_labels(text))


def split_labels(text: str) -> list[str]:
    """What stands between commas, semicolons and line ends."""
    return re.split(r"[,;\n\r]", text.lstrip("\ufeff"))


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels without blanks and repetitions; see ``parse_labels``."""
    written: dict[str, str] = {}
    for label in (" ".join(label.split()) for label in labels):
        written.setdefault(label.casefold(), label)  # "Cat" and "cat" would share their probability
    found = tuple(label for label in written.values() if label)
    for label in found:
        check_text(label, "The label", "labels")
    if not found:
        raise InvalidRequest("There are no labels: type two or more, with commas between them.",
                             field="labels")
    if len(found) == 1:
        raise InvalidRequest("One label alone always has a probability of 100 %: give two or more.",
                             field="labels")
    if len(found) > MAX_LABELS:
        raise InvalidRequest("{:,} labels are too many: {:,} is the most.", len(found), MAX_LABELS,
                             field="labels")
    if long := next((label for label in found if len(label) > MAX_LABEL_CHARS), None):
        raise InvalidRequest("The label {!r}… has more than {} characters.", long[:40],
                             MAX_LABEL_CHARS, field="labels")
    return found


def parse_templates(text: str) -> tuple[str, ...]:
    """Prompt templates, one a line; ``DEFAULT_TEMPLATE`` where there are none.

    Raises:
        InvalidRequest: a template without ``{}``, with several, or too many templates.
    """
    return check_templates(text.splitlines())


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates without blanks and repetitions; see ``parse_templates``."""
    found = tuple(dict.fromkeys(" ".join(line.split()) for line in templates))
    found = tuple(template for template in found if template) or (DEFAULT_TEMPLATE,)
    for template in found:
        check_text(template, "The template", "templates")
        if template.count("{}") != 1:
            raise InvalidRequest("The template {!r} must hold {{}} once, where the label goes.",
                                 template[:60], field="templates")
        if len(template) > MAX_LABEL_CHARS:
            raise InvalidRequest("The template {!r}… has more than {} characters.", template[:40],
                                 MAX_LABEL_CHARS, field="templates")
    if len(found) > MAX_TEMPLATES:
        raise InvalidRequest("{} templates are too many: {} is the most.", len(found),
                             MAX_TEMPLATES, field="templates")
    return found


def fill_template(template: str, label: str) -> str:
    """The label in its place, and before it the article that English wants there."""
    before, _, after = template.partition("{}")
    if is_english(f"{before} {label} {after}"):
        before = with_article(before, label)
    return before + label + after


def openai_templates() -> tuple[str, ...]:
    """The 80 templates that OpenAI averaged for photographs of ImageNet's classes.

    Source: Radford et al. (2021), section 3.1.4; as ``open_clip`` lists them.
    """
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return tuple(fill("{}") for fill in OPENAI_IMAGENET_TEMPLATES)


def class_texts(labels: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every label in every template: L · T texts, label by label.

    Raises:
        InvalidRequest: they are more than ``MAX_TEXTS``.
    """
    if len(labels) * len(templates) > MAX_TEXTS:
        raise InvalidRequest("{:,} labels in {} templates are too many texts: {:,} is the most.",
                             len(labels), len(templates), MAX_TEXTS, field="templates")
    return [fill_template(template, label) for label in labels for template in templates]


def class_features(text_features: np.ndarray, num_labels: int) -> np.ndarray:
    """One direction a label: the mean over its templates, made unit length again.

    Args:
        text_features: (L · T, D) float32 of ``class_texts``.
        num_labels: L.

    Returns:
        (L, D) float32.
    """
    means = text_features.reshape(num_labels, -1, text_features.shape[-1]).mean(1)
    return means / np.linalg.norm(means, axis=1, keepdims=True).clip(1e-12)


def softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    """Softmax of logits along an axis, float32."""
    shifted = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return shifted / shifted.sum(axis=axis, keepdims=True)


def classify(image_features: np.ndarray, label_features: np.ndarray, labels: Sequence[str],
             logit_scale: float) -> Classification:
    """Spread pictures over labels.

    Args:
        image_features: (N, D) float32, unit length.
        label_features: (L, D) float32, unit length.
        labels: the L labels.
        logit_scale: of the CLIP. The bias of a CLIP of sigmoid loss falls out of the softmax.
    """
    similarities = image_features @ label_features.T
    return Classification(tuple(labels), logit_scale, similarities,
                          softmax(similarities * logit_scale, axis=1))


def classification_csv(names: Sequence[str], found: Classification) -> str:
    """A table for a spreadsheet: a row a picture, its best label, then the probability of each.

    Args:
        names: of the N pictures; one that a spreadsheet would take for a formula is quoted.
        found: their classification.
    """
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["picture", "label", "probability", *map(plain_cell, found.labels)])
    for name, shares in zip(names, found.probabilities, strict=True):
        best = int(shares.argmax())
        table.writerow([plain_cell(name), plain_cell(found.labels[best]), f"{shares[best]:.6f}",
                        *(f"{share:.6f}" for share in shares)])
    return buffer.getvalue()


def plain_cell(text: str) -> str:
    """Text of a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
